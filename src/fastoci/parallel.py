"""Several pieces of blocking work at once; the first that fails, or an interruption, ends them all.

Not a `ThreadPoolExecutor`, because its threads are waited for when Python exits: one that waits for an answer from a
registry would hold up Ctrl-C until its timeout.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from fastoci.threads import Crew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["StoppedError", "run_all"]

T = TypeVar("T")

_GRACE = 0.5  # seconds that threads are given to notice a stop; Ctrl-C is to take less than one in all


class StoppedError(Exception):
    """This work gives up because other work failed or the user interrupted; never seen outside `run_all`."""


class _Run(Generic[T]):
    def __init__(self, tasks: Iterable[Callable[[], T]], stop: threading.Event) -> None:
        self.tasks = list(enumerate(tasks))[::-1]
        self.results: dict[int, T] = {}
        self.stop = stop
        self.error: BaseException | None = None
        self.lock = threading.Lock()

    def work(self) -> None:
        while not self.stop.is_set():
            with self.lock:
                if not self.tasks:
                    return
                number, task = self.tasks.pop()
            try:
                result = task()
            except StoppedError:
                # Because of a failure that another task is about to tell, if it has not yet.
                return
            except BaseException as error:
                # run_all raises it in the thread that waits.
                with self.lock:
                    # What fails after the stop, fails because of it.
                    if self.error is None and not self.stop.is_set():
                        self.error = error
                self.stop.set()
                return
            with self.lock:
                self.results[number] = result


def run_all(
    tasks: Iterable[Callable[[], T]],
    *,
    jobs: int,
    stop: threading.Event,
    on_stop: Callable[[], None] = lambda: None,
) -> Sequence[T]:
    """Run tasks in threads and wait for them.

    Args:
        tasks: What to run, started in this order.
        jobs: How many may run at once, at least 1.
        stop: Set when the first task fails or the caller is interrupted; tasks look at it and raise `StoppedError`.
        on_stop: Called after `stop` was set, to wake tasks that wait where they cannot look at it.

    Returns:
        The results, in the order of the tasks.

    Raises:
        FastociError: The machine gives no threads.
        BaseException: The first failure of a task, or what interrupted the caller.
    """
    run = _Run(tasks, stop)
    count = len(run.tasks)

    def end() -> None:
        if len(run.results) < count or stop.is_set():
            stop.set()
            on_stop()

    with Crew(end, _GRACE) as crew:
        threads = [crew.start(f"fastoci-worker-{number}", run.work) for number in range(min(max(1, jobs), count))]
        for thread in threads:
            while thread.is_alive() and not stop.is_set():
                thread.join(0.1)
        if run.error is not None:
            raise run.error
        if stop.is_set() or len(run.results) < count:
            raise StoppedError
    return [run.results[number] for number in range(count)]
