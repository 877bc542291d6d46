"""What a build takes away from the layers below it: a small layer of whiteouts (image-spec layer.md, "Whiteouts")."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastoci.ending import ending_context
from fastoci.errors import UsageError
from fastoci.spec import whiteouts
from fastoci.temporary import TemporaryDirectory
from fastoci.tree.ancestors import Directory, place
from fastoci.tree.source import TreeSource

if TYPE_CHECKING:
    from fastoci.tree.ancestors import DirectoryLookup

__all__ = ["Removals"]

_WHITEOUT, _OPAQUE = whiteouts.PREFIX.decode(), whiteouts.OPAQUE.decode()


@dataclass(frozen=True, slots=True)
class Removals:
    """What is to be taken away.

    Args:
        deleted: Absolute paths that are no longer there.
        opaque: Absolute paths of directories of which only what later layers put there is left.
    """

    deleted: tuple[str, ...]
    opaque: tuple[str, ...]

    @classmethod
    def parse(cls, deleted: Sequence[str], opaque: Sequence[str]) -> Removals:
        """Return what `--delete` and `--opaque` say; a path is absolute, with or without its slash.

        Raises:
            UsageError: A path is none that can be taken away.
        """
        return cls(
            tuple(dict.fromkeys(_parsed(text, "--delete") for text in deleted)),
            tuple(dict.fromkeys(_parsed(text, "--opaque") for text in opaque)),
        )

    def __bool__(self) -> bool:
        return bool(self.deleted or self.opaque)

    @property
    def step(self) -> str:
        """How the layer came to be, for the image's history."""
        return " ".join(["RM", *self.deleted, *(f"{path.rstrip('/')}/*" for path in self.opaque), "# fastoci"])

    @ending_context
    def archive(self, below: Sequence[DirectoryLookup], epoch: int | None) -> Iterator[TreeSource]:
        """Give the layer as a tar archive, which is there for as long as the context lasts.

        Args:
            below: The layers below, first to last: the directories on the way are as these have them.
            epoch: The time of the whiteouts, and of directories that no layer has; None for 0.

        Raises:
            UsageError: A path leads through something that is no directory.
        """
        with TemporaryDirectory(tempfile.gettempdir()) as directory:
            path = os.path.join(directory.path, "removals")
            with open(path, "wb") as file:
                file.write(self._tar(below, epoch))
            yield TreeSource(path)

    def _tar(self, below: Sequence[DirectoryLookup], epoch: int | None) -> bytes:
        members: dict[bytes, tarfile.TarInfo] = {}
        for path in self.deleted:
            parent, _, name = path.rpartition("/")
            _add(members, place(TreeSource("", parent or "/"), below, epoch), _WHITEOUT + name, epoch)
        for path in self.opaque:
            _add(members, place(TreeSource("", path), below, epoch), _OPAQUE, epoch)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
            for key in sorted(members):
                archive.addfile(members[key])
        return out.getvalue()


def _parsed(text: str, option: str) -> str:
    names = [name for name in text.split("/") if name not in ("", ".")]
    if ".." in names or "\0" in text or not text or (not names and option == "--delete"):
        raise UsageError(f"{option} {text!r} is no path that can be taken away", hint=f"{option} /etc/motd")
    if any(name.startswith(_WHITEOUT) for name in names):
        raise UsageError(
            f"{option} {text!r} is named like a whiteout", hint=f"name what is to go: {text.replace(_WHITEOUT, '')!r}"
        )
    return "/" + "/".join(names)


def _add(members: dict[bytes, tarfile.TarInfo], above: Sequence[Directory], name: str, epoch: int | None) -> None:
    """Enter a whiteout and the directories above it."""
    path = b""
    for directory in above:
        path += directory.name + b"/"
        info = tarfile.TarInfo(os.fsdecode(path[:-1]))
        info.type = tarfile.DIRTYPE
        info.mode, info.uid, info.gid, info.mtime = directory.mode, directory.uid, directory.gid, directory.mtime
        info.pax_headers = {
            f"SCHILY.xattr.{os.fsdecode(key)}": value.decode("utf-8", "surrogateescape")
            for key, value in sorted(directory.xattrs.items())
        }
        members[path] = info
    info = tarfile.TarInfo(os.fsdecode(path) + name)
    info.mode, info.mtime = 0o644, epoch or 0
    members[path + os.fsencode(name)] = info
