"""Paths of an archive, resolved beneath a directory as they would be if it were `/`.

A layer may well reach through a symbolic link of a layer below (`lib` that is `usr/lib`, say), and runtimes follow it
within the root. So do these: a link's target is read and walked, absolute ones from the root, and `..` stops there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from fastoci.rootfs.walker import Walker

__all__ = ["PATH_LIMIT", "Beneath", "EntryError", "Place", "split"]

PATH_LIMIT = 1 << 15
"""Bytes of a path: the kernel takes 4,096 at once, and lets longer ones be made step by step."""

_LINKS = 40  # followed in one path, as by the kernel (path_resolution(7))
_STEPS = 1000  # followed or gone up again for one path: a target may hold a thousand `..`


class EntryError(ValueError):
    """What an entry says means nothing beneath the root; and why."""


class Place:
    """A directory in which something is to be made or removed.

    Args:
        fd: Its descriptor, good until the next path is resolved.
        names: Where it really is, from the root.
    """

    __slots__ = ("fd", "names", "path")

    def __init__(self, fd: int, names: list[bytes]) -> None:
        self.fd = fd
        self.names = names
        self.path = b"/".join(names)

    def child(self, name: bytes) -> bytes:
        """Return the path of a name in it, from the root."""
        return self.path + b"/" + name if self.path else name


def split(path: bytes) -> list[bytes]:
    """Return the names of which a path of an archive consists, from the root; none is the root itself.

    Raises:
        EntryError: It leads above the root, or is longer than any system takes.
    """
    if len(path) > PATH_LIMIT:
        raise EntryError(f"a path of {len(path):,} bytes, over {PATH_LIMIT:,}")
    names: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            if not names:
                raise EntryError("the path leads above the root")
            names.pop()
        elif name not in (b"", b"."):
            names.append(name)
    return names


class Beneath:
    """Resolves the paths of an archive.

    Args:
        root: A descriptor of the directory; the caller's.
        settle: Called before anything is said of a path that is no plain way down: the tree is then to be what the
            entries so far have made of it.
    """

    def __init__(self, root: int, settle: Callable[[], None] = lambda: None) -> None:
        self.root = root
        self._settle = settle
        self._walker = Walker(root)
        # Of hard links' targets: one walker for both would go up and down for each of them.
        self._targets = Walker(root)
        self._last: tuple[list[bytes], Place] | None = None

    def close(self) -> None:
        """Close the descriptors of what was resolved."""
        self._last = None
        self._walker.close()
        self._targets.close()

    def find(self, names: list[bytes]) -> Place | None:
        """Return the directory that a path means, None where there is none.

        Raises:
            EntryError: Its symbolic links lead in a circle.
            OSError: It cannot be looked for.
        """
        try:
            return self._resolve(self._targets, names, made=None)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def place(self, names: list[bytes], made: list[Place]) -> Place:
        """Return the directory that a path means, and make what is missing of it.

        Args:
            names: The path.
            made: Given the directories that were made.

        Raises:
            EntryError: A part of it is no directory, or its symbolic links lead in a circle.
            OSError: A directory cannot be made.
        """
        last = self._last
        if last is not None and last[0] == names:
            return last[1]
        try:
            found = self._resolve(self._walker, names, made)
        except NotADirectoryError as error:
            raise EntryError("a part of its path is no directory") from error
        # Directories that were made on the way moved the walker, but not the descriptor at its end.
        self._last = names, found
        return found

    def forget(self, names: list[bytes]) -> None:
        """Take note that a name is about to be removed, from where it really is."""
        self._walker.forget(names)
        self._targets.forget(names)
        self._last = None

    def forget_links(self) -> None:
        """Take note that something was replaced that is no directory, and may be a link on the way of the last path."""
        if self._last is not None and self._last[0] != self._last[1].names:
            self._last = None

    def _resolve(self, walker: Walker, names: list[bytes], made: list[Place] | None) -> Place:
        try:
            return Place(walker.go(names), names)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        self._settle()
        return self._step_by_step(walker, names, made)

    def _step_by_step(self, walker: Walker, names: list[bytes], made: list[Place] | None) -> Place:
        """Resolve a path in which something is missing, or a symbolic link."""
        done: list[bytes] = []  # a real way
        left = list(names)
        links = steps = 0
        while steps < _STEPS:
            # Of a link's target may come `..`, which is above what was really reached, and nothing of words.
            run = left[: left.index(b"..")] if b".." in left else left
            try:
                walker.go(done + run)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                reached = walker.names
                name, left = run[len(reached) - len(done)], left[len(reached) - len(done) + 1 :]
                done = reached
                if error.errno == errno.ENOENT:
                    if made is None:
                        raise
                    os.mkdir(name, 0o700, dir_fd=walker.go(done))
                    done = [*done, name]
                    made.append(Place(-1, done))
                    continue
                target = _link(walker.go(done), name, error)
                links += 1
                steps += 1
                if links > _LINKS:
                    break
                if target.startswith(b"/"):
                    done = []
                left = [part for part in target.split(b"/") if part not in (b"", b".")] + left
            else:
                done, left = done + run, left[len(run) :]
                if not left:
                    return Place(walker.go(done), done)
                done, left = done[:-1], left[1:]
                steps += 1
        raise EntryError("the symbolic links in its path lead in a circle")


def _link(directory: int, name: bytes, error: OSError) -> bytes:
    """Return the target of a symbolic link; raise what is given where it is none."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as other:
        if other.errno == errno.EINVAL:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from error
        raise
