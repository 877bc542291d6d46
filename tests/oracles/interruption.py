"""Ctrl-C at a chosen moment: KeyboardInterrupt at the nth call of one of fastoci's own functions in the calling thread.

Python looks for signals where a function begins, where a loop goes round, and where a call has returned. A trace
function raises at the first of these, at a call that is chosen by its number: so any moment can be had again, and one
that some clock happens upon once in a thousand runs is as likely as every other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import fastoci

_HANDLING = {"open", "close", "__enter__", "__exit__"}
_SPARED = {"<genexpr>", "__exit__", "stop", "_stop", "_join"}
_PACKAGE = os.path.dirname(fastoci.__file__) + os.sep


class Calls:
    """Counts the calls of fastoci's functions in the calling thread.

    Attributes:
        where: The file and line of the function that it interrupted, empty where it did not.
        handles_descriptors: Whether that is in or beneath a function that opens or closes something itself: between a
            descriptor and whoever is to close it there is always a moment that belongs to neither.

    Args:
        last: At the call of this number, counted from 1, KeyboardInterrupt is raised, once; 0: at none.
    """

    def __init__(self, last: int = 0) -> None:
        self.count = 0
        self.where = ""
        self.handles_descriptors = False
        self._last = last

    def _call(self, frame: FrameType, event: str, argument: Any) -> None:
        # A generator expression that is thrown away is entered once more, and what it raises then is lost to everybody.
        # What ends the work is spared: interrupted at its very beginning, it leaves a thread to the end of the process.
        if not frame.f_code.co_filename.startswith(_PACKAGE) or frame.f_code.co_name in _SPARED:
            return
        self.count += 1
        if self.count == self._last:
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            caller = frame.f_back
            codes = [frame.f_code] if caller is None else [frame.f_code, caller.f_code]
            self.handles_descriptors = any(not _HANDLING.isdisjoint((code.co_name, *code.co_names)) for code in codes)
            raise KeyboardInterrupt


@contextmanager
def interrupted_at(call: int = 0) -> Iterator[Calls]:
    """Count calls, and interrupt at the one of this number, as long as the context lasts."""
    calls = Calls(call)
    before = sys.gettrace()
    sys.settrace(calls._call)
    try:
        yield calls
    finally:
        sys.settrace(before)
