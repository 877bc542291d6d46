"""A tree that is known by what layers say of it: a table of its entries, without files to read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from fastoci._engine.filler import Filler
from fastoci._engine.scanner import keeps_xattr
from fastoci._engine.table import EntryTable
from fastoci.errors import InvalidImageError
from fastoci.tree.policy import OWNER_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Recorded", "record"]

_NAME_MAX = 255
_TIME_LIMIT = 2**62  # seconds
_DEVICE_LIMIT = 2**32


class Recorded(NamedTuple):
    """One name in a directory.

    Attributes:
        name: The name.
        kind: `file`, `directory`, `symlink`, `character`, `block` or `fifo`.
        mode: Its permissions; None: a directory for which no layer has an entry, and nothing else is known of it.
        uid: The owner.
        gid: The group.
        mtime: In whole seconds since 1970.
        size: Bytes of a file.
        content: The SHA-256 of a file's bytes, or a link's target.
        device: Major and minor number.
        xattrs: Names and values.
        file: A number that all names of one file have, and no others.
        links: How many these are, or more.
    """

    name: bytes
    kind: str
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    content: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = {}
    file: int = 0
    links: int = 1


def record(source: str, directories: Iterable[tuple[bytes, list[Recorded]]]) -> EntryTable:
    """Return the table of a tree. Of extended attributes it has those that a scan would keep.

    Args:
        source: What to call the tree.
        directories: Every directory by its path, with what is in it: breadth first, the topmost one first, names in the
            order of a layer.

    Raises:
        InvalidImageError: Something in it cannot be on any system.
    """
    table = EntryTable(os.fsencode(source), None)
    filler = Filler(table)
    for path, names in directories:
        for one in names:
            if (wrong := _wrong_with(one)) is not None:
                where = os.fsdecode(b"/" + path + (b"/" if path else b"") + one.name[:_NAME_MAX])
                raise InvalidImageError(f"{source} has {where}, which can be on no system", cause=f"it has {wrong}")
        filler.fill([_facts(one) for one in names])
    filler.finish()
    return table


def _wrong_with(one: Recorded) -> str | None:
    if len(one.name) > _NAME_MAX:
        return f"a name of {len(one.name):,} bytes"
    if not (0 <= one.uid < OWNER_LIMIT and 0 <= one.gid < OWNER_LIMIT):
        return f"the owner {one.uid}:{one.gid}"
    if abs(one.mtime) >= _TIME_LIMIT:
        return f"the modification time {one.mtime}"
    if not all(0 <= number < _DEVICE_LIMIT for number in one.device):
        return f"the device number {one.device[0]}, {one.device[1]}"
    return None


def _facts(
    one: Recorded,
) -> tuple[bytes, str, int | None, int, int, int, int, bytes | int, dict[bytes, bytes], int, int]:
    content = os.makedev(*one.device) if one.kind in ("character", "block") else one.content
    xattrs = {name: value for name, value in one.xattrs.items() if keeps_xattr(name)}
    return one.name, one.kind, one.mode, one.uid, one.gid, one.mtime, one.size, content, xattrs, one.file, one.links
