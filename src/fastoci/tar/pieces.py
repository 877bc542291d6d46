"""A stream that arrives in pieces, read as if it were a file that only goes forward."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

__all__ = ["FilePieces", "Pieces"]

_HEADERS = 4096
"""Bytes that are read of a file at once: a header, and more of them where what they describe is small."""


class Pieces:
    """Takes pieces of any size and gives what is asked for.

    Args:
        pieces: The stream.

    Attributes:
        position: How many bytes were taken.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._view = memoryview(b"")
        self._at = 0
        self.position = 0

    def offer(self, take: Callable[[bytes, int], int]) -> None:
        """Let somebody take bytes as they stand.

        Args:
            take: Given a piece and where in it the next byte is; returns where the first one is that it did not take.
        """
        if self._at < len(self._piece) or self._advance():
            at = take(self._piece, self._at)
            self.position += at - self._at
            self._at = at

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer at the end of the stream."""
        at = self._at
        if at + size <= len(self._piece):
            self._at = at + size
            self.position += size
            return self._piece[at : at + size]
        return b"".join(self.chunks(size))

    def chunks(self, size: int) -> Iterator[bytes | memoryview]:
        """Yield the next `size` bytes in chunks as they came; fewer at the end of the stream."""
        while size:
            if self._at == len(self._piece) and not self._advance():
                return
            step = min(size, len(self._piece) - self._at)
            chunk = self._view[self._at : self._at + step]
            # Counted before it is given: whoever takes it may not come back for more.
            self._at += step
            self.position += step
            size -= step
            yield chunk

    def skip(self, size: int) -> int:
        """Pass over `size` bytes and return how many were there."""
        if self._at + size <= len(self._piece):
            self._at += size
            self.position += size
            return size
        start = self.position
        for _ in self.chunks(size):
            pass
        return self.position - start

    def _advance(self) -> bool:
        for piece in self._pieces:
            if piece:
                self._piece, self._view, self._at = piece, memoryview(piece), 0
                return True
        return False


class FilePieces(Pieces):
    """The same of a file, in which what is passed over is not read.

    Args:
        fd: A descriptor that can be read at any position; the caller's.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(self._read())
        self._fd = fd

    def skip(self, size: int) -> int:
        """Pass over `size` bytes and return how many were there."""
        left = len(self._piece) - self._at
        if size > left:
            size = min(size, left + max(0, os.fstat(self._fd).st_size - self.position - left))
        self._at = min(len(self._piece), self._at + size)
        self.position += size
        return size

    def _read(self) -> Iterator[bytes]:
        while piece := os.pread(self._fd, _HEADERS, self.position):
            yield piece
