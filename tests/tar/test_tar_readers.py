"""The reader of tars beside the others that there are, over archives in every form: what they read, it reads.

The archives are written by hand (oracles/tarforms.py). Python's tarfile is compared entry by entry; GNU tar and bsdtar
by what they unpack.
"""

from __future__ import annotations

import gzip
import io
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fastoci.errors import InvalidImageError
from fastoci.rootfs.limits import Limits, Usage
from fastoci.tar.reader import TarReader
from oracles import unpackers
from oracles.longform import times
from oracles.nasty import is_root
from oracles.snapshot import differences, snapshot
from oracles.tarforms import BLOCK, FORMS, SPARSE, Member, archive, trees

sys.path.append(str(Path(__file__).parents[1] / "rootfs"))

from tarkit import pieces, unpack

_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.DIRTYPE: "directory",
    tarfile.FIFOTYPE: "fifo",
}
relaxed = {"suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]}


def ours(data, step=1 << 20):
    """Return what the reader says of each entry, its content included."""
    reader = TarReader(pieces(data, step), "the layer", Usage(Limits()))
    return [
        (
            one.path.rstrip(b"/"),
            one.kind,
            one.mode,
            one.uid,
            one.gid,
            one.mtime,
            one.target,
            one.size,
            b"".join(bytes(part) for part in reader.parts(one)),
        )
        for one in reader.entries()
    ]


def written(form, members):
    """Return the same of what was written."""
    return [
        (
            one.path,
            one.kind,
            one.mode,
            one.uid,
            one.gid,
            one.mtime,
            one.target,
            len(one.data),
            one.data,
        )
        for one in members
    ]


def tarfiles(data):
    """Return the same as tarfile has it; its times are floating numbers."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as opened:
        for one in opened:
            file = opened.extractfile(one) if one.isreg() else None
            content = file.read() if file else b""
            found.append(
                (
                    one.name.encode("utf-8", "surrogateescape"),
                    _KINDS[one.type],
                    one.mode,
                    one.uid,
                    one.gid,
                    pytest.approx(one.mtime * 10**9, rel=1e-12),
                    one.linkname.encode("utf-8", "surrogateescape"),
                    len(content),
                    content,
                )
            )
    return found


@pytest.mark.parametrize("form", FORMS)
def test_it_reads_what_was_written_and_what_tarfile_reads(form):
    @settings(max_examples=times(60, 5000), **relaxed)
    @given(members=trees(form), step=st.sampled_from([1 << 20, 512, 700, 10_000]))
    def check(members, step):
        data = archive(form, members)
        assert ours(data, step) == written(form, members)
        assert ours(data) == tarfiles(data)

    check()


@pytest.mark.skipif(not is_root(), reason="only root gives files away")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "package"), [("tar", "tar"), ("bsdtar", "libarchive-tools")])
def test_it_unpacks_what_they_unpack(name, package, form, tmp_path):
    program = unpackers.program(name, package)
    options = ["--numeric-owner", "-xpf", "-"]
    if name == "tar":
        options = ["--same-owner", "--delay-directory-restore", "--warning=none", *options]

    @settings(max_examples=times(25, 2000), **relaxed)
    @given(members=trees(form))
    def check(members):
        data = archive(form, members)
        place = Path(tempfile.mkdtemp(dir=tmp_path))
        try:
            (place / "theirs").mkdir()
            unpackers.run([program, *options], data=data, cwd=str(place / "theirs"))
            unpack(place / "ours", data)
            assert differences(snapshot(place / "theirs"), snapshot(place / "ours")) == []
        finally:
            shutil.rmtree(place)

    check()


@pytest.mark.parametrize(("form", "sparse"), [(form, one) for form in FORMS for one in SPARSE[form]])
def test_a_sparse_file_of_many_regions(form, sparse):
    regions = tuple((number * 4096, BLOCK) for number in range(200))
    data = b"".join((b"%03d" % number * BLOCK)[:BLOCK] + bytes(4096 - BLOCK) for number in range(200))
    member = Member(b"d/f", "file", data, sparse=sparse, regions=(*regions, (len(data), 0)))
    written_whole = archive(form, [member])
    assert len(written_whole) < len(data) // 4
    for step in (1, 512, 1 << 20) if sparse == "1.0" else (512, 1 << 20):
        assert ours(written_whole, step)[0][-1] == data
    assert tarfiles(written_whole)[0][-1] == data


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_is_cut_is_an_error_or_was_read_to_its_last_entry(form):
    @settings(max_examples=times(60, 5000), **relaxed)
    @given(members=trees(form), data=st.data())
    def check(members, data):
        whole = archive(form, members)
        assume(len(whole) > 2 * BLOCK)
        cut = whole[: data.draw(st.integers(1, len(whole) - 2 * BLOCK - 1))]
        cause = ""
        try:
            found = ours(cut)
        except InvalidImageError as error:
            cause = str(error.cause)
        else:
            # Cut between entries, or in the padding of the last one: all that is there was read.
            assert found == written(form, members)[: len(found)]
            assert len(archive(form, members[: len(found)])) - 2 * BLOCK - len(cut) < BLOCK
        said = ("middle of an entry", "belongs to no entry", "its map is cut")
        assert not cause or any(words in cause for words in said)

    check()


def test_it_is_what_gzip_and_unpack_make_of_it(tmp_path):
    """The whole way, once for each form: a layout, `unpack`, and the files."""
    from fastoci.unpack import unpack as whole

    for form in FORMS:
        members = [Member(b"d", "directory", mode=0o755), Member(b"d/f", "file", b"data"), Member(b"g", "file", b"x")]
        place = tmp_path / form
        place.mkdir()
        unpackers.write_layout(place / "layout", gzip.compress(archive(form, members)))
        whole(f"oci:{place}/layout:latest", str(place / "out"))
        assert (place / "out/d/f").read_bytes() == b"data"
