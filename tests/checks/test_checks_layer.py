from __future__ import annotations

import errno
import gzip
import hashlib
import io
import random
import tarfile
import threading
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastoci.checks.layer import check_layer
from fastoci.errors import StoreError
from fastoci.images import tarstream
from fastoci.images.tarstream import zstd_reader
from fastoci.parallel import StoppedError
from imagekit import compress_zstd


def make_tar(size=100_000):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("file")
        info.size = size
        archive.addfile(info, io.BytesIO(random.Random(1).randbytes(size)))
    return out.getvalue()


TAR = make_tar()
BLOB = gzip.compress(TAR, 1, mtime=0)


def check(data, compression="gzip", **options):
    options = {"algorithm": "sha256", "limit": len(data), **options}
    return check_layer(io.BytesIO(data), compression=compression, **options)


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def messages(facts):
    return [problem.message for problem in facts.problems]


@pytest.mark.parametrize(
    ("blob", "compression"),
    [
        (BLOB, "gzip"),
        (TAR, "none"),
        (b"".join(gzip.compress(TAR[at : at + 999]) for at in range(0, len(TAR), 999)), "gzip"),
    ],
)
def test_a_good_layer_is_found_to_be_what_it_is(blob, compression):
    facts = check(blob, compression)
    assert str(facts.digest) == sha256(blob)
    assert facts.size == len(blob)
    assert str(facts.diff_id) == sha256(TAR)
    assert facts.tar_size == len(TAR)
    assert facts.entries == 1
    assert facts.problems == ()


def test_other_algorithms_are_computed_too():
    facts = check(BLOB, algorithm="sha512", diff_algorithm="sha512")
    assert str(facts.digest) == f"sha512:{hashlib.sha512(BLOB).hexdigest()}"
    assert str(facts.diff_id) == f"sha512:{hashlib.sha512(TAR).hexdigest()}"


def test_without_a_compression_the_blob_alone_is_hashed():
    facts = check(b"no tar", None)
    assert str(facts.digest) == sha256(b"no tar")
    assert (facts.diff_id, facts.tar_size, facts.problems) == (None, None, ())


@given(cut=st.integers(0, len(BLOB) - 1))
@settings(max_examples=40)
def test_a_cut_stream_has_no_diff_id_and_still_a_digest(cut):
    facts = check(BLOB[:cut])
    assert str(facts.digest) == sha256(BLOB[:cut])
    assert facts.diff_id is None or cut == 0
    assert any(problem.severity == "error" for problem in facts.problems)


@given(at=st.integers(0, len(BLOB) - 1), bit=st.integers(0, 7))
@settings(max_examples=60)
@example(at=100, bit=0)
def test_a_changed_bit_changes_what_is_found(at, bit):
    data = bytearray(BLOB)
    data[at] ^= 1 << bit
    facts = check(bytes(data))
    assert str(facts.digest) == sha256(data)
    # Some bits mean nothing to the content: MTIME, XFL and OS of the header (RFC 1952), and those that fill up the byte
    # before a stored block (RFC 1951, 3.2.4). Another content without a word there is none.
    assert facts.diff_id is None or str(facts.diff_id) == sha256(TAR)


def test_rubbish_after_the_gzip_stream_is_an_error():
    facts = check(BLOB + b"rubbish")
    assert facts.diff_id is None
    assert facts.size == len(BLOB) + 7
    assert messages(facts)[0].startswith("the gzip stream is broken: ")


def test_a_blob_that_is_too_long_is_read_one_byte_beyond():
    facts = check(TAR + bytes(1 << 20), "none", limit=len(TAR))
    assert facts.size == len(TAR) + 1


def test_a_stream_that_inflates_a_thousandfold_is_not_held():
    tar = make_tar(0)[:512]
    bomb = gzip.compress(tar + bytes(100 << 20), 9)
    tracemalloc.start()
    try:
        facts = check(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert facts.tar_size == 512 + (100 << 20)
    assert peak < 32 << 20


class Failing(io.BytesIO):
    def __init__(self, data, error):
        super().__init__(data)
        self.error = error

    def read(self, size=-1):
        if self.tell() >= 1 << 20:
            raise self.error
        return super().read(min(size, 1 << 18))


BIG = gzip.compress(make_tar(3 << 20), 1)


@pytest.mark.parametrize("compression", ["gzip", "none", None])
def test_what_the_reader_raises_arrives_and_no_thread_is_left(compression):
    error = StoreError("disk trouble", path="/x")
    with pytest.raises(StoreError) as caught:
        check_layer(Failing(BIG, error), algorithm="sha256", limit=len(BIG), compression=compression)
    assert caught.value is error
    assert not [thread for thread in threading.enumerate() if thread.name == "fastoci-inflate"]


@pytest.mark.parametrize("compression", ["gzip", "none", None])
def test_a_disk_that_fails_is_not_the_image_s_fault(compression):
    stream = Failing(BIG, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(StoreError, match="cannot read the blob x: input/output error") as caught:
        check_layer(stream, algorithm="sha256", limit=len(BIG), compression=compression, name="the blob x")
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("flag", [4, 8, 16])
def test_a_gzip_header_without_an_end_is_an_error(flag):
    """RFC 1952: FEXTRA, FNAME and FCOMMENT have room for more than anybody holds."""
    facts = check(b"\x1f\x8b\x08" + bytes([flag]) + b"\0\0\0\0\0\xff" + b"\xff" * (2 << 20))
    assert facts.diff_id is None
    assert messages(facts)[0].startswith("the gzip stream is broken: ")


@pytest.mark.parametrize("compression", ["gzip", "none", None])
def test_it_stops_when_told(compression):
    reads = []

    def stopped():
        reads.append(None)
        return len(reads) > 2

    with pytest.raises(StoppedError):
        check(BIG, compression, stopped=stopped)
    assert not [thread for thread in threading.enumerate() if thread.name == "fastoci-inflate"]


def test_without_a_decompressor_zstd_is_none_and_no_import_fails(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(tarstream.importlib, "import_module", missing)
    assert zstd_reader() is None


def test_zstd_is_inflated_frame_by_frame():
    blob = compress_zstd(TAR[:5000]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + compress_zstd(TAR[5000:])
    facts = check(blob, "zstd")
    assert (str(facts.digest), str(facts.diff_id), facts.problems) == (sha256(blob), sha256(TAR), ())


@pytest.mark.parametrize("break_it", [lambda data: data[:-5], lambda data: data[:20] + b"rubbish" + data[27:]])
def test_a_broken_zstd_stream_is_an_error(break_it):
    blob = break_it(compress_zstd(TAR))
    facts = check(blob, "zstd")
    assert str(facts.digest) == sha256(blob)
    assert any(problem.severity == "error" for problem in facts.problems)
