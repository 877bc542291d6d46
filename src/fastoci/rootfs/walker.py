"""Ways down from a directory that nothing in the tree can lead astray.

Every step is one name, opened relative to the descriptor of the directory above it, and never through a symbolic link.
Neither `..` nor a path is ever given to the kernel, so that it has nothing to resolve; what `openat2(2)` promises with
RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS holds here on every kernel, and while others move directories about.
"""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["DIRECTORY", "Walker", "remove"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN = 64  # descriptors of one walker: a path may have two thousand parts, and a process a thousand descriptors


class Walker:
    """Holds the descriptors of the directories on the way to where it went last.

    Args:
        root: A descriptor of the directory where every way begins; the caller's.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._names: list[bytes] = []
        self._fds: list[int] = []  # -1 where a descriptor was given up

    @property
    def names(self) -> list[bytes]:
        """Where it went last, or where it stopped on the way there."""
        return list(self._names)

    def go(self, names: list[bytes]) -> int:
        """Return a descriptor of a directory, good until the next call.

        Args:
            names: The way, one name a step.

        Raises:
            OSError: A step leads nowhere (ENOENT), or to no directory, which a symbolic link is not (ENOTDIR, ELOOP).
        """
        depth = len(self._names)
        if self._names != names[:depth]:
            pairs = zip(self._names, names, strict=False)
            depth = next((number for number, (here, wanted) in enumerate(pairs) if here != wanted), len(names))
            self._leave(depth)
        if depth and self._fds[-1] < 0:
            # Given up on the way further down: begin again.
            self._leave(0)
            depth = 0
        fd = self._fds[-1] if depth else self._root
        for name in names[depth:]:
            fd = os.open(name, DIRECTORY, dir_fd=fd)
            self._names.append(name)
            self._fds.append(fd)
            if len(self._fds) > _OPEN and self._fds[-_OPEN] >= 0:
                os.close(self._fds[-_OPEN])
                self._fds[-_OPEN] = -1
        return fd

    def forget(self, names: list[bytes]) -> None:
        """Hold no descriptor of a directory any longer, nor of what is beneath it: it goes, or changes its name."""
        depth = len(names)
        if self._names[:depth] == names:
            self._leave(max(0, depth - 1))

    def close(self) -> None:
        """Close every descriptor but the root's."""
        self._leave(0)

    def _leave(self, depth: int) -> None:
        while len(self._fds) > depth:
            fd = self._fds.pop()
            self._names.pop()
            if fd >= 0:
                os.close(fd)


def remove(directory: int, name: bytes) -> None:
    """Remove what is there of a name, with all that is beneath it. Nothing there is no error.

    Args:
        directory: A descriptor of the directory that has it.
        name: One name in it.

    Raises:
        OSError: Something cannot be removed.
    """
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except OSError as error:
        # Linux says EISDIR, POSIX EPERM, which may mean other things too: rmdir tells.
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        _remove_directory(directory, name)


def _remove_directory(directory: int, name: bytes) -> None:
    # By hand and not by recursion: a tree may be deeper than Python's stack, and than a process has descriptors.
    walker = Walker(directory)
    way: list[bytes] = []
    left = [[name]]  # of each directory on the way, the directories in it that are still there
    try:
        while left:
            if left[-1]:
                way.append(left[-1].pop())
                left.append(_clear(_enter(walker, way)))
                continue
            left.pop()
            if way:
                done = way.pop()
                os.rmdir(done, dir_fd=walker.go(way))
    finally:
        walker.close()


def _enter(walker: Walker, way: list[bytes]) -> int:
    try:
        return walker.go(way)
    except PermissionError:
        # A directory of one's own that one may not read; root is never stopped by that.
        _allow(walker.go(way[:-1]), way[-1])
        return walker.go(way)


def _clear(fd: int) -> list[bytes]:
    """Remove what is in a directory but for directories, and return these."""
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True):
        os.chmod(fd, 0o700)
    with os.scandir(fd) as names:
        found = [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in names]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=fd)
    return [name for name, is_directory in found if is_directory]


def _allow(directory: int, name: bytes) -> None:
    """Let the owner into a directory, and not into what a symbolic link of that name leads to."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.chmod(f"/proc/self/fd/{fd}", 0o700)
    finally:
        os.close(fd)
