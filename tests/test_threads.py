"""Threads with an owner: whatever interrupts it, they have ended when it is done."""

from __future__ import annotations

import threading
import time

import pytest

from fastoci.errors import FastociError
from fastoci.threads import Crew
from oracles.interruption import interrupted_at
from oracles.threads import allow_threads, our_threads


class Work:
    """Threads that wait until they are stopped."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.begun: list[int] = []

    def do(self) -> None:
        self.begun.append(1)
        self.over.wait()

    def run(self, count: int = 3) -> None:
        with Crew(self.over.set) as crew:
            for number in range(count):
                crew.start(f"fastoci-work-{number}", self.do)


def test_they_run_and_end():
    work = Work()
    work.run()
    assert our_threads() == []
    assert len(work.begun) <= 3


def test_what_ends_by_itself_is_waited_for():
    done = []
    crew = Crew(lambda: None)
    for number in range(5):
        crew.start(f"fastoci-work-{number}", lambda number=number: done.append(number))
    crew.join()
    assert sorted(done) == list(range(5))
    crew.close()


def test_interrupted_at_any_line():
    with interrupted_at() as lines:
        Work().run()
    moments = [(place, time) for place, count in lines.counts.items() for time in range(1, count + 1)]
    assert len(moments) > 30
    for moment in moments:
        with interrupted_at(moment) as lines, pytest.raises(KeyboardInterrupt):
            Work().run()
        assert lines.interrupted
        assert our_threads() == [], moment


@pytest.mark.parametrize("made", [True, False])
def test_a_start_that_is_interrupted(monkeypatch, made):
    """Before the machine has made the thread, or after; nobody knows then whether there is one."""
    start = threading.Thread.start

    def interrupted(thread):
        if thread.name == "fastoci-work-1":
            if made:
                start(thread)
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Work().run()
    assert our_threads() == []


def test_a_thread_that_comes_too_late_does_nothing(monkeypatch):
    """Its start was interrupted, and the machine took longer to begin it than anybody waits."""
    late, start = [], threading.Thread.start

    def interrupted(thread):
        late.append(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    work = Work()
    with pytest.raises(KeyboardInterrupt):
        work.run()
    start(late[0])
    late[0].join(10)
    assert not late[0].is_alive()
    assert work.begun == []


def test_a_machine_that_gives_no_more(monkeypatch):
    allow_threads(monkeypatch, 2)
    with pytest.raises(FastociError, match="cannot start a thread"):
        Work().run()
    assert our_threads() == []


def test_who_cannot_be_woken_is_waited_for_no_longer_than_the_grace():
    over, started = threading.Event(), time.monotonic()
    crew = Crew(lambda: None, grace=0.1)
    thread = crew.start("fastoci-work", lambda: over.wait(30))
    with pytest.raises(ZeroDivisionError), crew:
        1 / 0  # noqa: B018
    assert time.monotonic() - started < 10
    over.set()
    thread.join(10)
    assert our_threads() == []
