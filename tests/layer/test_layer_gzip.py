"""The compressed stream: one gzip member, whose blocks each stand alone, read by programs that are not ours."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import struct
import subprocess
import zlib
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci.events import Warned, discard
from fastoci.layer import compression
from fastoci.layer.compression import deflate_block, differs_from_golden
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.spec import mediatypes
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.nasty import BLOCK, mixed_data
from oracles.packing import PiecesSink, pack, plan, render
from oracles.unpackers import program

LAST = b"\x03\x00"


@pytest.fixture(scope="module")
def pieces(nasty_tree):
    sink = PiecesSink()
    pack_tree(TreeSource(nasty_tree.path), TreePolicy(), LayerOptions(threads=3), sink, discard)
    return sink.pieces


@pytest.fixture(scope="module")
def tar(nasty_tree):
    return pack(nasty_tree.path, options=LayerOptions(compression="none")).tar


def inflate(deflated):
    """Return what one block's deflate blocks hold, by zlib, and see that they end on a byte boundary."""
    inflater = zlib.decompressobj(-15)
    data = inflater.decompress(deflated + LAST)
    assert inflater.eof
    assert inflater.unused_data == b""
    return data


def test_every_block_stands_alone_and_opens_with_its_stored_prefix(nasty_tree, pieces):
    planned = plan(nasty_tree.path)
    blocks = pieces[1:-1]
    assert len(blocks) == planned.block_count > 20
    for number, deflated in enumerate(blocks):
        block = render(planned, number)
        assert deflated[:5] == bytes.fromhex("00 40 00 bf ff")
        assert deflated[5:69] == block[:64]
        assert inflate(deflated) == block


def test_the_member_s_header_and_end(pieces, tar):
    assert pieces[0] == bytes.fromhex("1f 8b 08 00 00 00 00 00 00 ff")
    assert pieces[-1] == LAST + struct.pack("<II", zlib.crc32(tar), len(tar))


def test_it_is_one_member(pieces, tar):
    inflater = zlib.decompressobj(31)
    assert inflater.decompress(b"".join(pieces)) == tar
    assert inflater.eof
    assert inflater.unused_data == b""


def test_python_reads_it(pieces, tar):
    assert gzip.decompress(b"".join(pieces)) == tar


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("gzip", ["gzip", "-dc"]),
        ("pigz", ["pigz", "-dc"]),
        ("isal", ["igzip", "-dc"]),
        ("zstd", ["zstd", "-dc", "--format=gzip"]),
        ("libarchive-tools", ["bsdcat"]),
    ],
)
def test_others_read_it(pieces, tar, tmp_path, package, command):
    path = tmp_path / "layer.gz"
    path.write_bytes(b"".join(pieces))
    done = subprocess.run([program(command[0], package), *command[1:], str(path)], capture_output=True, check=True)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(tar).digest()
    assert done.stderr == b""


@pytest.mark.parametrize(("package", "name"), [("gzip", "gzip"), ("pigz", "pigz"), ("isal", "igzip")])
def test_others_find_it_whole(pieces, tmp_path, package, name):
    path = tmp_path / "layer.gz"
    path.write_bytes(b"".join(pieces))
    done = subprocess.run([program(name, package), "-t", str(path)], capture_output=True, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_number_of_threads_does_not_show(nasty_tree, tar, level):
    blobs = {pack(nasty_tree.path, options=LayerOptions(threads=threads, level=level)).blob for threads in (1, 2, 3, 8)}
    assert len(blobs) == 1
    assert gzip.decompress(blobs.pop()) == tar


def test_no_compression(nasty_tree, tar):
    for threads in (1, 3):
        packed = pack(nasty_tree.path, options=LayerOptions(threads=threads, compression="none"))
        assert packed.blob == tar
        assert packed.layer.descriptor.digest == packed.layer.diff_id
        assert packed.layer.descriptor.size == packed.layer.tar_size
        assert packed.layer.descriptor.media_type == mediatypes.OCI_LAYER_TAR


def test_the_media_type(nasty_tree):
    assert pack(nasty_tree.path).layer.descriptor.media_type == mediatypes.OCI_LAYER_GZIP


@pytest.mark.parametrize("level", [1, 2, 3])
def test_data_that_does_not_compress_is_stored(tmp_path, level):
    data = random.Random(level).randbytes(6 * BLOCK)
    (tmp_path / "random").write_bytes(data)
    packed = pack(tmp_path, options=LayerOptions(level=level))
    # Five bytes for each stored block: one of 64 bytes and nine of up to 65,535 in a block of the layer.
    assert packed.layer.descriptor.size < packed.layer.tar_size + 10 * 5 * 8 + 100
    assert packed.tar[512 : 512 + len(data)] == data


@pytest.mark.parametrize("size", [*range(1, 4), 63, 64, 65, 66, 127, 128, 129, 512, 1000, 65535, 65600, 131072, BLOCK])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_block_of_any_size(size, level):
    for data in (mixed_data(size, size), random.Random(size).randbytes(size), bytes(size)):
        deflated = deflate_block(memoryview(data), level)
        assert inflate(deflated) == data
        prefix = data[:64]
        stored = struct.pack("<BHH", 0, len(prefix), len(prefix) ^ 0xFFFF) + prefix
        assert deflated.startswith(stored)
        if size <= 64:
            assert deflated == stored


@given(st.binary(max_size=300), st.integers(1, 3000), st.sampled_from([1, 2, 3]))
@settings(max_examples=100)
def test_any_block(piece, times, level):
    data = (piece * times)[:BLOCK] or b"x"
    assert inflate(deflate_block(memoryview(data), level)) == data


def test_a_block_that_only_looks_random_is_compressed():
    # Every value as often as any other, and yet one short piece over and over.
    data = random.Random(5).sample(range(256), 256)
    block = bytes(data) * (BLOCK // 256)
    deflated = deflate_block(memoryview(block), 1)
    assert len(deflated) < BLOCK // 20
    assert inflate(deflated) == block


def test_this_isal_gives_the_golden_bytes():
    assert not any(differs_from_golden(level) for level in (1, 2, 3))


def test_another_isal_draws_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="test"))
    monkeypatch.setattr(compression, "_GOLDEN_DIGESTS", {"test": {1: "00" * 32}})
    (warning,) = [event for event in pack(tmp_path).events if isinstance(event, Warned)]
    assert "isal" in warning.message
    assert warning.hint
    monkeypatch.setattr(compression, "_GOLDEN_DIGESTS", {})
    assert not [event for event in pack(tmp_path).events if isinstance(event, Warned)]
