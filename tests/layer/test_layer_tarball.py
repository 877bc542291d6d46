"""A tar archive as a source: its bytes are kept, and what is no whole archive is refused."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
import tarfile
import threading
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci.errors import StoreError, TreeChangedError, TreeError, UsageError
from fastoci.events import LayerScanned, discard
from fastoci.layer import tarball
from fastoci.layer.options import LayerOptions
from fastoci.layer.tarball import pack_tar
from fastoci.tree.source import TreeSource
from oracles.nasty import BLOCK
from oracles.packing import MemorySink
from oracles.unpackers import program, run

STDIN = TreeSource("-")


def archive(*members, kind=tarfile.PAX_FORMAT):
    """Return a tar archive of (name, data)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as made:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1000 + len(data) % 100
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


SMALL = archive(("a", b"data"), ("d/b", b"more data" * 100), ("x" * 200, b""))


def pack(data, tmp_path, **options):
    path = tmp_path / "archive.tar"
    path.write_bytes(data)
    sink = MemorySink()
    layer = pack_tar(TreeSource(str(path)), LayerOptions(**options), sink, discard)
    assert sink.committed == layer.descriptor.digest
    return layer, bytes(sink.data)


def refuse(data, tmp_path):
    path = tmp_path / "archive.tar"
    path.write_bytes(data)
    sink = MemorySink()
    with pytest.raises(TreeError) as caught:
        pack_tar(TreeSource(str(path)), LayerOptions(), sink, discard)
    assert sink.committed is None
    assert not sink.data
    return caught.value


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_the_bytes_are_kept(tmp_path, kind):
    data = archive(("a", random.Random(1).randbytes(3 * BLOCK)), ("b", b""), ("c", bytes(BLOCK)), kind=kind)
    for threads in (1, 3):
        layer, blob = pack(data, tmp_path, threads=threads)
        assert gzip.decompress(blob) == data
        assert layer.diff_id.hex == hashlib.sha256(data).hexdigest()
        assert (layer.tar_size, layer.entries, layer.newest_mtime, layer.owner) == (len(data), 3, 1088, None)
    layer, blob = pack(data, tmp_path, compression="none")
    assert blob == data
    assert layer.descriptor.digest == layer.diff_id


@pytest.mark.parametrize("size", [BLOCK - 512, BLOCK, BLOCK + 512, 3 * BLOCK])
def test_archives_around_the_size_of_a_block(tmp_path, size):
    data = SMALL.ljust(size, b"\0")
    layer, blob = pack(data, tmp_path, threads=2)
    assert gzip.decompress(blob) == data
    assert layer.entries == 3


def test_an_archive_of_gnu_tar(tmp_path, nasty_tree):
    path = tmp_path / "gnu.tar"
    options = [f"--file={path}", "--sort=name", "--xattrs", "--exclude=./deep*"]
    run([program("tar", "tar"), "--create", *options, "."], cwd=nasty_tree.path)
    layer, blob = pack(path.read_bytes(), tmp_path)
    assert gzip.decompress(blob) == path.read_bytes()
    with tarfile.open(path, errors="surrogateescape") as made:
        assert layer.entries == len(made.getmembers())


def test_an_empty_archive(tmp_path):
    layer, blob = pack(bytes(10240), tmp_path)
    assert gzip.decompress(blob) == bytes(10240)
    assert (layer.entries, layer.newest_mtime) == (0, None)


def test_one_record_of_zeros_is_end_enough(tmp_path):
    data = SMALL.rstrip(b"\0")
    data += bytes(-len(data) % 512 + 512)
    assert gzip.decompress(pack(data, tmp_path)[1]) == data


END = len(SMALL.rstrip(b"\0")) + -len(SMALL.rstrip(b"\0")) % 512


@pytest.mark.parametrize("size", [1, 100, 511, 512, 513, 515, 1023, 1024, 1025, 1536, 2000, END - 512, END - 1, END])
def test_an_archive_that_is_cut_is_refused(tmp_path, size):
    error = refuse(SMALL[:size], tmp_path)
    assert "is no whole tar archive" in str(error)
    assert error.cause
    assert error.path == str(tmp_path / "archive.tar")


