"""docs/layer-format.md is true: a second implementation, written from it, gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
import tarfile
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastoci._engine.sample import is_even
from fastoci.events import discard
from fastoci.layer import compression
from fastoci.layer.compression import deflate_block
from fastoci.layer.options import BLOCK_SIZE, FORMAT_VERSION, LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.layer.tarball import pack_tar
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles import formatreference, tarreference
from oracles.formatreference import CONSTANTS, PAGE, layer_of, layer_of_tar
from oracles.nasty import BLOCK, directory, mixed_data, write
from oracles.packing import MemorySink, PiecesSink
from oracles.randomtrees import TREES, made
from oracles.snapshot import Entry, packable, snapshot
from oracles.tarreference import Rules


def assert_same(found, expected):
    """Compare piece by piece, so that a failure says which block differs, and not with a megabyte of bytes."""
    assert len(found) == len(expected)
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest(), f"piece {number} of {len(found)}"


def packed(path, dest="/", policy=None, level=1, threads=2):
    sink = PiecesSink()
    options = LayerOptions(threads=threads, level=level)
    layer = pack_tree(TreeSource(os.fspath(path), dest), policy or TreePolicy(), options, sink, discard)
    return layer, sink.pieces


def assert_is_the_reference(path, dest="/", policy=None, rules=None, level=1):
    layer, pieces = packed(path, dest, policy, level)
    expected = layer_of(packable(snapshot(path)), rules, level)
    assert layer.tar_size == len(expected.tar)
    assert layer.diff_id.hex == hashlib.sha256(expected.tar).hexdigest()
    assert_same(pieces, expected.pieces)
    assert layer.descriptor.digest.hex == hashlib.sha256(expected.blob).hexdigest()


def test_the_page_is_of_this_version():
    assert PAGE.read_text().startswith(f"# The layer format, version {FORMAT_VERSION}\n")
    assert {"BLOCK_SIZE": BLOCK_SIZE, "MEMORY_LEVEL": compression._MEMORY_LEVEL}.items() <= CONSTANTS.items()
    assert CONSTANTS["LEVEL"] == LayerOptions().level
    assert len(CONSTANTS) == 12


def test_the_smallest_layer_is_the_one_in_the_page(tmp_path):
    text = PAGE.read_text().partition("## The smallest layer")[2].partition("\n## ")[0]
    diff_id, digest = re.findall(r"`sha256:([0-9a-f]{64})`", text)
    shown = "".join(re.findall(r"^    (.{1,38})", text, re.MULTILINE)).replace("00 00 … 00", "00" * 64)
    layer, pieces = packed(tmp_path)
    assert b"".join(pieces) == bytes.fromhex(shown)
    assert (layer.diff_id.hex, layer.descriptor.digest.hex) == (diff_id, digest)
    assert_is_the_reference(tmp_path)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_nasty_tree(nasty_tree, level):
    _, pieces = packed(nasty_tree.path, level=level, threads=3)
    assert_same(pieces, layer_of(nasty_tree.entries, level=level).pieces)


def test_without_compression_it_is_the_tar_stream(nasty_tree):
    sink = MemorySink()
    options = LayerOptions(threads=2, compression="none")
    pack_tree(TreeSource(nasty_tree.path), TreePolicy(), options, sink, discard)
    assert hashlib.sha256(sink.data).digest() == hashlib.sha256(layer_of(nasty_tree.entries).tar).digest()


MADE_UP = Entry("directory", 0o755, 0, 0, 0)


def placed(path, dest, epoch):
    """Return the rules of a destination that no layer beneath has."""
    parts = dest.strip("/").encode().split(b"/")
    above = {b"/".join(parts[:number]): replace(MADE_UP, mtime_ns=(epoch or 0) * 10**9) for number in range(len(parts))}
    above.pop(b"")
    root = snapshot(os.path.dirname(path))[os.fsencode(os.path.basename(path))]
    above[b"/".join(parts)] = replace(root, links=1)
    return {"prefix": b"/".join(parts), "above": above}


@given(
    TREES,
    st.one_of(st.none(), st.sampled_from([0, 2097151, 2097152, 2**32 - 2])),
    st.one_of(st.none(), st.integers(-(2**31), 2**34)),
    st.one_of(st.none(), st.integers(-(2**31), 2**34)),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["/", "/", "/opt", "/a/b/c"]),
)
@settings(max_examples=80)
def test_any_tree_under_any_policy(spec, owner, epoch, mtime, chmod, xattrs, dest):
    with made(spec) as root:
        at = {} if dest == "/" else placed(root, dest, epoch)
        modes = (lambda kind, mode: mode & 0o755) if chmod else None
        rules = Rules(uid=owner, gid=owner, mtime_limit=epoch, mtime=mtime, modes=modes, xattrs=xattrs, **at)
        if at:
            # The root of the source is found in it, and so is what is asked for.
            root_of_source = at["above"][at["prefix"]]
            at["above"][at["prefix"]] = tarreference._under_policy(root_of_source, rules)
        policy = TreePolicy(
            uid=owner,
            gid=owner,
            mtime_limit=epoch,
            mtime=mtime,
            chmod="go-w,a-st" if chmod else None,
            xattrs=xattrs,
        )
        assert_is_the_reference(root, dest, policy, rules)


SIZES = st.one_of(
    st.integers(0, 3 * BLOCK),
    st.sampled_from(
        [128 * 1024 - 512, 128 * 1024, BLOCK - 1024, BLOCK - 513, BLOCK - 512, BLOCK - 511, BLOCK, BLOCK + 1]
    ),
)
FILES = st.lists(
    st.tuples(st.sampled_from(["text", "noise", "zeros", "mixed", "hole", "half"]), SIZES, st.integers(0, 2**20)),
    min_size=1,
    max_size=5,
)


def content(kind, size, seed):
    if kind in ("zeros", "hole"):
        return bytes(size)
    if kind == "noise":
        return random.Random(seed).randbytes(size)
    if kind == "half":
        return random.Random(seed).randbytes(size // 2) + bytes(size - size // 2)
    if kind == "text":
        return (b"%d bottles of beer\n" % seed * (size // 16 + 1))[:size]
    return mixed_data(size, seed)


@given(FILES, st.sampled_from([1, 2]))
@settings(max_examples=20)
def test_any_files_of_the_size_of_blocks(tmp_path_factory, files, level):
    root = str(tmp_path_factory.mktemp("files"))
    with directory(root) as fd:
        for number, (kind, size, seed) in enumerate(files):
            write(fd, f"{number} {kind}", b"" if kind == "hole" else content(kind, size, seed))
            if kind == "hole":
                os.truncate(os.path.join(root, f"{number} {kind}"), size)
    assert_is_the_reference(root, level=level)


def biased(size, seed, percent):
    """Return random bytes of which so many in ten thousand are one and the same."""
    rng = random.Random(seed)
    data = bytearray(rng.randbytes(size))
    for _ in range(size * percent // 10000):
        data[rng.randrange(size)] = 7
    return bytes(data)


@given(
    st.one_of(
        st.builds(biased, st.integers(1, BLOCK), st.integers(0, 2**20), st.integers(0, 120)),
        st.builds(
            content, st.sampled_from(["text", "noise", "mixed", "half"]), st.integers(1, BLOCK), st.integers(0, 99)
        ),
    ),
    st.sampled_from([1, 2, 3]),
)
@example(biased(BLOCK, 1, 0), 1)
@example(biased(2 * 65536, 2, 0), 1)
@example(biased(2 * 65536 - 1, 3, 0), 1)
@example(bytes(random.Random(4).sample(range(256), 256)) * 2048, 1)
@settings(max_examples=40)
def test_any_block(block, level):
    assert is_even(block) == formatreference.is_even(block)
    assert deflate_block(memoryview(block), level) == formatreference.deflate(block, level)


def test_the_trial_decides_at_a_hundredth():
    """Blocks that shrink a little more and a little less than the trial asks for: both are met on the way."""
    fates = set()
    for repeated in range(200, 1200, 40):
        # The middle 64 KiB: noise, and some of it twice. The sample hardly sees it, the trial does.
        noise = random.Random(repeated).randbytes(BLOCK)
        first, second = BLOCK // 2 + 500, BLOCK // 2 + 2500
        block = noise[:second] + noise[first : first + repeated] + noise[second + repeated :]
        found = deflate_block(memoryview(block), 1)
        assert found == formatreference.deflate(block, 1)
        fates.add(len(found) > BLOCK)
    assert fates == {True, False}


def test_a_tar_archive_is_cut_from_its_start(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number, size in enumerate((10, BLOCK + 100, 700_000)):
            info = tarfile.TarInfo(f"{number}")
            info.size = size
            archive.addfile(info, io.BytesIO(content("mixed" if number else "noise", size, number)))
    path = tmp_path / "a.tar"
    path.write_bytes(out.getvalue() + b"what follows the end")
    sink = PiecesSink()
    layer = pack_tar(TreeSource(str(path)), LayerOptions(threads=2), sink, discard)
    expected = layer_of_tar(path.read_bytes())
    assert_same(sink.pieces, expected.pieces)
    assert layer.diff_id.hex == hashlib.sha256(path.read_bytes()).hexdigest()
