"""The directory that an image is unpacked into: it is there whole, or not at all.

Where there is none yet, the work is done in one beside it, which gets its name in the end. One that is there and empty
is filled, and emptied again if that fails.
"""

from __future__ import annotations

import contextlib
import os
import tempfile

from fastoci.ending import Ending, OpenFile
from fastoci.errors import StoreError
from fastoci.rootfs.walker import remove

__all__ = ["Target"]


class Target(Ending):
    """A directory to be filled; a context manager, in which `fd` is where.

    Args:
        path: The directory.
        merge: Whether there may be something in it.

    Attributes:
        is_new: Whether there was none before.
        is_occupied: Whether there is something in it.
        is_left: Whether something of a failed work stayed there.

    Raises:
        StoreError: It is not empty, is no directory, or cannot be made.
    """

    def __init__(self, path: str, *, merge: bool = False) -> None:
        self.path = path
        self.is_left = False
        self._temporary: str | None = None
        self._parent, self._name = os.path.split(path.rstrip("/") or "/")
        try:
            try:
                self._opened = self._open(path)
                self.is_occupied = bool(os.listdir(self.fd))
            except FileNotFoundError:
                self._temporary = tempfile.mkdtemp(prefix=f".{self._name[:100]}.", dir=self._parent or ".")
                self._opened = self._open(self._temporary)
                self.is_occupied = False
        except OSError as error:
            raise self._fault(error) from error
        self.is_new = self._temporary is not None
        if self.is_occupied and not merge:
            self._opened.close()
            raise StoreError(
                f"{path} is not empty",
                path=path,
                cause="an image is unpacked into a new or an empty directory",
                hint="--merge applies it to what is there, and its whiteouts remove of that",
            )

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return self._opened.fd

    def end(self) -> None:
        """Let the directory appear under its name, or leave nothing of it."""
        if self._opened.fd < 0:
            return
        if self.failed:
            self._abandon()
        elif self._temporary is not None:
            try:
                os.rename(self._temporary, os.path.join(self._parent, self._name))
            except OSError as error:
                self._abandon()
                self._opened.close()
                raise self._fault(error) from error
        self._opened.close()

    def _abandon(self) -> None:
        """Leave nothing, as far as that is possible, and say if it is not."""
        if self.is_occupied:
            self.is_left = True
            return
        try:
            for name in os.listdir(self.fd):
                remove(self.fd, os.fsencode(name))
        except OSError:
            self.is_left = True
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.rmdir(self._temporary)

    @property
    def place(self) -> str:
        """Where the work is done."""
        return self._temporary or self.path

    def _open(self, path: str) -> OpenFile:
        return OpenFile(path, os.O_RDONLY | os.O_DIRECTORY)

    def _fault(self, error: OSError) -> StoreError:
        hint = "the directory that it is to stand in has to be there" if isinstance(error, FileNotFoundError) else None
        return StoreError.from_os(error, f"cannot unpack into {self.path}", path=self.path, hint=hint)
