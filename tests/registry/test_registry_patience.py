"""Waiting: how long, for whom, and when no more."""

from __future__ import annotations

import threading

import pytest

from fastoci.registry.faults import TransportError
from fastoci.registry.patience import OutOfPatienceError, Pacer, Patience, is_passing, retry_after
from fastoci.registry.ranges import Held, held_by

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", None),
        ("5", 5.0),
        ("1.5", 1.5),
        ("1000000000", 300.0),
        ("9" * 400, None),
        ("-3", None),
        ("nan", None),
        ("soon", None),
        ("Tue, 14 Nov 2023 22:13:27 GMT", 7.0),
        ("Tue, 14 Nov 2023 22:13:27 -0000", 7.0),
        ("Tuesday, 14-Nov-23 22:13:27 GMT", 7.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", None),
        ("Fri, 14 Nov 9999 22:13:00 GMT", 300.0),
        ("Fri, 32 Nov 2023 22:13:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


def test_what_passes() -> None:
    assert [
        status
        for status in (200, 400, 401, 404, 408, 409, 425, 429, 500, 501, 502, 503, 504, 505, 507, 522)
        if is_passing(status)
    ] == [408, 425, 429, 500, 502, 503, 504, 507, 522]


def pacer(slept: list[float]) -> Pacer:
    return Pacer(threading.Event(), clock=lambda: 100.0 + sum(slept), sleep=slept.append, rng=lambda: 1.0)


def test_the_backoff_doubles_up_to_half_a_minute() -> None:
    one = pacer([])
    assert [one.backoff(count) for count in (1, 2, 3, 6, 7, 8, 1000)] == [0.5, 1.0, 2.0, 16.0, 30.0, 30.0, 30.0]


def test_it_ends_with_the_last_failure() -> None:
    patience = Patience(pacer([]), 3)
    patience.failed("a")
    patience.failed("b")
    with pytest.raises(OutOfPatienceError, match="c; 3 failures without progress"):
        patience.failed("c")


@pytest.mark.parametrize("limit", [0, 1])
def test_no_retries(limit: int) -> None:
    with pytest.raises(OutOfPatienceError) as caught:
        Patience(pacer([]), limit).failed("a")
    assert str(caught.value) == "a"


def test_progress_begins_anew() -> None:
    patience = Patience(pacer([]), 2)
    for _ in range(9):
        patience.failed("a")
        patience.progress()


def test_what_one_is_told_to_wait_for_all_wait_for() -> None:
    slept: list[float] = []
    shared = pacer(slept)
    Patience(shared, 8).failed("429", 40.0)
    shared.hold()
    assert slept == [40.0]
    shared.hold()
    assert slept == [40.0]


def test_a_cancelled_wait_ends() -> None:
    cancelled = threading.Event()
    waiting = Pacer(cancelled, clock=lambda: 0.0, sleep=None, rng=lambda: 1.0)
    threading.Timer(0.05, cancelled.set).start()
    with pytest.raises(TransportError):
        waiting.wait(60)


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (None, None),
        ("", None),
        ("0-99", Held(100)),
        (" 0-99 ", Held(100)),
        ("bytes=0-99", Held(100)),
        ("0-0", Held(1, ambiguous=True)),
        ("0--1", Held(0)),
        ("0--5", Held(0)),
        ("1-99", None),
        ("bytes 0-99/100", None),
        ("0-99,100-199", None),
        ("0-" + "9" * 30, None),
        ("0-٣", None),
    ],
)
def test_how_much_is_held(value: str | None, held: Held | None) -> None:
    assert held_by(value) == held
