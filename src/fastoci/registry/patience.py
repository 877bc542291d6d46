"""How long to wait, and when to give up.

Failures are waited for with an exponential backoff and full jitter, so that many clients of one registry do not come
back together. What ends it is failures in a row *without progress*: a bad line may fail a thousand times if each time
it carried something.
"""

from __future__ import annotations

import email.utils
import math
import threading
import time
from datetime import UTC
from typing import TYPE_CHECKING

from fastoci.registry.faults import Fault, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OutOfPatienceError", "Pacer", "Patience", "is_passing", "retry_after"]

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
LONGEST_RETRY_AFTER = 300.0

_PASSING = frozenset({408, 425, 429})
_FINAL = frozenset({501, 505})


def is_passing(status: int) -> bool:
    """Return whether a status says that the same request may succeed later."""
    return status in _PASSING or (status >= 500 and status not in _FINAL)


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, at most five minutes.

    Args:
        value: The header: seconds or a date (RFC 9110, 10.2.3); None where there is none.
        now: The wall clock, seconds since 1970.

    Returns:
        None where the header is missing or says nothing that can be obeyed.
    """
    if value is None:
        return None
    try:
        seconds = float(value) if value.replace(".", "", 1).isdecimal() else _until(value, now)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(seconds) or seconds <= 0:
        return None
    return min(seconds, LONGEST_RETRY_AFTER)


def _until(value: str, now: float) -> float:
    date = email.utils.parsedate_to_datetime(value)
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return date.timestamp() - now


class OutOfPatienceError(Exception):
    """Too many failures without progress. Never leaves the registry room.

    Args:
        reason: The last failure.
        failures: How many there were.
    """

    def __init__(self, reason: str, failures: int) -> None:
        super().__init__(reason, failures)
        self.reason = reason
        self.failures = failures

    def __str__(self) -> str:
        return self.reason if self.failures < 2 else f"{self.reason}; {self.failures} failures without progress"


class Pacer:
    """The clock of a client: all its waits go through here, and what one upload is told to wait for, all wait for.

    Args:
        cancelled: Set when every wait is to end.
        clock: A monotonic clock in seconds.
        sleep: Waits for some seconds; None waits for `cancelled` at the same time.
        rng: Returns a number from 0 up to 1, for the jitter.
        wall: The wall clock, for `Retry-After` dates.
    """

    def __init__(
        self,
        cancelled: threading.Event,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None] | None,
        rng: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._cancelled = cancelled
        self._sleep = sleep
        self._rng = rng
        self._lock = threading.Lock()
        self._resume_at = 0.0
        self.clock = clock
        self.wall = wall

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            TransportError: The client was cancelled.
        """
        if seconds > 0:
            if self._sleep is None:
                self._cancelled.wait(seconds)
            else:
                self._sleep(seconds)
        if self._cancelled.is_set():
            raise TransportError(Fault.CANCELLED)

    def postpone(self, seconds: float) -> None:
        """Let no request of this client start for some seconds."""
        with self._lock:
            self._resume_at = max(self._resume_at, self.clock() + seconds)

    def hold(self) -> None:
        """Wait until requests may start.

        Raises:
            TransportError: The client was cancelled.
        """
        with self._lock:
            left = self._resume_at - self.clock()
        self.wait(left)

    def backoff(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row, at least one."""
        return self._rng() * min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 16))


class Patience:
    """Counts the failures of one piece of work.

    Args:
        pacer: The client's.
        limit: How many in a row, without progress, end it; 0 counts as 1.
    """

    def __init__(self, pacer: Pacer, limit: int) -> None:
        self._pacer = pacer
        self._limit = max(1, limit)
        self.failures = 0

    def progress(self) -> None:
        """Forget the failures so far: something got through."""
        self.failures = 0

    def failed(self, reason: str, asked: float | None = None, *, weight: int = 1) -> float:
        """Count a failure and say how long to wait; the wait itself is the caller's, by `Pacer.hold` or `wait`.

        Args:
            reason: What happened.
            asked: The seconds that the server asked for, from now on for every request of this client; None where it
                did not ask.
            weight: How many failures this one counts for.

        Returns:
            Seconds.

        Raises:
            OutOfPatienceError: That was the last one.
        """
        self.failures += weight
        if self.failures >= self._limit:
            raise OutOfPatienceError(reason, self.failures)
        if asked is None:
            return self._pacer.backoff(self.failures)
        self._pacer.postpone(asked)
        return asked
