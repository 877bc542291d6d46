"""A tree that is known by what layers say of it: a table of its entries, without files to read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastoci._engine.layered import LayeredTree
from fastoci._engine.scanner import keeps_xattr
from fastoci._engine.table import EntryTable
from fastoci.errors import InvalidImageError
from fastoci.tree.filedigest import digest_of
from fastoci.tree.patterns import compile_patterns
from fastoci.tree.policy import OWNER_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RecordedTree"]

_HELD = 1 << 30
"""The most bytes that the names of a tree may take: of seven million files, or of a few without end."""
_NAME_MAX = 255
_TIME_LIMIT = 2**62  # seconds
_DEVICE_LIMIT = 2**32


class RecordedTree:
    """What layers come to, put one over the other; the engine's `LayeredTree`.

    Paths are names with a slash between them, from the root of the image.

    Args:
        source: What to call the image.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._table = EntryTable(os.fsencode(source), None)
        self._tree = LayeredTree(self._table, int.from_bytes(os.urandom(8)), _HELD)

    def begin(self) -> None:
        """Begin the next layer."""
        self._tree.begin()

    def take(self, piece: bytes, at: int, most: int) -> tuple[int, int]:
        """Take the plain entries that stand in a piece of the layer's tar stream, as far as they follow each other.

        Args:
            piece: Of the stream.
            at: Where in it a header begins.
            most: How many may be taken.

        Returns:
            Where the first byte is that was not taken, and how many entries were.

        Raises:
            InvalidImageError: The names take too much memory.
        """
        try:
            end, count, files = self._tree.take(piece, at, most)
        except OverflowError as error:
            raise self._without_end() from error
        if files:
            self._tree.digest(digest_of(files))
        return end, count

    def put(
        self,
        path: bytes,
        kind: str,
        mode: int,
        owner: tuple[int, int],
        mtime: int,
        *,
        size: int = 0,
        content: bytes = b"",
        device: tuple[int, int] = (0, 0),
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Put one entry in, in place of what stands there.

        Args:
            path: Where; nothing is the root itself.
            kind: `file`, `directory`, `symlink`, `character`, `block` or `fifo`.
            mode: Its permissions.
            owner: uid and gid.
            mtime: In whole seconds since 1970.
            size: Bytes of a file.
            content: The digest of a file's bytes (`FileDigest`), or a link's target.
            device: Major and minor number.
            xattrs: Names and values; those that a scan would keep are kept.

        Raises:
            InvalidImageError: It can be on no system, or the names take too much memory.
        """
        if (wrong := _wrong_with(path, owner, mtime, device)) is not None:
            where = os.fsdecode(b"/" + b"/".join(name[:_NAME_MAX] for name in path.split(b"/")))
            raise InvalidImageError(f"{self._source} has {where}, which can be on no system", cause=f"it has {wrong}")
        said = os.makedev(*device) if kind in ("character", "block") else content
        kept = {name: value for name, value in (xattrs or {}).items() if keeps_xattr(name)}
        try:
            self._tree.put(path, kind, mode, *owner, mtime, size, said, kept)
        except OverflowError as error:
            raise self._without_end() from error

    def link(self, path: bytes, target: bytes) -> None:
        """Put in another name of a file.

        Raises:
            InvalidImageError: There is no such file, or the names take too much memory.
        """
        if (wrong := _wrong_with(path, (0, 0), 0, (0, 0))) is not None:
            raise InvalidImageError(f"{self._source} has a link that can be on no system", cause=f"it has {wrong}")
        try:
            found = self._tree.link(path, target)
        except OverflowError as error:
            raise self._without_end() from error
        if not found:
            raise InvalidImageError(f"/{os.fsdecode(path)} is a link to nothing", cause=f"/{os.fsdecode(target)}")

    def hide(self, path: bytes) -> None:
        """Hide what layers below have at a path, and beneath it."""
        self._tree.hide(path)

    def hide_names(self, path: bytes) -> None:
        """Hide all that layers below have in a directory."""
        self._tree.hide_names(path)

    def finish(self, top: bytes, patterns: tuple[str, ...]) -> EntryTable:
        """Return the table. Called once, at the end.

        Args:
            top: The path of what becomes its root; where there is nothing, the table is empty.
            patterns: What is left out, of paths beneath that.
        """
        self._tree.finish(top, compile_patterns(patterns))
        return self._table

    def _without_end(self) -> InvalidImageError:
        return InvalidImageError(
            f"{self._source} has directories without end", cause=f"their names take over {_HELD:,} bytes"
        )


def _wrong_with(path: bytes, owner: tuple[int, int], mtime: int, device: tuple[int, int]) -> str | None:
    if len(path) > _NAME_MAX and (longest := max(map(len, path.split(b"/")))) > _NAME_MAX:
        return f"a name of {longest:,} bytes"
    if not all(0 <= number < OWNER_LIMIT for number in owner):
        return f"the owner {owner[0]}:{owner[1]}"
    if abs(mtime) >= _TIME_LIMIT:
        return f"the modification time {mtime}"
    if not all(0 <= number < _DEVICE_LIMIT for number in device):
        return f"the device number {device[0]}, {device[1]}"
    return None
