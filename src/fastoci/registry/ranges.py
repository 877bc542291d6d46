"""How far an upload session has come, in the many ways that registries say it."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Held", "held_by"]

_RANGE = re.compile(r"(?:bytes=)?0-(-?[0-9]{1,19})")


class Held(NamedTuple):
    """What a `Range` header says that a session holds.

    Args:
        size: How many bytes.
        ambiguous: Whether it may be none just as well: `0-0` is one byte by the letter, and what many say for none.
    """

    size: int
    ambiguous: bool = False


def held_by(value: str | None) -> Held | None:
    """Return what a `Range` header says, None where it is missing or not understood.

    Args:
        value: `0-N`, with N the offset of the last byte (distribution specification, "Pushing a blob in chunks");
            Quay writes `bytes=0-N`, distribution `0--1` for none.
    """
    found = None if value is None else _RANGE.fullmatch(value.strip())
    if found is None:
        return None
    last = int(found[1])
    return Held(max(0, last + 1), ambiguous=last == 0)
