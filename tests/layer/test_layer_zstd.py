"""Zstandard layers: frames that everybody reads, and the same bytes by any number of threads and in any process."""

from __future__ import annotations

import hashlib
import random
import struct
import subprocess
import sys

import pytest

from fastoci.errors import FastociError, UsageError
from fastoci.events import Warned
from fastoci.layer import zstd
from fastoci.layer.compression import GOLDEN_TEXT
from fastoci.layer.options import BLOCK_SIZE, LayerOptions
from fastoci.layer.zstd import ZstdCompressor, differs_from_golden
from fastoci.spec import mediatypes
from oracles.nasty import mixed_data
from oracles.packing import pack
from oracles.unpackers import program

MAGIC = 0xFD2FB528


@pytest.fixture(scope="module")
def packed(nasty_tree):
    return pack(nasty_tree.path, options=LayerOptions(threads=2, compression="zstd"))


@pytest.fixture(scope="module")
def tar(nasty_tree):
    return pack(nasty_tree.path, options=LayerOptions(compression="none")).blob


def frames(blob):
    """Return each frame's content size and bytes, taken apart by RFC 8878, 3.1.1."""
    found, at = [], 0
    while at < len(blob):
        start = at
        magic, descriptor = struct.unpack_from("<IB", blob, at)
        assert magic == MAGIC
        flag, single, checksum, dictionary = descriptor >> 6, descriptor >> 5 & 1, descriptor >> 2 & 1, descriptor & 3
        assert (single, checksum, dictionary) == (1, 1, 0)
        width = (1, 2, 4, 8)[flag]
        size = int.from_bytes(blob[at + 5 : at + 5 + width], "little") + (256 if flag == 1 else 0)
        at += 5 + width
        last = 0
        while not last:
            header = int.from_bytes(blob[at : at + 3], "little")
            last, kind, length = header & 1, header >> 1 & 3, header >> 3
            at += 3 + (1 if kind == 1 else length)
        at += 4
        found.append((size, blob[start:at]))
    return found


def test_each_block_is_a_frame_that_says_its_size(packed, tar):
    sizes = [size for size, _ in frames(packed.blob)]
    assert sum(sizes) == len(tar)
    assert max(sizes) == BLOCK_SIZE
    assert len(sizes) > 5
    assert packed.layer.descriptor.media_type == mediatypes.OCI_LAYER_ZSTD
    assert packed.tar == tar


def test_the_zstd_program_reads_it_and_finds_it_whole(packed, tar, tmp_path):
    path = tmp_path / "layer.zst"
    path.write_bytes(packed.blob)
    done = subprocess.run([program("zstd", "zstd"), "-dc", path], capture_output=True, check=True)
    assert done.stdout == tar
    listed = subprocess.run([program("zstd", "zstd"), "-lv", path], capture_output=True, check=True, text=True).stdout
    assert f"({len(tar)} B)" in listed
    assert "XXH64" in listed


def test_a_byte_that_changed_is_noticed_by_the_frame(packed, tmp_path):
    data = bytearray(packed.blob)
    data[len(data) // 2] ^= 0x40
    path = tmp_path / "layer.zst"
    path.write_bytes(data)
    assert subprocess.run([program("zstd", "zstd"), "-t", path], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("level", [1, 3, 9])
def test_the_number_of_threads_does_not_show(nasty_tree, tar, level):
    found = [
        pack(nasty_tree.path, options=LayerOptions(threads=threads, compression="zstd", level=level))
        for threads in (1, 3, 8)
    ]
    assert len({one.blob for one in found}) == 1
    assert found[0].tar == tar


def test_the_golden_digests():
    """Of libzstd 1.5.7: with another one the warning is right, and these say nothing."""
    if zstd.zstd_version() != "1.5.7":
        pytest.skip(f"left out: the digests are those of libzstd 1.5.7, and this is {zstd.zstd_version()}")
    assert not any(differs_from_golden(level) for level in range(1, 20))


def test_another_process_gives_the_same(tmp_path):
    data = mixed_data(2 * BLOCK_SIZE, 7)
    (tmp_path / "data").write_bytes(data)
    script = (
        "import hashlib, sys; from fastoci.layer.zstd import ZstdCompressor\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "made = [ZstdCompressor(level).compress(memoryview(data)[at : at + 524288])[0]"
        " for level in (1, 3, 19) for at in (0, 524288)]\n"
        "print(hashlib.sha256(b''.join(made)).hexdigest())"
    )
    said = {
        subprocess.run([sys.executable, "-c", script, tmp_path / "data"], capture_output=True, check=True).stdout
        for _ in range(4)
    }
    assert len(said) == 1


def test_data_that_does_not_compress_hardly_grows(tmp_path):
    (tmp_path / "random").write_bytes(random.Random(1).randbytes(6 * BLOCK_SIZE))
    layer = pack(tmp_path, options=LayerOptions(compression="zstd")).layer
    # RFC 8878: a frame's header and checksum, and three bytes for each block of 128 KiB.
    assert layer.descriptor.size < layer.tar_size + 8 * (9 + 4 + 3 * 4)


@pytest.mark.parametrize(("compression", "level"), [("zstd", 0), ("zstd", 20), ("gzip", 4), ("gzip", 0)])
def test_levels_that_are_none(compression, level):
    with pytest.raises(UsageError, match=f"{compression} has no level {level}"):
        LayerOptions(compression=compression, level=level)


def test_no_libzstd_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(zstd, "find_zstd", lambda: None)
    with pytest.raises(FastociError, match="no libzstd") as caught:
        pack(tmp_path, options=LayerOptions(compression="zstd"))
    assert "fastoci[zstd]" in str(caught.value.hint)


def test_another_libzstd_draws_a_warning(monkeypatch, tmp_path):
    monkeypatch.setitem(zstd._GOLDEN_DIGESTS, 1, hashlib.sha256(GOLDEN_TEXT).hexdigest())
    events = pack(tmp_path, options=LayerOptions(compression="zstd")).events
    assert [event.message for event in events if isinstance(event, Warned)] == [
        f"libzstd {zstd.zstd_version()} compresses to other bytes than 1.5.7, of which digests are promised"
    ]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65791, 65792, BLOCK_SIZE])
def test_a_block_of_any_size(size):
    data = mixed_data(size, size)
    frame, _ = ZstdCompressor(1).compress(memoryview(data))
    ((said, whole),) = frames(frame)
    assert (said, whole) == (size, frame)
    assert zstd.find_zstd().decompress(frame) == data
