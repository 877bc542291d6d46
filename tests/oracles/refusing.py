"""How every call of the engine into the C library is refused once: in a process that has faultshim.c preloaded.

Modules of `oracles` do some work over and over, each time with another call refused, and print as JSON what came of
it: `python -m oracles.MODULE PLACE SHIM CASES`. CASES is a JSON list of objects: `call`, its name; `error`, the errno,
0 for the end of a file; `lasting`, whether all calls after it are refused as well; `always`, the errno of other calls
by their names, which are refused every time.

What must hold whatever is refused is asserted there. Everywhere: no thread is left, and no descriptor.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from oracles.longform import times

ALL = 2**62
MOST = times(7, 10_000)  # calls of one name that are refused, spread evenly

Attempt = Callable[[bool], tuple[str, str]]
"""Does the work, and returns (outcome, the error's words); told whether what comes out is to be the whole of it."""


class Shim:
    """The preloaded library."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.faultshim_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_int]
        self._library.faultshim_calls.restype = self._library.faultshim_refusals.restype = ctypes.c_long

    def arm(self, name: str, first: int, last: int, error: int) -> None:
        """Refuse the calls from the first to the last, counted from 1; 0 refuses none."""
        assert self._library.faultshim_arm(name.encode(), first, last, error) == 0, name

    def calls(self, name: str) -> int:
        """Return how many calls there were since it was armed."""
        return int(self._library.faultshim_calls(name.encode()))

    def refusals(self, name: str) -> int:
        """Return how many of them were refused."""
        return int(self._library.faultshim_refusals(name.encode()))


@contextmanager
def nothing_left() -> Iterator[None]:
    """See that what is done in the context leaves no thread behind, and no descriptor."""
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
    # Of a joined thread the kernel may have a little left to do.
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/task")) > 1:
        assert time.monotonic() < deadline, os.listdir("/proc/self/task")
        os.sched_yield()
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before


def refuse(
    attempt: Attempt,
    *,
    skipped: Callable[[str, bool], int] = lambda _name, _lasting: 0,
    may_differ: Callable[[int], bool] = lambda _error: False,
) -> None:
    """Run the cases of the command line, and print for each the calls that there were, the outcomes, and what was said.

    Args:
        attempt: The work.
        skipped: How many of the first calls of a name are not refused.
        may_differ: Whether a refusal by this errno may leave something out without an error.
    """
    _, shim_path, cases = sys.argv[1:]
    shim = Shim(shim_path)
    outcome, said = attempt(False)
    assert outcome == "done", said
    results = []
    for case in json.loads(cases):
        name, error, lasting = case["call"], case["error"], case["lasting"]
        for other, number in case["always"].items():
            shim.arm(other, 1, ALL, number)
        shim.arm(name, 0, 0, error)
        attempt(not may_differ(error))
        count, first = shim.calls(name), 1 + skipped(name, lasting)
        outcomes: Counter[str] = Counter()
        words: set[str] = set()
        for number in range(first, count + 1, max(1, count // MOST)):
            shim.arm(name, number, ALL if lasting else number, error)
            outcome, said = attempt(not may_differ(error))
            # Threads share the work as they come: there may be a few calls fewer than there were.
            if shim.refusals(name):
                outcomes[outcome] += 1
                words.add(said)
        for other in (name, *case["always"]):
            shim.arm(other, 0, 0, 0)
        results.append({"calls": count, "outcomes": outcomes, "words": sorted(words)})
    json.dump(results, sys.stdout)
