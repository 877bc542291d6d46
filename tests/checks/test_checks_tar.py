from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.checks.tar import RECORD_LIMIT, TarCheck


def check(data, cuts=()):
    tar = TarCheck()
    position = 0
    for cut in (*sorted(min(cut, len(data)) for cut in cuts), len(data)):
        tar.feed(data[position:cut])
        position = cut
    tar.finish()
    return tar


def errors(tar):
    return [problem.message for problem in tar.problems if problem.severity == "error"]


def warnings(tar):
    return [problem.message for problem in tar.problems if problem.severity == "warning"]


def make_tar(tar_format=tarfile.PAX_FORMAT, names=("a", "d/b", "x" * 300, "ü")):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = number * 700
            archive.addfile(info, io.BytesIO(bytes(info.size)))
        link = tarfile.TarInfo("link")
        link.type, link.size = tarfile.LNKTYPE, 5
        link.linkname = "a" * (100 if tar_format == tarfile.USTAR_FORMAT else 200)
        archive.addfile(link)
        last = tarfile.TarInfo("last")
        last.size = 3
        archive.addfile(last, io.BytesIO(b"abc"))
    return out.getvalue()


def patched(data, at, field, value):
    """The tar with one field of the header at byte `at` changed and its checksum mended."""
    block = bytearray(data[at : at + 512])
    block[field : field + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[:at] + bytes(block) + data[at + 512 :]


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@given(cuts=st.lists(st.integers(0, 20000), max_size=20))
def test_every_entry_is_counted_however_the_stream_is_cut(tar_format, cuts):
    tar = check(make_tar(tar_format), cuts)
    assert tar.problems == ()
    assert tar.entries == 6


def test_the_ustar_and_v7_forms_are_read():
    tar = check(make_tar(tarfile.USTAR_FORMAT, names=("a", "d" * 90 + "/" + "f" * 90)))
    assert (tar.entries, tar.problems) == (4, ())


@given(cut=st.integers(0, 9000))
def test_a_tar_that_is_cut_is_an_error(cut):
    data = make_tar()
    whole = len(data.rstrip(b"\0")) + 512 - len(data.rstrip(b"\0")) % 512
    assert errors(check(data[: min(cut, whole)]))


def test_a_tar_needs_an_end():
    data = make_tar()
    content = len(data.rstrip(b"\0"))
    content += -content % 512
    assert errors(check(data[:content])) == ["the tar has no end: the two blocks of zeros are missing"]
    assert warnings(check(data[: content + 512])) == ["the tar ends with one block of zeros instead of two"]
    assert check(data[: content + 1024]).problems == ()
    assert warnings(check(data + b"\0rest")) == ["4 bytes other than zero follow the end of the tar"]
    assert errors(check(b"")) == ["the tar has no end: the two blocks of zeros are missing"]
    assert check(bytes(1024)).problems == ()


def test_an_entry_after_a_block_of_zeros_is_an_error():
    data = make_tar()
    assert errors(check(bytes(512) + data)) == ["a single block of zeros stands before the entry at byte 512"]


def test_a_changed_header_does_not_match_its_checksum():
    data = bytearray(make_tar())
    data[0] ^= 1
    assert errors(check(bytes(data))) == ["the tar header at byte 0 does not match its checksum"]


def test_old_writers_sums_of_signed_bytes_are_taken():
    block = bytearray(make_tar()[:512])
    block[0] = 0xFC
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % (sum(block) - 256)
    assert errors(check(bytes(block) + bytes(1024))) == []


@pytest.mark.parametrize("size", [b"\xff" * 12, b"9" * 11 + b"\0", b"12x", b"-1\0"])
def test_a_size_that_is_none_is_an_error(size):
    data = patched(make_tar(), 0, 124, size + b"\0" * (12 - len(size)))
    assert errors(check(data)) == ["the tar header at byte 0 has no valid size"]


def test_gnus_base_256_sizes_are_read():
    data = patched(make_tar(), 0, 124, b"\x80" + bytes(9) + b"\0\0")
    assert check(data).problems == ()
    huge = patched(make_tar(), 0, 124, b"\x80" + b"\x7f" * 11)
    assert errors(check(huge)) == ["the tar ends in the middle of an entry"]


def test_a_size_in_pax_decides():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("big")
        info.pax_headers = {"size": "1000"}
        archive.addfile(info)
    header = out.getvalue().rstrip(b"\0")
    header += bytes(-len(header) % 512)
    assert check(header + b"x" * 1000 + bytes(24) + bytes(1024)).problems == ()


@pytest.mark.parametrize("size", [b"-5", b"1e3", b"1" * 20])
def test_a_pax_size_that_is_none_is_an_error(size):
    record = b" size=" + size + b"\n"
    line = b"%d" % (len(record) + (1 if len(record) < 9 else 2)) + record
    tar = check(pax_header(line) + make_tar())
    assert errors(tar) == ["the PAX header of a has no valid size"]


def pax_header(records):
    info = tarfile.TarInfo("PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)


@pytest.mark.parametrize(
    "records", [b"x", b"0 a=b\n", b"99 a=b\n", b"6 a=b", b"5 ab\n", b"6 =bc\n", b"a a=b\n", b"6  a=b"]
)
def test_a_malformed_pax_record_is_an_error(records):
    assert errors(check(pax_header(records) + make_tar())) == ["a PAX header holds a malformed record"]


def test_a_pax_header_of_gigabytes_is_refused_unread():
    info = tarfile.TarInfo("PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, RECORD_LIMIT + 1
    tar = check(info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096))
    assert errors(tar) == [f"an extended header of {RECORD_LIMIT + 1:,} bytes at byte 0, over {RECORD_LIMIT:,}"]


def test_an_extended_header_needs_an_entry():
    tar = check(pax_header(b"6 a=b\n") + bytes(1024))
    assert errors(tar) == ["the tar ends after an extended header that belongs to no entry"]


def test_names_that_lead_upwards_are_told_and_counted():
    names = [f"../{number}" for number in range(10)] + ["a..b", "..c"]
    tar = check(make_tar(names=names))
    assert len(warnings(tar)) == 4
    assert warnings(tar)[-1] == "7 more: names that lead upwards"
    assert errors(tar) == []


def test_unknown_types_are_read_as_files_with_a_warning():
    data = patched(make_tar(names=("a", "b")), 512, 156, b"Z")
    tar = check(data)
    assert tar.entries == 4
    assert warnings(tar) == ["b has the unknown type 'Z'"]


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not on PATH: apt-get install tar")
@pytest.mark.parametrize(
    ("tar_format", "sparse"),
    [
        *((name, False) for name in ("gnu", "oldgnu", "posix", "ustar", "v7")),
        ("gnu", True),
        ("oldgnu", True),
        ("posix", True),
    ],
)
def test_what_gnu_tar_writes_is_read(tmp_path, tar_format, sparse):
    tree = tmp_path / "t"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "file").write_bytes(random.Random(1).randbytes(5000))
    if tar_format not in ("ustar", "v7"):
        (tree / "d" / ("n" * 200)).write_bytes(b"x")
    if sparse:
        with (tree / "holes").open("wb") as file:
            for piece in range(60):
                file.seek(piece * 200_000)
                file.write(b"data")
            file.truncate(20_000_000)
    os.link(tree / "d" / "file", tree / "d" / "hardlink")
    command = ["tar", f"--format={tar_format}", "-C", str(tmp_path), *(["--sparse"] if sparse else []), "-cf", "-", "t"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    tar = check(data)
    assert errors(tar) == []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert tar.entries == len(archive.getmembers())
    assert bool(warnings(tar)) == sparse


@given(data=st.binary(max_size=3000), cuts=st.lists(st.integers(0, 3000), max_size=5))
def test_rubbish_never_raises(data, cuts):
    assert errors(check(data, cuts)) or warnings(check(data, cuts)) or not data.strip(b"\0")


@given(at=st.integers(0, 9000), bit=st.integers(0, 7), cuts=st.lists(st.integers(0, 9000), max_size=5))
def test_one_changed_bit_never_raises_and_is_cut_alike(at, bit, cuts):
    data = bytearray(make_tar())
    data[at % len(data)] ^= 1 << bit
    assert check(bytes(data)).problems == check(bytes(data), cuts).problems
