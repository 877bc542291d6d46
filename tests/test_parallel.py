from __future__ import annotations

import threading
import time

import pytest

from fastoci.errors import FastociError
from fastoci.parallel import StoppedError, run_all
from oracles.threads import allow_threads


def test_results_keep_their_order():
    done = run_all([lambda number=number: number * 2 for number in range(50)], jobs=7, stop=threading.Event())
    assert list(done) == list(range(0, 100, 2))


def test_no_tasks():
    assert list(run_all([], jobs=3, stop=threading.Event())) == []


def test_the_first_error_wins_and_the_rest_is_not_begun():
    begun, stop, woken = [], threading.Event(), []

    def fail():
        raise ValueError("first")

    def late():
        begun.append(1)

    with pytest.raises(ValueError, match="first"):
        run_all([fail, late, late], jobs=1, stop=stop, on_stop=lambda: woken.append(1))
    assert (begun, woken, stop.is_set()) == ([], [1], True)


def test_a_task_that_gives_up_before_the_error_is_told_does_not_hide_it():
    """The failure of a task is known to others before it has left that task."""
    gave_up = threading.Event()

    def fail():
        assert gave_up.wait(10)
        raise ValueError("first")

    def give_up():
        gave_up.set()
        raise StoppedError

    with pytest.raises(ValueError, match="first"):
        run_all([give_up, fail], jobs=2, stop=threading.Event())


def test_nobody_says_why_a_task_gave_up():
    def give_up():
        raise StoppedError

    with pytest.raises(StoppedError):
        run_all([give_up, lambda: 1], jobs=2, stop=threading.Event())


def test_an_error_that_follows_from_the_stop_does_not_hide_the_first():
    stop = threading.Event()

    def first():
        raise ValueError("first")

    def second():
        assert stop.wait(10)
        raise StoppedError

    with pytest.raises(ValueError, match="first"):
        run_all([second, first], jobs=2, stop=stop)


def test_a_task_that_hears_nothing_is_left_behind():
    over = threading.Event()

    def fail():
        raise ValueError("first")

    started = time.monotonic()
    with pytest.raises(ValueError, match="first"):
        run_all([lambda: over.wait(30), fail], jobs=2, stop=threading.Event())
    assert time.monotonic() - started < 5
    over.set()
    for thread in threading.enumerate():
        if thread.name.startswith("fastoci-worker"):
            thread.join(5)


def test_a_machine_that_gives_no_more_threads_is_an_error_in_words(monkeypatch):
    started = allow_threads(monkeypatch, 2)
    stop = threading.Event()
    with pytest.raises(FastociError, match="cannot start a thread"):
        run_all([lambda: stop.wait(10)] * 4, jobs=4, stop=stop)
    assert stop.is_set()
    assert not any(thread.is_alive() for thread in started)
