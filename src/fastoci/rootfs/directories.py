"""What directories are to be in the end: given last, for whatever is made in a directory changes its time.

Until then a directory is its maker's alone (0700): it can be filled whatever its mode will be, and hands on neither a
group nor an access list to what is made in it. The engine remembers them, and makes them what they are to be; what it
has no word for is given here.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from fastoci._engine import EngineFault
from fastoci._engine import directories as engine
from fastoci.rootfs.plainfiles import WritingError
from fastoci.tar.reader import TarEntry

if TYPE_CHECKING:
    from fastoci.rootfs.attributes import Attributes
    from fastoci.rootfs.beneath import Place

__all__ = ["Directories", "implied"]

_NS = 10**9


class Directories:
    """Remembers directories by where they really are.

    Args:
        basis: A number that whoever made the archive cannot know.
        is_mapping: Whether owners become others than the archive's.

    Attributes:
        engine: The engine's part of it, which is told of those that it makes by itself.
    """

    def __init__(self, basis: int, *, is_mapping: bool) -> None:
        self.engine = engine.Directories(basis)
        self._is_mapping = is_mapping

    def made(self, directory: int, name: bytes, path: bytes, entry: TarEntry) -> None:
        """Remember what a directory is to be; it has just been made, or an entry for it was found."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        seconds, nanoseconds = divmod(entry.mtime, _NS)
        more = entry if entry.xattrs or self._is_mapping else None
        self.engine.made(path, status.st_ino, entry.mode, entry.uid, entry.gid, seconds, nanoseconds, more)

    def entered(self, place: Place) -> None:
        """Remember the time of a directory in which something is about to be made."""
        if place.path not in self.engine:
            status = os.fstat(place.fd)
            self.engine.entered(place.path, status.st_ino, *divmod(status.st_mtime_ns, _NS))

    def finish(self, root: int, attributes: Attributes) -> None:
        """Make all of them what they are to be.

        Raises:
            WritingError: The kernel refused it of one of them.
            OSError: It refused what is given here.
            InvalidImageError: An owner has no number on this host.
        """
        try:
            self.engine.finish(root, attributes.keep, attributes.give)
        except EngineFault as fault:
            raise WritingError(fault.error, fault.path) from None


def implied(path: bytes) -> TarEntry:
    """Return the entry that a directory has that no layer has: docker's and umoci's 0755, root, now."""
    return TarEntry(path, "directory", 0o755, 0, 0, time.time_ns())
