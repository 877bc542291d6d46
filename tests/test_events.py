"""Progress as values."""

from __future__ import annotations

from itertools import pairwise

from fastoci.events import LayerProgress, Throttle, discard


def test_events_come_at_most_ten_times_a_second() -> None:
    now = 100.0
    throttle = Throttle(clock=lambda: now)
    passed = []
    for step in range(1001):
        now = 100.0 + step / 1000
        if throttle.due():
            passed.append(step)
    assert len(passed) in (10, 11)
    assert passed[0] == 0
    assert all(later - earlier >= 100 for earlier, later in pairwise(passed))


def test_without_an_interval_every_event_passes() -> None:
    throttle = Throttle(0, clock=lambda: 5.0)
    assert all(throttle.due() for _ in range(5))


def test_the_silent_sink_takes_any_event() -> None:
    discard(LayerProgress("rootfs", 1, 2, 1))
