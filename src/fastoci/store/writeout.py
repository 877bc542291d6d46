"""Write-out beside the writing, so that little is left to wait for when a file must be durable.

What a disk took need not be durable yet: one with a cache of its own, as every virtual one has, empties it when it is
told to (fsync(2)). Told at the end alone, it has most of a large file to do then. So a thread syncs what has been
written, over and over, and whoever writes waits for no disk.
"""

from __future__ import annotations

import contextlib
import os
from queue import SimpleQueue

from fastoci.ending import Ending
from fastoci.errors import FastociError
from fastoci.threads import Crew

__all__ = ["WriteOut"]

STEP = 8 << 20
"""Bytes from one sync to the next, at least: what is smaller is synced at the end alone, without a thread."""


class WriteOut(Ending):
    """Syncs a file again and again while it is written.

    The kernel says once that something was lost, and to whoever syncs then: that is kept here, and raised.

    Args:
        fd: The file's descriptor; it stays open until this has ended.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = 0  # bytes that are written
        self._told = 0  # how many it were when the thread was told last
        self._over = False
        self._error: BaseException | None = None
        # How many bytes are there to be synced; None: no more will be.
        self._due: SimpleQueue[int | None] = SimpleQueue()
        self._crew = Crew(self._stop)
        self._begun = False

    def wrote(self, size: int) -> None:
        """Hear that so many bytes more are written.

        Raises:
            OSError: The disk has lost some of those before.
        """
        self._size += size
        if self._size - self._told < STEP:
            return
        self._told = self._size
        if not self._begun:
            self._begun = True
            # It helps; without it, all is synced at the end.
            with contextlib.suppress(FastociError):
                self._crew.start("fastoci-write-out", self._work)
        self._due.put(self._size)
        self._check()

    def finish(self) -> None:
        """Wait for what is under way. What is not synced then is the caller's to sync.

        Raises:
            OSError: The disk has lost something.
        """
        self.close()
        self._check()

    def end(self) -> None:
        """End the thread."""
        self._crew.close()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        self._over = True
        self._due.put(None)

    def _work(self) -> None:
        synced = 0
        try:
            while (due := self._due.get()) is not None and not self._over:
                if due > synced:
                    synced = self._size
                    os.fdatasync(self._fd)
        except BaseException as error:  # carried to whoever writes, and raised there
            self._error = error
