"""The threads of fastoci's own: which there are, and what if there are no more to be had."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")]


def allow_threads(monkeypatch: pytest.MonkeyPatch, most: int) -> list[threading.Thread]:
    """Let no more than so many of ours begin, as a machine at its limit does; returns those that have begun."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def grudging(thread: threading.Thread) -> None:
        if thread.name.startswith("fastoci"):
            if len(started) == most:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", grudging)
    return started
