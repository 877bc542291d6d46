"""Ctrl-C at a chosen moment: KeyboardInterrupt at any line of fastoci's own code that the calling thread runs.

Python looks for signals where a function begins, where a loop goes round, and where a call has returned. Of nearly each
of these a trace function is told, as the line that begins there. So any moment can be had again, and one that some
clock happens upon once in a million runs is as likely as every other.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import fastoci

_PACKAGE = os.path.dirname(fastoci.__file__) + os.sep

Moment = tuple[str, int]
"""A place, as `file:line`, and the how manieth time that it is come to, from 1."""


class Lines:
    """Counts the lines of fastoci's that the calling thread comes to.

    Attributes:
        counts: How often each place was come to.
        interrupted: Whether the moment came.

    Args:
        moment: Then KeyboardInterrupt is raised, once; None: never.
    """

    def __init__(self, moment: Moment | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.interrupted = False
        self._moment = moment

    def call(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        """A function begins: its lines are counted if it is fastoci's."""
        code = frame.f_code
        # A generator that is thrown away is entered once more, and what is raised then is lost to everybody.
        if not code.co_filename.startswith(_PACKAGE) or code.co_name == "<genexpr>":
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        if event == "line":
            place = f"{frame.f_code.co_filename.removeprefix(_PACKAGE)}:{frame.f_lineno}"
            self.counts[place] += 1
            if (place, self.counts[place]) == self._moment:
                self.interrupted = True
                raise KeyboardInterrupt
        return self._line


@contextmanager
def interrupted_at(moment: Moment | None = None) -> Iterator[Lines]:
    """Count lines, and interrupt at a moment, as long as the context lasts."""
    lines = Lines(moment)
    before = sys.gettrace()
    sys.settrace(lines.call)
    try:
        yield lines
    finally:
        sys.settrace(before)
