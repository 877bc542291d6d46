"""A workforce: one fixed number of workers for several pipelines at once, so that these need what one alone would need.

Every pipeline begins with its share. What it had is free when it ends, for the next to begin; and when none is left to
begin, for those that still have most to do.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol

from fastoci.errors import FastociError

__all__ = ["Workforce"]


class Pipeline(Protocol):
    """A pipeline, to its workforce."""

    @property
    def left(self) -> int:
        """How many blocks nobody works at yet."""

    def reinforce(self, workers: int) -> None:
        """Let more workers begin, as long as there is anything left.

        Raises:
            FastociError: The machine gives no more threads.
        """

    def fail(self, error: BaseException) -> None:
        """Fail with `error`, within a block's time."""


class Workforce:
    """The workers of several pipelines.

    Args:
        threads: How many workers there are, at least 1.
        pipelines: How many pipelines are going to run.
        most: How many of them may run at once; None: as many as pay.

    Attributes:
        at_once: How many of them may run at once. One more than there are pairs of workers: a pipeline's two SHA-256
            keep up with two workers at least, and while one begins or ends another goes on.
    """

    def __init__(self, threads: int, pipelines: int, most: int | None = None) -> None:
        self.at_once = max(1, min(pipelines, threads // 2 + 1, threads, most or pipelines))
        self._free = threads
        self._to_begin = pipelines
        self._at_work: dict[Pipeline, int] = {}
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def share(self, pipeline: Pipeline) -> Iterator[int]:
        """Give a pipeline its share of the workers, for as long as the context lasts.

        Raises:
            BaseException: What `stop` was given.
        """
        with self._changed:
            if self._error is not None:
                raise self._error
            begin = max(1, min(self.at_once - len(self._at_work), self._to_begin))
            workers = max(1, -(-self._free // begin))
            self._free -= workers
            self._to_begin -= 1
            self._at_work[pipeline] = workers
        try:
            yield workers
        finally:
            self._end(pipeline)

    def stop(self, error: BaseException) -> None:
        """Have every pipeline fail with `error`, those that have not begun, too."""
        with self._changed:
            self._error = self._error or error
            at_work = list(self._at_work)
        for pipeline in at_work:
            pipeline.fail(error)

    def wait(self, seconds: float) -> None:
        """Wait until no pipeline is at work, for so long at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work, seconds)

    def _end(self, pipeline: Pipeline) -> None:
        with self._changed:
            self._free += self._at_work.pop(pipeline)
            self._changed.notify_all()
            helped = self._distribute() if not self._to_begin and self._error is None else {}
        for other, workers in helped.items():
            # They help; without them it takes longer.
            with contextlib.suppress(FastociError):
                other.reinforce(workers)

    def _distribute(self) -> dict[Pipeline, int]:
        """Give every free worker to the pipeline that has most left for each of its own."""
        helped: dict[Pipeline, int] = {}
        while self._free > 0:
            neediest = max(self._at_work, key=lambda one: one.left / self._at_work[one], default=None)
            if neediest is None or neediest.left < self._at_work[neediest]:
                break
            self._free -= 1
            self._at_work[neediest] += 1
            helped[neediest] = helped.get(neediest, 0) + 1
        return helped
