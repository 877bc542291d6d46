"""The block pipeline: order, bounds, and that whatever goes wrong ends it once, with all threads joined."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import zlib

import pytest

from fastoci.errors import FastociError, TreeChangedError
from fastoci.events import LayerPacked, LayerProgress, LayerScanned
from fastoci.layer.blocks import block_buffer
from fastoci.layer.compression import GzipCompressor, NoCompressor
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.layer.pipeline import run_pipeline
from fastoci.layer.treeblocks import TreeBlocks
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import start_scan
from fastoci.tree.source import TreeSource
from oracles.nasty import BLOCK, mixed_data
from oracles.packing import MemorySink, pack_changed
from oracles.threads import allow_threads, our_threads


class Blocks:
    """Blocks from memory, that count who reads them and may fail."""

    def __init__(self, blocks, fail=lambda number: None):
        self.blocks = blocks
        self.fail = fail
        self.count = len(blocks)
        self.tar_size = sum(map(len, blocks))
        self.taken = []
        self.open = 0
        self.stops = 0

    def has(self, number):
        return number < self.count

    def stop(self):
        self.stops += 1

    def reader(self):
        self.open += 1
        return self

    def read(self, number, buffer):
        self.taken.append(number)
        self.fail(number)
        buffer[: len(self.blocks[number])] = self.blocks[number]
        return len(self.blocks[number])

    def close(self):
        self.open -= 1


def small_blocks(count):
    return [mixed_data(1 + number * 37 % 5000, number) for number in range(count)]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert our_threads() == []


@pytest.mark.parametrize("compressor", [GzipCompressor(1), NoCompressor()])
@pytest.mark.parametrize(("threads", "count"), [(1, 1), (1, 50), (2, 400), (8, 400), (16, 3), (40, 400)])
def test_everything_comes_out_in_order(compressor, threads, count):
    blocks = Blocks(small_blocks(count))
    whole = b"".join(blocks.blocks)
    written = bytearray()
    seen = []
    result = run_pipeline(blocks, compressor, threads, written.extend, lambda done, size: seen.append((done, size)))
    assert (result.tar_size, result.size) == (len(whole), len(written))
    assert result.diff_id == hashlib.sha256(whole).hexdigest()
    assert result.digest == hashlib.sha256(written).hexdigest()
    assert (bytes(written) if compressor.identity else zlib.decompress(written, 31)) == whole
    assert sorted(blocks.taken) == list(range(count))
    assert blocks.open == 0
    assert [done for done, _ in seen] == [sum(map(len, blocks.blocks[: number + 1])) for number in range(count)]
    assert [size for _, size in seen] == sorted(size for _, size in seen)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_slow_disk_bounds_what_is_read_ahead(threads):
    blocks = Blocks(small_blocks(300))
    ahead = []
    written = 0

    def write(data):
        # Time for the workers to run on as far as they can.
        for _ in range(20):
            os.sched_yield()
        ahead.append(len(blocks.taken) - written)

    def progress(done, size):
        nonlocal written
        written += 1

    run_pipeline(blocks, GzipCompressor(1), threads, write, progress)
    assert max(ahead) <= 2 * threads + 2 + 1


class MadeUpError(Exception):
    """What goes wrong in these tests."""


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("at", [0, 1, 57, 199])
def test_a_block_that_cannot_be_made(threads, at):
    def fail(number):
        if number == at:
            raise MadeUpError(number)

    written = []
    blocks = Blocks(small_blocks(200), fail)
    with pytest.raises(MadeUpError) as caught:
        run_pipeline(blocks, GzipCompressor(1), threads, lambda data: None, lambda *done: written.append(done))
    assert caught.value.args == (at,)
    assert len(written) <= at
    assert our_threads() == []


@pytest.mark.parametrize("threads", [1, 3])
def test_when_every_block_fails_one_error_is_raised(threads):
    def fail(number):
        raise MadeUpError(number)

    blocks = Blocks(small_blocks(200), fail)
    with pytest.raises(MadeUpError):
        run_pipeline(blocks, GzipCompressor(1), threads, lambda data: None, lambda *_: None)
    assert len(blocks.taken) <= threads
    assert blocks.open == 0


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MadeUpError()]
)
@pytest.mark.parametrize("at", [0, 1, 60, 201])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_writer_that_fails(error, at, threads):
    count = 0

    def write(data):
        nonlocal count
        if count == at:
            raise error
        count += 1

    blocks = Blocks(small_blocks(200))
    with pytest.raises(type(error)) as caught:
        run_pipeline(blocks, GzipCompressor(1), threads, write, lambda *_: None)
    assert caught.value is error
    assert count == at
    assert blocks.open == 0
    assert our_threads() == []
    if at == 60:
        assert len(blocks.taken) < 200


@pytest.mark.parametrize("at", [1, 60, 200])
def test_an_interruption_in_the_progress(at):
    count = 0

    def progress(done, size):
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pipeline(Blocks(small_blocks(200)), GzipCompressor(1), 3, lambda data: None, progress)
    assert count == at
    assert our_threads() == []


def test_a_compressor_that_fails():
    class Broken(GzipCompressor):
        def compress(self, block):
            raise MadeUpError

    with pytest.raises(MadeUpError):
        run_pipeline(Blocks(small_blocks(50)), Broken(1), 3, lambda data: None, lambda *_: None)


def test_no_thread_to_be_had(monkeypatch):
    allow_threads(monkeypatch, 2)
    with pytest.raises(FastociError, match="cannot start a thread") as caught:
        run_pipeline(Blocks(small_blocks(50)), GzipCompressor(1), 8, lambda data: None, lambda *_: None)
    assert caught.value.hint
    assert our_threads() == []


class TestPacking:
    """The same around a real tree: nothing is committed, and the error is the one that happened."""

    @pytest.fixture
    def tree(self, tmp_path):
        root = tmp_path / "tree"
        root.mkdir()
        for number in range(10):
            (root / f"{number}").write_bytes(random.Random(number).randbytes(BLOCK))
        return root

    def pack(self, tree, sink, events=lambda event: None, threads=2):
        return pack_tree(TreeSource(str(tree)), TreePolicy(), LayerOptions(threads=threads), sink, events)

    def test_a_full_disk(self, tree):
        class Disk(MemorySink):
            def write(self, data):
                if len(self.data) > 3 * BLOCK:
                    raise OSError(errno.ENOSPC, "No space left on device")
                super().write(data)

        sink = Disk()
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="No space") as caught:
            self.pack(tree, sink)
        assert caught.value.errno == errno.ENOSPC
        assert sink.committed is None
        assert set(os.listdir("/proc/self/fd")) == before

    def test_a_commit_that_fails(self, tree):
        class Disk(MemorySink):
            def commit(self, digest):
                raise OSError(errno.EIO, "Input/output error")

        events = []
        with pytest.raises(OSError, match="Input/output"):
            self.pack(tree, Disk(), events.append)
        assert not any(isinstance(event, LayerPacked) for event in events)

    @pytest.mark.parametrize("kind", [LayerScanned, LayerProgress])
    def test_an_interruption(self, tree, kind):
        def events(event):
            if isinstance(event, kind):
                raise KeyboardInterrupt

        sink = MemorySink()
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(KeyboardInterrupt):
            self.pack(tree, sink, events)
        assert sink.committed is None
        assert our_threads() == []
        assert set(os.listdir("/proc/self/fd")) == before

    def test_a_file_that_changes_meanwhile(self, tree):
        def change():
            with open(tree / "7", "ab") as file:
                file.write(b"x")

        sink = MemorySink()
        with pytest.raises(TreeChangedError) as caught:
            pack_changed(tree, change, sink=sink)
        assert caught.value.path == str(tree / "7")
        assert sink.committed is None

    def test_what_is_said_on_the_way(self, tree):
        events = []
        packed = self.pack(tree, MemorySink(), events.append)
        scanned, *progress, done = events
        assert isinstance(scanned, LayerScanned)
        assert (scanned.layer, scanned.entries, scanned.size) == ("tree", 10, packed.tar_size)
        assert all(isinstance(event, LayerProgress) for event in progress)
        assert progress[-1] == LayerProgress("tree", packed.tar_size, packed.tar_size, progress[-1].written)
        assert [event.done for event in progress] == sorted(event.done for event in progress)
        assert isinstance(done, LayerPacked)
        assert (done.diff_id, done.digest) == (str(packed.diff_id), str(packed.descriptor.digest))
        assert (done.tar_size, done.size) == (packed.tar_size, packed.descriptor.size)

    def test_blocks_close_what_they_opened(self, tree):
        source = TreeSource(str(tree))
        with start_scan(source, TreePolicy(), 2) as scan, TreeBlocks(scan, TreePolicy(), source) as blocks:
            assert blocks.complete()
            reader = blocks.reader()
            before = set(os.listdir("/proc/self/fd"))
            buffer = block_buffer()
            for number in range(blocks.count):
                reader.read(number, buffer)
            reader.close()
            assert set(os.listdir("/proc/self/fd")) == before
