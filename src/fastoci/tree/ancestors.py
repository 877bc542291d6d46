"""Where a source stands in the image: the directories above its destination, as the layers below have them.

A layer that held `opt/app/x` without `opt/` and `opt/app/` would make an engine create them anew, with other owners
and modes than the layers below gave them. So every layer carries every ancestor of its entries, with the metadata
that stands: of the last earlier layer that has the directory, else 0755, owned by 0:0. The destination itself keeps
what an earlier layer says of it, as with Docker's COPY; a new one is what the root of the source is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fastoci.errors import UsageError
from fastoci.spec import whiteouts
from fastoci.tree.source import TreeSource

__all__ = ["Directory", "DirectoryLookup", "Found", "place", "place_file"]

_SYMLINKS_MAX = 40
_NAME_MAX = 255


@dataclass(frozen=True, slots=True)
class Found:
    """What a layer has at a path. `kind` is the engine's word; `target` is a symbolic link's."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    target: bytes = b""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that a layer carries on the way to its entries. `known`: an earlier layer has it."""

    name: bytes
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    known: bool = False


class DirectoryLookup(Protocol):
    """A layer that can be asked for one path."""

    def find(self, path: bytes) -> Found | None:
        """Return what stands at `path` (no slash at either end), or None."""


def place(source: TreeSource, earlier: Sequence[DirectoryLookup], epoch: int | None) -> list[Directory]:
    """Return the directories from the root of the image to the destination, the destination itself last.

    Symbolic links that earlier layers have on the way are followed within the image, as Docker's COPY follows them:
    a source for `/lib/modules` over a system whose `/lib` is a link to `usr/lib` goes to `usr/lib/modules`.

    Args:
        source: Whose destination it is.
        earlier: The layers below, first to last.
        epoch: The modification time of a directory that no layer has, seconds; None for 0.

    Raises:
        UsageError: The way leads through something that is neither a directory nor a link, or round in a circle, or
            through a name that is a whiteout's or too long.
    """
    way = _Way(source, earlier, epoch)
    way.go(source.components, to_file=False)
    return way.placed


def place_file(
    source: TreeSource, earlier: Sequence[DirectoryLookup], epoch: int | None
) -> tuple[list[Directory], bytes]:
    """Return the directories above a source that is one file, and its name in the last of them.

    As with Docker's COPY: the destination is the file, unless it ends in a slash or is a directory of an earlier
    layer; then the file goes into it under its own name. What an earlier layer has there, the file takes the place of.

    Args:
        source: Whose destination it is.
        earlier: See `place`.
        epoch: See `place`.

    Raises:
        UsageError: See `place`; or an earlier layer has a directory where the file would stand.
    """
    way = _Way(source, earlier, epoch)
    name = way.go(source.components, to_file=not source.into)
    if name is None:
        name = way.go([os.fsencode(os.path.basename(source.path))], to_file=True)
    if name is None:
        there = b"/".join(directory.name for directory in way.placed)
        raise UsageError(
            f"the file {source.path} cannot take the place of a directory",
            cause=f"an earlier layer has the directory /{os.fsdecode(there)}",
            hint="choose another destination",
        )
    return way.placed, name


class _Way:
    """A way down from the root of the image, through the layers below.

    Attributes:
        placed: The directories so far, outermost first.
    """

    def __init__(self, source: TreeSource, earlier: Sequence[DirectoryLookup], epoch: int | None) -> None:
        self.placed: list[Directory] = []
        self._source = source
        self._earlier = earlier
        self._epoch = epoch
        self._followed = 0

    def go(self, names: Sequence[bytes], *, to_file: bool) -> bytes | None:
        """Go on by so many names, and by those of the links among them.

        Args:
            names: One for each step.
            to_file: Whether the last step need not be a directory.

        Returns:
            The last name where it is no directory's, and was not gone to; else None.
        """
        waiting = list(reversed(names))
        while waiting:
            name = waiting.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                del self.placed[-1:]
                continue
            path = self._checked(name)
            found = _find(path, self._earlier)
            may_end = to_file and not waiting
            if found is None:
                if may_end:
                    return name
                self.placed.append(Directory(name, mtime=self._epoch or 0))
            elif found.kind == "directory":
                self.placed.append(
                    Directory(name, found.mode, found.uid, found.gid, found.mtime, found.xattrs, known=True)
                )
            elif found.kind == "symlink":
                self._follow(path, found.target)
                waiting.extend(reversed(found.target.split(b"/")))
            elif may_end:
                return name
            else:
                raise UsageError(
                    f"the destination {self._source.dest} leads through a {found.kind}",
                    cause=f"an earlier layer has /{os.fsdecode(path)}",
                    hint="choose another destination",
                )
        return None

    def _checked(self, name: bytes) -> bytes:
        """Return the path of the next step."""
        if len(name) > _NAME_MAX:
            raise UsageError(
                f"the destination {self._source.dest[:_NAME_MAX]} leads through a name of {len(name):,} bytes",
                cause=f"Linux takes names of at most {_NAME_MAX} bytes",
                hint="choose another destination",
            )
        path = b"/".join([*(directory.name for directory in self.placed), name])
        if name.startswith(whiteouts.PREFIX):
            raise UsageError(
                f"the destination {self._source.dest} leads through a name like a whiteout's, /{os.fsdecode(path)}",
                cause="in a layer a name that begins with .wh. removes a file of the layers below",
                hint="choose another destination",
            )
        return path

    def _follow(self, path: bytes, target: bytes) -> None:
        self._followed += 1
        if self._followed > _SYMLINKS_MAX:
            raise UsageError(
                f"the destination {self._source.dest} leads round in a circle of symbolic links",
                cause=f"at /{os.fsdecode(path)} of an earlier layer",
            )
        if target.startswith(b"/"):
            self.placed.clear()


def _find(path: bytes, earlier: Sequence[DirectoryLookup]) -> Found | None:
    for layer in reversed(earlier):
        found = layer.find(path)
        if found is not None:
            return found
        if _hides(layer, path):
            return None
    return None


def _hides(layer: DirectoryLookup, path: bytes) -> bool:
    """Return whether a layer takes away what those below it have at a path (image-spec layer.md, "Whiteouts")."""
    parent = b""
    *above, last = path.split(b"/")
    for name in above:
        found = layer.find(parent + name)
        if found is not None and found.kind != "directory":
            return True
        if _removes(layer, parent, name):
            return True
        parent += name + b"/"
    return _removes(layer, parent, last)


def _removes(layer: DirectoryLookup, parent: bytes, name: bytes) -> bool:
    return any(layer.find(parent + whiteout) is not None for whiteout in (whiteouts.PREFIX + name, whiteouts.OPAQUE))
