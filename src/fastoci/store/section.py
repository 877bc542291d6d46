"""A part of a file as a file of its own."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, cast

from fastoci.store.faults import explain

__all__ = ["open_section"]


class _Section(io.RawIOBase):
    """Bytes `start` to `start + size` of an open file. It has a descriptor of its own, but no position in common."""

    def __init__(self, fd: int, start: int, size: int, path: str) -> None:
        super().__init__()
        self._fd = os.dup(fd)
        self._start = start
        self._size = size
        self._path = path
        self._position = 0

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - whatever has a writable buffer
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._position)]
        if not view:
            return 0
        try:
            done = os.preadv(self._fd, [view], self._start + self._position)
        except OSError as error:
            raise explain(error, f"cannot read {self._path}", self._path) from error
        self._position += done
        return done

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the start")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)


def open_section(fd: int, start: int, size: int, path: str) -> BinaryIO:
    """Return a part of an open file, to be read and closed on its own.

    Args:
        fd: The file.
        start: Its first byte.
        size: How many bytes it has.
        path: The file, for messages.
    """
    return cast("BinaryIO", io.BufferedReader(_Section(fd, start, size, path), 1 << 16))
