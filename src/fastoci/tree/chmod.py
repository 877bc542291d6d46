"""What `--chmod` says: the modes of chmod(1), octal or symbolic, as a table that the engine looks modes up in.

The rules are GNU's (coreutils' manual, "File permissions"), with a umask of 0, as far as they do not speak of the
caller: `X` is execution for directories and for what anybody may execute, and a directory's setuid and setgid bits stay
unless they are named.
"""

from __future__ import annotations

import array
import re
from typing import NamedTuple

from fastoci.errors import UsageError

__all__ = ["mode_table", "parse_chmod"]

_ALL = 0o7777
_SET_ID = 0o6000
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_CHANGE = re.compile(r"([-+=])([rwxXst]*|[ugo])(?=[-+=]|$)")
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": _ALL}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "X": 0, "s": _SET_ID, "t": 0o1000}
_CLASSES = {"u": 0o700, "g": 0o070, "o": 0o007}


class Change(NamedTuple):
    """One step: what to do (`=`, `+`, `-`) with which bits.

    Attributes:
        operator: `=`, `+` or `-`.
        affected: The bits that whoever is named has; 0 where nobody is.
        value: The bits that are set or taken away.
        copies: Whether `value` is a class whose bits are copied.
        executes: Whether execution is added where there is any, and for directories.
        named: Those of a directory's setuid and setgid bits that may change.
    """

    operator: str
    affected: int
    value: int
    copies: bool = False
    executes: bool = False
    named: int = 0

    def apply(self, mode: int, *, is_directory: bool) -> int:
        """Return what becomes of a mode."""
        kept = _SET_ID & ~self.named if is_directory else 0
        value = self.value
        if self.copies:
            value &= mode
            value = sum(bits for bits in (0o444, 0o222, 0o111) if value & bits)
        if self.executes and (is_directory or mode & 0o111):
            value |= 0o111
        value &= (self.affected or _ALL) & ~kept
        if self.operator == "=":
            return mode & ((~self.affected if self.affected else 0) | kept) | value
        return mode | value if self.operator == "+" else mode & ~value


def parse_chmod(text: str) -> tuple[Change, ...]:
    """Return the steps that an octal or symbolic mode means.

    Args:
        text: As `755`, `u=rwX,go=rX`, `go-w`.

    Raises:
        UsageError: It is no mode.
    """
    if re.fullmatch(r"[0-7]{1,5}", text) and int(text, 8) <= _ALL:
        value = int(text, 8)
        named = _SET_ID if len(text) == 5 else value & _SET_ID
        return (Change("=", _ALL, value, named=named),)
    changes: list[Change] = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise UsageError(f"--chmod {text!r} is no mode", hint="octal as 755, or as u=rwX,go=rX")
        affected = 0
        for who in match[1]:
            affected |= _WHO[who]
        for operator, what in _CHANGE.findall(match[2]):
            if what in _CLASSES:
                value = _CLASSES[what]
                changes.append(Change(operator, affected, value, copies=True, named=affected & value or value))
                continue
            value = 0
            for letter in what:
                value |= _BITS[letter]
            named = affected & value if affected else value
            changes.append(Change(operator, affected, value, executes="X" in what, named=named))
    return tuple(changes)


def mode_table(text: str) -> bytes:
    """Return what becomes of each mode, as the engine wants it: of a directory's, then of another's.

    Args:
        text: See `parse_chmod`.

    Raises:
        UsageError: It is no mode.
    """
    changes = parse_chmod(text)
    table = array.array("H")
    for is_directory in (True, False):
        for before in range(_ALL + 1):
            mode = before
            for change in changes:
                mode = change.apply(mode, is_directory=is_directory)
            table.append(mode)
    return table.tobytes()
