"""What directories are to be in the end: given last, for whatever is made in a directory changes its time.

Until then a directory is its maker's alone (0700): it can be filled whatever its mode will be, and hands on neither a
group nor an access list to what is made in it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastoci.rootfs.walker import Walker
from fastoci.tar.reader import TarEntry

if TYPE_CHECKING:
    from fastoci.rootfs.attributes import Attributes
    from fastoci.rootfs.beneath import Place

__all__ = ["Directories", "implied"]


@dataclass(slots=True)
class _Later:
    """What one directory is to be.

    Args:
        inode: Which it is: another one may stand there by then.
        entry: What the last entry for it says; None where there is none, and only its time is put back.
        mtime: In nanoseconds.
    """

    inode: int
    entry: TarEntry | None
    mtime: int


class Directories:
    """Remembers directories by where they really are."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Later] = {}

    def made(self, directory: int, name: bytes, path: bytes, entry: TarEntry) -> None:
        """Remember what a directory is to be; it has just been made, or an entry for it was found."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        self._known[path] = _Later(status.st_ino, entry, entry.mtime)

    def entered(self, place: Place) -> None:
        """Remember the time of a directory in which something is about to be made."""
        if place.path not in self._known:
            status = os.fstat(place.fd)
            self._known[place.path] = _Later(status.st_ino, None, status.st_mtime_ns)

    def finish(self, root: int, attributes: Attributes) -> None:
        """Make all of them what they are to be.

        Raises:
            OSError: The kernel refused it.
        """
        walker = Walker(root)
        try:
            # Those beneath come first: a directory that may not be entered would be in the way to them.
            for path in sorted(self._known, reverse=True):
                later = self._known[path]
                try:
                    fd = walker.go(path.split(b"/") if path else [])
                except (FileNotFoundError, NotADirectoryError):
                    continue
                status = os.fstat(fd)
                if status.st_ino != later.inode:
                    continue
                if later.entry is not None:
                    attributes.give(fd, later.entry)
                else:
                    os.utime(fd, ns=(status.st_atime_ns, later.mtime))
        finally:
            walker.close()


def implied(path: bytes) -> TarEntry:
    """Return the entry that a directory has that no layer has: docker's and umoci's 0755, root, now."""
    return TarEntry(path, "directory", 0o755, 0, 0, time.time_ns())