@given(st.integers(0, END))
@settings(max_examples=60)
def test_a_cut_anywhere_is_refused(tmp_path_factory, size):
    path = tmp_path_factory.getbasetemp() / "cut.tar"
    path.write_bytes(SMALL[:size])
    with pytest.raises(TreeError):
        pack_tar(TreeSource(str(path)), LayerOptions(), MemorySink(), discard)


def test_a_broken_header_is_refused(tmp_path):
    data = bytearray(archive(("a", b"1"), ("b", b"2"), ("c", b"3")))
    data[1024 + 20] ^= 1
    assert "byte 1,024" in refuse(bytes(data), tmp_path).cause


@pytest.mark.parametrize("data", [b"", b"text\n" * 1000, random.Random(9).randbytes(5000), b"\x7fELF" + bytes(2000)])
def test_what_is_no_archive_is_refused(tmp_path, data):
    refuse(data, tmp_path)


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("gzip", gzip.compress),
        ("bzip2", bz2.compress),
        ("xz", lzma.compress),
        ("zstd", lambda data: b"\x28\xb5\x2f\xfd" + data),
    ],
)
def test_a_compressed_archive_is_wrong_usage(tmp_path, name, compress):
    path = tmp_path / "archive.tar.z"
    path.write_bytes(compress(SMALL))
    with pytest.raises(UsageError, match=f"compressed with {name}") as caught:
        pack_tar(TreeSource(str(path)), LayerOptions(), MemorySink(), discard)
    assert "fastoci build -" in caught.value.hint


def test_a_destination_is_wrong_usage(tmp_path):
    (tmp_path / "a.tar").write_bytes(SMALL)
    with pytest.raises(UsageError, match="destination"):
        pack_tar(TreeSource(str(tmp_path / "a.tar"), "/opt"), LayerOptions(), MemorySink(), discard)
    with pytest.raises(UsageError, match="destination"):
        pack_tar(TreeSource("-", "/opt"), LayerOptions(), MemorySink(), discard, io.BytesIO(SMALL))


def test_a_file_that_may_have_been_meant_as_one(tmp_path):
    (tmp_path / "app").write_bytes(b"\x7fELF" * 1000)
    with pytest.raises(TreeError, match="no whole tar archive") as caught:
        pack_tar(TreeSource(str(tmp_path / "app")), LayerOptions(), MemorySink(), discard)
    assert caught.value.hint == f"for the file itself in the image, name its place there: {tmp_path}/app:/DEST"
    assert refuse(b"\x7fELF" * 1000, tmp_path).hint is None  # of what is named like an archive nobody means that
    assert refuse(SMALL[:END], tmp_path).hint is None


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TreeError, match="no such file") as caught:
        pack_tar(TreeSource(str(tmp_path / "nothing")), LayerOptions(), MemorySink(), discard)
    assert caught.value.errno == 2


