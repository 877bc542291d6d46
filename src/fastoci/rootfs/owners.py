"""Whose the files become: the archive's numbers, mapped ones, or the caller's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastoci.errors import InvalidImageError, UsageError

__all__ = ["Owners", "parse_mapping"]

Mapping = tuple[int, int, int]
"""The first number in the image, the first on this host, and how many."""

_MAPPING = re.compile(r"([0-9]{1,10}):([0-9]{1,10})(?::([0-9]{1,10}))?")
_LIMIT = 1 << 32


@dataclass(frozen=True, slots=True)
class Owners:
    """What becomes of owners and groups.

    Args:
        keep: Whether files are given away at all. False: they are the caller's, as everything that one makes.
        uids: How owners are mapped; none means as they are.
        gids: The same of groups.
    """

    keep: bool = True
    uids: Sequence[Mapping] = ()
    gids: Sequence[Mapping] = ()

    @property
    def is_mapping(self) -> bool:
        """Whether owners become others than the archive's."""
        return bool(self.uids or self.gids)

    def of(self, uid: int, gid: int, layer: str) -> tuple[int, int]:
        """Return the owner and group on this host.

        Raises:
            InvalidImageError: The mapping has no number for it.
        """
        if not self.is_mapping:
            return uid, gid
        return _mapped(uid, self.uids, "uid", layer), _mapped(gid, self.gids, "gid", layer)


def _mapped(number: int, mappings: Sequence[Mapping], what: str, layer: str) -> int:
    if not mappings:
        return number
    for inside, outside, count in mappings:
        if inside <= number < inside + count:
            return number - inside + outside
    raise InvalidImageError(
        f"{layer} cannot be unpacked",
        cause=f"the {what} {number} is in no --{what}-map",
        hint=f"--{what}-map {number}:HOST, or --no-same-owner",
    )


def parse_mapping(text: str, option: str) -> Mapping:
    """Return what `IMAGE:HOST[:COUNT]` says, as umoci and newuidmap have it; the count is 1 where it is left out.

    Raises:
        UsageError: It is no such text, or has numbers that no system has.
    """
    match = _MAPPING.fullmatch(text)
    if match is None:
        raise UsageError(f"{option}: not a mapping: {text!r}", hint=f"{option} IMAGE:HOST[:COUNT], as 0:1000:1")
    inside, outside, count = int(match[1]), int(match[2]), int(match[3] or 1)
    if count == 0 or inside + count >= _LIMIT or outside + count >= _LIMIT:
        raise UsageError(f"{option}: numbers that no system has: {text!r}")
    return inside, outside, count
