"""A workforce: no more workers at once than there are, and none idle while there is anything to do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastoci.layer.compression import NoCompressor
from fastoci.layer.pipeline import run_pipeline
from fastoci.layer.workforce import Workforce
from oracles.streams import MemoryBlocks
from oracles.threads import our_threads


class Pipeline:
    """One that only counts who is sent to it."""

    def __init__(self, left):
        self.left = left
        self.sent = []
        self.error = None

    def reinforce(self, workers):
        self.sent.append(workers)

    def fail(self, error):
        self.error = error


@pytest.mark.parametrize(
    ("threads", "pipelines", "most", "at_once"),
    [
        (1, 20, None, 1),
        (2, 20, None, 2),
        (4, 20, None, 3),
        (8, 20, None, 5),
        (8, 3, None, 3),
        (8, 20, 1, 1),
        (64, 9, 4, 4),
    ],
)
def test_shares_add_up_to_all_workers(threads, pipelines, most, at_once):
    workforce = Workforce(threads, pipelines, most)
    assert workforce.at_once == at_once
    contexts = [workforce.share(Pipeline(100)) for _ in range(at_once)]
    shares = [context.__enter__() for context in contexts]
    assert sum(shares) == threads
    assert max(shares) - min(shares) <= 1
    for context in contexts:
        context.__exit__(None, None, None)


def test_who_begins_later_gets_what_has_become_free():
    workforce = Workforce(8, 6)
    contexts = [workforce.share(Pipeline(100)) for _ in range(5)]
    shares = [context.__enter__() for context in contexts]
    contexts[0].__exit__(None, None, None)
    with workforce.share(Pipeline(100)) as late:
        assert late == shares[0]


def test_who_has_most_left_is_helped_in_the_end():
    workforce = Workforce(8, 3)
    large, small, ends = Pipeline(1000), Pipeline(2), Pipeline(5)
    with workforce.share(large) as begun, workforce.share(small) as few:
        with workforce.share(ends) as free:
            pass
        assert (large.sent, small.sent) == ([free], [])
        assert begun + few + free == 8


def test_nobody_is_helped_who_has_nothing_left():
    workforce = Workforce(4, 2)
    done = Pipeline(0)
    with workforce.share(done):
        with workforce.share(Pipeline(1)):
            pass
        assert done.sent == []


def test_a_stop_is_for_those_at_work_and_those_to_come():
    workforce, error = Workforce(4, 3), ValueError("over")
    one = Pipeline(10)
    with workforce.share(one):
        workforce.stop(error)
        assert one.error is error
        with pytest.raises(ValueError, match="over"), workforce.share(Pipeline(1)):
            pass
    workforce.wait(10)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_real_pipelines_share_a_crew(threads):
    """What comes out is what one alone makes; and never are more blocks read at once than there are workers."""
    reading, most, lock = 0, 0, threading.Lock()

    class Watched(MemoryBlocks):
        def reader(self):
            inner = super().reader()

            class Reader:
                def read(self, number, buffer):
                    nonlocal reading, most
                    with lock:
                        reading += 1
                        most = max(most, reading)
                    try:
                        return inner.read(number, buffer)
                    finally:
                        with lock:
                            reading -= 1

                def close(self):
                    inner.close()

            return Reader()

    sources = [Watched([bytes([at % 251]) * 3000 for at in range(count)]) for count in (200, 3, 50, 1, 90)]
    workforce = Workforce(threads, len(sources))

    def work(source):
        written = bytearray()
        run_pipeline(source, NoCompressor(), 99, written.extend, lambda *_: None, workforce)
        return bytes(written)

    with ThreadPoolExecutor(workforce.at_once) as pool:
        assert list(pool.map(work, sources)) == [b"".join(source.blocks) for source in sources]
    assert most <= threads
    assert our_threads() == []
