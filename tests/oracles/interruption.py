"""Ctrl-C at a chosen moment: KeyboardInterrupt at any line of fastoci's own code that the calling thread runs.

Python looks for signals where a function begins, where a loop goes round, and where a call has returned. Of nearly each
of these a trace function is told, as the line that begins there. So any moment can be had again, and one that some
clock happens upon once in a million runs is as likely as every other.
"""

from __future__ import annotations

import ast
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
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
        if event == "line" and not _leaves_with(frame.f_code, frame.f_lineno, frame.f_lasti):
            place = f"{frame.f_code.co_filename.removeprefix(_PACKAGE)}:{frame.f_lineno}"
            self.counts[place] += 1
            if (place, self.counts[place]) == self._moment:
                self.interrupted = True
                raise KeyboardInterrupt
        return self._line


def _leaves_with(code: CodeType, line: int, offset: int) -> bool:
    """Return whether a line is come to once more because its `with` is left.

    Python tells of that when it is out of the block and has not called `__exit__` yet. No signal is heard there, or
    every lock of every program would be lost now and then.
    """
    return line in _with_lines(code.co_filename) and offset != _first_offsets(code)[line]


@functools.cache
def _with_lines(filename: str) -> frozenset[int]:
    """Return the lines of a file on which a `with` begins."""
    tree = ast.parse(Path(filename).read_bytes())
    return frozenset(node.lineno for node in ast.walk(tree) if isinstance(node, ast.With))


@functools.cache
def _first_offsets(code: CodeType) -> dict[int, int]:
    """Return where in a function's code each of its lines begins first."""
    return {line: start for start, _, line in reversed(list(code.co_lines())) if line is not None}


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
