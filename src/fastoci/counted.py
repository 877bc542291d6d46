"""A stream that counts what is read of it: how far a blob is that is on its way somewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

__all__ = ["CountedReader"]


class CountedReader(io.RawIOBase):
    """Another stream, read through this one.

    Args:
        stream: The other; it stays the caller's to close.
        advance: Told how many more bytes were read, none at the end.

    Attributes:
        size: How many bytes were read so far.
    """

    def __init__(self, stream: BinaryIO, advance: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        self.size = 0
        self._stream = stream
        self._advance = advance

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer, or a part of it; 0 is the end."""
        with memoryview(buffer).cast("B") as view:
            data = self.read(len(view))
            view[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that there are if it is negative; none at the end."""
        data = self._stream.read(size)
        self.size += len(data)
        self._advance(len(data))
        return data
