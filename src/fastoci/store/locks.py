"""Locks on a layout, which leave nothing in it: flock(2) on its directories.

The layout's own directory is locked by whoever changes `index.json`, for as long as that takes. `blobs` is locked,
shared, by each process that adds blobs, until its manifest is in the index; who takes blobs away locks it alone, and so
never takes one that another process has found standing and is about to name. The first lock is taken before the second;
who has the second alone never waits for anything, and who wants it alone does not wait for it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

from fastoci.ending import OpenFile, ending_context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["lock_shared", "locked", "open_directory", "try_lock_alone"]

_ATTEMPTS = 100

# File systems over a network may have no flock, or (NFS) none on what is not open for writing, which a directory
# cannot be. What is lost there is the order of two writers at the same moment, not the wholeness of what they write.
_NO_FLOCK = frozenset({errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def open_directory(path: Path) -> OpenFile:
    """Return a directory, opened to be locked; the lock ends where it is closed.

    Raises:
        OSError: It cannot be opened.
    """
    return OpenFile(path, os.O_RDONLY | os.O_DIRECTORY)


@ending_context
def locked(path: Path, *, make: bool = False) -> Iterator[None]:
    """Hold a directory's lock, alone; with `make`, make the directory where there is none.

    Raises:
        OSError: It is not there, or cannot be opened or made.
    """
    for _ in range(_ATTEMPTS):
        if make:
            path.mkdir(parents=True, exist_ok=True)
        try:
            directory = open_directory(path)
        except FileNotFoundError:
            if make:
                continue
            raise
        with directory:
            _flock(directory.fd, fcntl.LOCK_EX)
            # Whoever had it may have removed the directory, and another of that name may stand there now.
            if _stands_at(directory.fd, path):
                yield
                return
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))


def _stands_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def lock_shared(fd: int) -> None:
    """Lock an open directory together with others, for as long as it stays open."""
    _flock(fd, fcntl.LOCK_SH)


def try_lock_alone(fd: int) -> bool:
    """Lock an open directory alone, if nobody else holds it; a lock shared until now may be lost.

    Returns:
        Whether nobody else holds it, as far as the file system can tell.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _flock(fd: int, how: int) -> None:
    try:
        fcntl.flock(fd, how)
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
