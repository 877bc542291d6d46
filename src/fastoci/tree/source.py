"""A source: what the user names as SRC[:/DEST] on the command line."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass

from fastoci.errors import UsageError

__all__ = ["STDIN", "TreeSource"]

STDIN = "-"


@dataclass(frozen=True, slots=True)
class TreeSource:
    """One source of one layer.

    Args:
        path: A directory, a tar archive, or `-` for a tar archive on standard input; as the user gave it.
        dest: Where its root stands in the layer: an absolute, normal path.
    """

    path: str
    dest: str = "/"

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
        return cls(path, "/" + posixpath.normpath("/" + rest).lstrip("/"))

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
    def step(self) -> str:
        """How a layer of this came to be, for the image's history."""
        return f"COPY . {self.dest} # fastoci"

    @property
    def components(self) -> tuple[bytes, ...]:
        """The names on the way to the destination, outermost first; empty for `/`."""
        return tuple(os.fsencode(name) for name in self.dest.split("/") if name)
