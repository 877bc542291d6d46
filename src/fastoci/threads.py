"""Starting threads, so that a machine that gives none is an error in words."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from fastoci.errors import FastociError

__all__ = ["start_threads"]


def start_threads(threads: Iterable[threading.Thread]) -> None:
    """Start every thread, or as many as can be started before one cannot.

    Raises:
        FastociError: The machine gives no more threads; those before it run and are the caller's to stop.
    """
    for thread in threads:
        try:
            thread.start()
        except RuntimeError as error:
            raise FastociError(
                "cannot start a thread",
                cause=str(error),
                hint="ask for fewer --threads, or raise the limit on processes (ulimit -u, a container's pids limit)",
            ) from error
