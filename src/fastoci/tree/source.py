"""A source: what the user names as SRC[:/DEST] on the command line, and what there is of that name."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass

from fastoci.errors import UsageError
from fastoci.spec.tarheader import BLOCK, has_checksum

__all__ = ["ARCHIVE_SUFFIXES", "STDIN", "TreeSource", "is_tree"]

STDIN = "-"

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tar.xz", ".txz")
"""What a tar archive's name ends in, compressed or not."""


@dataclass(frozen=True, slots=True)
class TreeSource:
    """One source of one layer.

    Args:
        path: A directory, a file, a tar archive, or `-` for a tar archive on standard input; as the user gave it.
        dest: Where its root stands in the layer: an absolute, normal path.
        into: Whether the destination was written with a slash at its end: it then is a directory, and one file goes
            into it under its own name.
    """

    path: str
    dest: str = "/"
    into: bool = False

    @classmethod
    def parse(cls, text: str) -> TreeSource:
        """Return the source that `SRC[:/DEST]` names; the last `:/` begins the destination.

        Raises:
            UsageError: The source is empty, or the destination climbs with `..`.
        """
        path, separator, rest = text.rpartition(":/")
        if not separator:
            path, rest = text, ""
        if not path:
            raise UsageError(f"no source in {text!r}", hint="name a directory or a tar archive, SRC or SRC:/DEST")
        if ".." in rest.split("/"):
            raise UsageError(f"the destination of {text!r} contains '..'", hint="write the path that is meant")
        if "\0" in text:
            raise UsageError("a source contains a NUL character")
        return cls(path, "/" + posixpath.normpath("/" + rest).lstrip("/"), rest.endswith("/"))

    @property
    def title(self) -> str:
        """What to call the source on screen and in history: its last name, that of the real directory for `.`."""
        if self.path == STDIN:
            return "stdin"
        name = os.path.basename(self.path.rstrip("/"))
        if name in ("", ".", ".."):
            name = os.path.basename(os.path.realpath(self.path))
        return name or "root"

    @property
    def components(self) -> tuple[bytes, ...]:
        """The names on the way to the destination, outermost first; empty for `/`."""
        return tuple(os.fsencode(name) for name in self.dest.split("/") if name)


def is_tree(source: TreeSource) -> bool:
    """Return whether a source is packed as it is found: a directory, or one file with a destination.

    All else is taken for a tar archive, which keeps its bytes: standard input, a pipe, a file without a destination. So
    is a file that has one but is a tar archive, or is named like one: a user who expects its content to be placed there
    is told, and gets no image in which the archive itself is.
    """
    if source.path == STDIN:
        return False
    if os.path.isdir(source.path):
        return True
    return source.dest != "/" and os.path.isfile(source.path) and not _is_archive(source.path)


def _is_archive(path: str) -> bool:
    if path.endswith(ARCHIVE_SUFFIXES):
        return True
    try:
        with open(path, "rb") as file:  # the path is the user's text and stays as it is
            head = file.read(BLOCK)
    except OSError:
        return False  # whoever packs it says what is wrong
    return len(head) == BLOCK and any(head) and has_checksum(head)
