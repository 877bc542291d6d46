"""Ctrl-C at a chosen moment: KeyboardInterrupt before the nth line that the calling thread runs in fastoci's own code.

Python raises a signal's exception between two instructions of the main thread. A trace function does the same at a line
that is chosen by its number, so that any moment can be had again, and a moment that some clock happens upon once in a
thousand runs is as likely as every other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import fastoci

_PACKAGE = os.path.dirname(fastoci.__file__) + os.sep


class Lines:
    """Counts the lines that the calling thread runs in fastoci's code.

    Attributes:
        where: The file and line before which it interrupted, empty where it did not.
        handles_descriptors: Whether that is in a function that opens or closes something itself: between a descriptor
            and whoever is to close it there is always a moment that belongs to neither.

    Args:
        last: Before the line of this number, counted from 1, KeyboardInterrupt is raised, once; 0: before none.
    """

    def __init__(self, last: int = 0) -> None:
        self.count = 0
        self.where = ""
        self.handles_descriptors = False
        self._last = last

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(_PACKAGE) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count == self._last:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                self.handles_descriptors = not {"open", "close"}.isdisjoint(frame.f_code.co_names)
                raise KeyboardInterrupt
        return self._line


@contextmanager
def interrupted_before(line: int = 0) -> Iterator[Lines]:
    """Count lines, and interrupt before the one of this number, as long as the context lasts."""
    lines = Lines(line)
    before = sys.gettrace()
    sys.settrace(lines._call)
    try:
        yield lines
    finally:
        sys.settrace(before)
