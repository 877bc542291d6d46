"""Ctrl-C, SIGTERM and SIGHUP, each as an exception in the main thread, so that every `with` on its way cleans up."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["install"]

# A terminal, a wrapper and an impatient finger may each send the signal: within this time they mean the same one.
_GRACE_SECONDS = 2.0


def install() -> None:
    """Let the first SIGINT raise KeyboardInterrupt and the first SIGTERM or SIGHUP raise SystemExit(128 + number).

    While the first one cleans up a second is not heard, or it would cut the cleaning short; after two seconds it ends
    the process at once. A signal that the parent set to be ignored (nohup, a shell's background job) stays ignored.
    """
    first: list[float] = []

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if not first:
            first.append(now)
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)
        if now - first[0] > _GRACE_SECONDS:
            os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)