class TestStandardInput:
    """`-`: a file is read where it stands, a pipe is kept in a file without a name."""

    def pack(self, stream, events=discard):
        sink = MemorySink()
        return pack_tar(STDIN, LayerOptions(threads=2), sink, events, stream), bytes(sink.data)

    def test_a_file(self, tmp_path):
        (tmp_path / "a.tar").write_bytes(SMALL)
        with open(tmp_path / "a.tar", "rb") as file:
            layer, blob = self.pack(file)
            assert not file.closed
        assert gzip.decompress(blob) == SMALL
        assert layer.entries == 3

    def test_a_file_that_was_read_from_already(self, tmp_path):
        (tmp_path / "a.tar").write_bytes(b"something before it" + SMALL)
        with open(tmp_path / "a.tar", "rb") as file:
            file.seek(19)
            assert gzip.decompress(self.pack(file)[1]) == SMALL

    def test_a_pipe(self):
        data = archive(("large", random.Random(3).randbytes(5 * BLOCK)))
        reading, writing = os.pipe()

        def feed():
            with open(writing, "wb") as file:
                file.write(data)

        feeder = threading.Thread(target=feed)
        feeder.start()
        with open(reading, "rb") as file:
            layer, blob = self.pack(file)
        feeder.join()
        assert gzip.decompress(blob) == data
        assert layer.entries == 1

    def test_a_stream_in_memory(self):
        assert gzip.decompress(self.pack(io.BytesIO(SMALL))[1]) == SMALL

    def test_a_pipe_that_ends_early(self):
        with pytest.raises(TreeError, match="no whole tar"):
            self.pack(io.BytesIO(SMALL[:1300]))

    def test_none_at_all(self):
        with pytest.raises(UsageError):
            pack_tar(STDIN, LayerOptions(), MemorySink(), discard)

    def test_a_compressed_one(self):
        with pytest.raises(UsageError, match="gzip"):
            self.pack(io.BytesIO(gzip.compress(SMALL)))

    def test_one_that_cannot_be_read(self):
        class Broken(io.RawIOBase):
            def readable(self):
                return True

            def read(self, size=-1):
                raise OSError(5, "Input/output error")

        with pytest.raises(TreeError, match="input/output error"):
            self.pack(Broken())

    def test_no_room_to_keep_it(self, monkeypatch):
        class Disk(io.BytesIO):
            def write(self, data):
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(tarball.tempfile, "TemporaryFile", lambda **_: Disk())
        with pytest.raises(StoreError, match="no space left") as caught:
            self.pack(io.BytesIO(SMALL))
        assert "TMPDIR" in caught.value.hint

    def test_nothing_stays_behind(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tarball.tempfile, "tempdir", str(tmp_path))
        before = set(os.listdir("/proc/self/fd"))
        self.pack(io.BytesIO(SMALL))
        with pytest.raises(TreeError):
            self.pack(io.BytesIO(SMALL[:1300]))
        assert set(os.listdir("/proc/self/fd")) == before
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("change", [lambda path: os.truncate(path, 2048), lambda path: os.utime(path, (1, 1))])
def test_an_archive_that_changes_meanwhile(tmp_path, change):
    path = tmp_path / "a.tar"
    path.write_bytes(SMALL)

    def events(event):
        if isinstance(event, LayerScanned):
            change(path)

    sink = MemorySink()
    with pytest.raises(TreeChangedError) as caught:
        pack_tar(TreeSource(str(path)), LayerOptions(), sink, events)
    assert caught.value.path == str(path)
    assert sink.committed is None


class TestHostile:
    """Archives that nobody makes by accident are refused in words, within bounds."""

    def header(self, **facts):
        info = tarfile.TarInfo("x")
        for key, value in facts.items():
            setattr(info, key, value)
        return info.tobuf(tarfile.GNU_FORMAT)

    @pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
    @pytest.mark.parametrize("size", [2**20 + 1, 2**33, 2**62])
    def test_extended_headers_without_bounds(self, tmp_path, kind, size):
        assert "extended header" in refuse(self.header(type=kind, size=size) + bytes(4096), tmp_path).cause

    @pytest.mark.parametrize("kind", [b"X", b"Z"])
    def test_what_no_specification_of_today_has(self, tmp_path, kind):
        """`X` is an extended header as Solaris had it before POSIX.1-2001: what it says would be lost."""
        assert "unknown type" in refuse(self.header(type=kind, size=0) + bytes(4096), tmp_path).cause

    def test_a_chain_of_extended_headers(self, tmp_path):
        refuse(self.header(type=b"L", size=0) * 20000 + bytes(1024), tmp_path)

    @pytest.mark.parametrize("size", [2**40, 2**62, 2**80])
    def test_a_member_beyond_the_end(self, tmp_path, size):
        refuse(self.header(size=size) + bytes(4096), tmp_path)

    @pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.REGTYPE])
    @pytest.mark.parametrize("facts", [{"uid": 2**40}, {"gid": 2**32 - 1}, {"mtime": 2**63}, {"uid": -1}])
    def test_facts_that_no_system_has(self, tmp_path, facts, kind):
        cause = refuse(self.header(type=kind, **facts) + bytes(1024), tmp_path).cause
        assert "no system has" in cause or "has no valid owner" in cause

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
    def test_times_that_are_no_numbers(self, tmp_path, value):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as made:
            info = tarfile.TarInfo("x")
            info.pax_headers = {"mtime": value}
            made.addfile(info)
        refuse(out.getvalue(), tmp_path)

    @given(st.binary(max_size=3000))
    @settings(max_examples=100)
    def test_anything_at_all(self, tmp_path_factory, data):
        path = tmp_path_factory.getbasetemp() / "anything.tar"
        for text in (data, SMALL[:512] + data + SMALL[512:]):
            path.write_bytes(text)
            # Whole or refused; any other error fails the test.
            with suppress(TreeError, UsageError):
                pack_tar(TreeSource(str(path)), LayerOptions(), MemorySink(), discard)
