"""BlocksAhead: blocks made again, in order, by threads that stay close to whoever takes them."""

from __future__ import annotations

import random
import threading

import pytest

from fastoci.errors import FastociError
from fastoci.layer.ahead import BlocksAhead
from fastoci.layer.compression import GzipCompressor, NoCompressor
from oracles.streams import MemoryBlocks
from oracles.threads import allow_threads

BLOCKS = [random.Random(number).randbytes(2000) for number in range(30)]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")] == []


@pytest.mark.parametrize("compressor", [GzipCompressor(1), NoCompressor()])
@pytest.mark.parametrize(("first", "threads"), [(0, 1), (7, 3), (29, 4)])
def test_in_order_from_any_block_on(compressor, first, threads):
    source = MemoryBlocks(BLOCKS)
    ahead = BlocksAhead(source, compressor, range(first, 30), threads)
    for number in range(first, 30):
        assert ahead.due == number
        assert ahead.take() == bytes(compressor.compress(memoryview(BLOCKS[number]))[0])
    assert ahead.due is None
    with pytest.raises(ValueError, match="last block"):
        ahead.take()
    ahead.close()
    assert sorted(source.read_numbers) == list(range(first, 30))
    assert source.open == 0


def test_no_further_ahead_than_two_blocks_a_thread():
    source = MemoryBlocks(BLOCKS)
    ahead = BlocksAhead(source, NoCompressor(), range(30), 3)
    for taken in range(1, 20):
        ahead.take()
        assert max(source.read_numbers) < taken + 2 * 3
    ahead.close()


def test_only_what_is_asked_for():
    source = MemoryBlocks(BLOCKS)
    numbers = [2, 3, 11, 20, 29]
    ahead = BlocksAhead(source, NoCompressor(), numbers, 2)
    assert [ahead.take() for _ in numbers] == [BLOCKS[number] for number in numbers]
    ahead.close()
    assert sorted(source.read_numbers) == numbers


def test_what_fails_is_raised_where_it_is_taken():
    source = MemoryBlocks(BLOCKS)
    source.blocks[4:] = []
    source.count = 30
    ahead = BlocksAhead(source, NoCompressor(), range(30), 2)
    taken = []
    with pytest.raises(IndexError):
        taken.extend(ahead.take() for _ in range(30))
    ahead.close()
    assert source.open == 0


def test_closing_ends_threads_that_wait():
    source = MemoryBlocks(BLOCKS)
    ahead = BlocksAhead(source, NoCompressor(), range(30), 4)
    ahead.take()
    ahead.close()
    ahead.close()
    assert source.open == 0


def test_a_machine_without_threads(monkeypatch):
    source = MemoryBlocks(BLOCKS)
    started = allow_threads(monkeypatch, 2)
    with pytest.raises(FastociError, match="cannot start a thread"):
        BlocksAhead(source, NoCompressor(), range(30), 4)
    assert len(started) == 2
    assert source.open == 0
