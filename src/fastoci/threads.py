"""Threads with an owner: started by it, and ended before it lets go, whatever interrupts it."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from fastoci.ending import Ending
from fastoci.errors import FastociError

__all__ = ["Crew", "empty"]

_TO_BEGIN = 0.25  # seconds that a thread may take to begin of which nobody knows whether there is one


class Crew(Ending):
    """Threads of one owner. A context manager: when it is left they have ended, after an interruption, too.

    Used by one thread, its owner's.

    Args:
        stop: Called at the end, before the threads are waited for, whether or not anything has failed: makes those
            that still run end soon. It is called again where it was interrupted.
        grace: Seconds that the threads are waited for when something has failed; None waits until they have ended.
    """

    def __init__(self, stop: Callable[[], object], grace: float | None = None) -> None:
        self._stop = stop
        self._grace = grace
        self._asked_for: list[threading.Thread] = []
        self._over = False
        self._starting: threading.Thread | None = None

    def start(self, name: str, work: Callable[[], object]) -> threading.Thread:
        """Start a thread, a daemon.

        Args:
            name: Of the thread.
            work: What it does; it carries its errors to the owner itself.

        Raises:
            FastociError: The machine gives no more threads.
        """
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._starting = thread
        self._asked_for.append(thread)
        try:
            thread.start()
        except RuntimeError as error:
            self._asked_for.remove(thread)
            raise FastociError(
                "cannot start a thread",
                cause=str(error),
                hint="ask for fewer --threads, or raise the limit on processes (ulimit -u, a container's pids limit)",
            ) from error
        self._starting = None
        return thread

    def join(self) -> None:
        """Wait until the threads have ended by themselves."""
        for thread in self._asked_for:
            thread.join()

    def end(self) -> None:
        """Stop the threads, and wait for them."""
        self._end(self._grace if self.failed else None)

    def cancel(self) -> None:
        """Stop the threads, and wait for them no longer than the grace."""
        self._end(self._grace)

    def _end(self, grace: float | None) -> None:
        self._over = True
        self._stop()
        deadline = None if grace is None else time.monotonic() + grace
        for thread in self._asked_for:
            if thread is not self._starting or _begins(thread):
                thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _run(self, work: Callable[[], object]) -> None:
        if not self._over:
            work()


def empty(things: queue.Queue[Any]) -> None:
    """Take all out of a queue, so that who waits for room in it goes on."""
    with contextlib.suppress(queue.Empty):
        while True:
            things.get_nowait()


def _begins(thread: threading.Thread) -> bool:
    """Wait for a thread to begin whose start was interrupted; return whether it has.

    It may not have been made. If it is later than this, it finds that all is over, and does nothing.
    """
    deadline = time.monotonic() + _TO_BEGIN
    while True:
        try:
            # All that Thread has to say in public about whether it was made and has got so far.
            thread.join(0)
        except RuntimeError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        else:
            return True
