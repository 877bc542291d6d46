"""The policy: what becomes of what a scan finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OWNER_LIMIT", "TreePolicy"]

OWNER_LIMIT = 2**32 - 1
"""The first number that is no uid or gid: (uid_t)-1 means "leave it" to the kernel."""


@dataclass(frozen=True, slots=True)
class TreePolicy:
    """What becomes of what a scan finds on its way into a layer.

    Args:
        uid: The owner of every entry; None keeps each its own.
        gid: The group of every entry; None keeps each its own.
        mtime_limit: Seconds since the epoch; later modification times become this one. None: no limit.
        mtime: The modification time of every entry, seconds since the epoch, before the limit; None keeps each its own.
        chmod: What becomes of the mode of every entry but symbolic links, as chmod(1) says it; None keeps it. An
            access ACL that is kept decides all the same when the layer is unpacked.
        xattrs: Whether the extended attributes that belong to a file are kept; the host's never are.
        whiteouts: What to do with a file named like a whiteout (`.wh.*`, image-spec layer.md, "Whiteouts"): refuse to
            pack it, or keep it because it is meant as one.
        patterns: What to leave out, in Docker's dialect, the last match deciding (fastoci.tree.patterns). A source that
            is one file is never left out.
        one_file_system: Whether what is on other file systems than the source's root is left out, as with GNU tar's
            option of that name: a directory on which one is mounted is packed as it is seen, and empty.
    """

    uid: int | None = None
    gid: int | None = None
    mtime_limit: int | None = None
    mtime: int | None = None
    chmod: str | None = None
    xattrs: bool = True
    whiteouts: Literal["refuse", "keep"] = "refuse"
    patterns: tuple[str, ...] = ()
    one_file_system: bool = False

    def modes(self) -> bytes | None:
        """Return what becomes of each mode, as the engine wants it (`mode_table`); None keeps them."""
        if self.chmod is None:
            return None
        from fastoci.tree.chmod import mode_table  # not at the top: few builds change modes

        return mode_table(self.chmod)
