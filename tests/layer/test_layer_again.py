"""Blocks made again, a few ahead of who takes them: in order, bounded, and ended whatever goes wrong."""

from __future__ import annotations

import threading

import pytest

from fastoci.errors import FastociError, TreeChangedError
from fastoci.layer.ahead import BlocksAhead
from fastoci.layer.compression import GzipCompressor, NoCompressor
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import plan_tree
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.nasty import BLOCK, mixed_data


class Blocks:
    """Blocks from memory, that count who reads them and may fail."""

    def __init__(self, count, fail=lambda number: None):
        self.blocks = [mixed_data(1 + number * 37 % 5000, number) for number in range(count)]
        self.count = count
        self.fail = fail
        self.taken = []
        self.open = 0

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


def take_all(ahead, count):
    for _ in range(count):
        ahead.take()


def our_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")]


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert our_threads() == []


@pytest.mark.parametrize("compressor", [GzipCompressor(1), NoCompressor()])
@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("first", [0, 1, 33, 59])
def test_they_come_in_order_from_any_one_on(compressor, threads, first):
    blocks = Blocks(60)
    ahead = BlocksAhead(blocks, compressor, first, threads)
    for number in range(first, 60):
        assert ahead.due == number
        assert ahead.take() == compressor.compress(memoryview(blocks.blocks[number]))[0]
    ahead.close()
    assert sorted(blocks.taken) == list(range(first, 60))
    assert blocks.open == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_than_two_for_each_thread_are_made_ahead(threads):
    blocks = Blocks(60)
    enough = threading.Event()
    blocks.fail = lambda number: enough.set() if number == 2 * threads - 1 else None
    ahead = BlocksAhead(blocks, NoCompressor(), 0, threads)
    assert enough.wait(20)
    for number in range(60):
        ahead.take()
        assert len(blocks.taken) <= number + 1 + 2 * threads
    ahead.close()


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("at", [0, 5, 59])
def test_a_block_that_cannot_be_made(threads, at):
    def fail(number):
        if number == at:
            raise FastociError(f"block {number}")

    blocks = Blocks(60, fail)
    ahead = BlocksAhead(blocks, GzipCompressor(1), 0, threads)
    with pytest.raises(FastociError, match=f"block {at}"):
        take_all(ahead, 60)
    assert ahead.due <= at
    # It stays so for whoever asks again, and the others have ended.
    with pytest.raises(FastociError, match=f"block {at}"):
        take_all(ahead, 60)
    ahead.close()
    assert blocks.open == 0


def test_closing_ends_it_in_the_middle_and_twice():
    blocks = Blocks(60)
    ahead = BlocksAhead(blocks, NoCompressor(), 0, 4)
    ahead.take()
    ahead.close()
    assert our_threads() == []
    assert blocks.open == 0
    assert len(blocks.taken) < 60
    ahead.close()


def test_no_thread_to_be_had(monkeypatch):
    started = 0
    start = threading.Thread.start

    def grudging(thread):
        nonlocal started
        started += 1
        if started > 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", grudging)
    with pytest.raises(FastociError, match="cannot start a thread"):
        BlocksAhead(Blocks(60), NoCompressor(), 0, 5)


def test_of_a_tree_that_changed_since_it_was_packed(tmp_path):
    (tmp_path / "large").write_bytes(mixed_data(6 * BLOCK, 1))
    options = LayerOptions(threads=2)
    with plan_tree(TreeSource(str(tmp_path)), TreePolicy(), options, lambda event: None) as planned:
        assert planned.blocks.complete()
        ahead = BlocksAhead(planned.blocks, planned.compressor, 1, 1)
        ahead.take()
        with open(tmp_path / "large", "ab") as file:
            file.write(b"x")
        with pytest.raises(TreeChangedError) as caught:
            take_all(ahead, planned.blocks.count)
        assert caught.value.path == str(tmp_path / "large")
        ahead.close()
