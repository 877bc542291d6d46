"""Reading a blob with its digest checked on the way: no stream of wrong bytes comes to its end."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from fastoci.errors import InvalidImageError
from fastoci.store.faults import explained

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from fastoci.spec.descriptor import Descriptor

__all__ = ["Hasher", "VerifiedStream", "open_verified"]

# What is read of a blob from wherever it is: buffered, so that `read1` hands out what there is.
VerifiedStream: TypeAlias = io.BufferedReader | io.BytesIO


class Hasher(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all that was taken."""


class _Verified(io.RawIOBase):
    """Hands out a blob's last bytes only after size and digest were found right."""

    def __init__(self, stream: BinaryIO, descriptor: Descriptor, path: str, offset: int, hasher: Hasher | None) -> None:
        super().__init__()
        self._stream = stream
        self._descriptor = descriptor
        self._path = path
        self._left = descriptor.size - offset
        self._hasher = hasher
        if not self._left:
            self._check()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")[: self._left]
        if not view:
            return 0
        with explained(f"cannot read {self._path}", self._path):
            data = self._stream.read(len(view))
        if not data:
            raise self._damaged(f"it ends {self._left:,} bytes before its end")
        view[: len(data)] = data
        if self._hasher is not None:
            self._hasher.update(data)
        self._left -= len(data)
        if not self._left:
            self._check()
        return len(data)

    def _check(self) -> None:
        if self._hasher is not None and self._hasher.hexdigest() != self._descriptor.digest.hex:
            found = f"{self._descriptor.digest.algorithm}:{self._hasher.hexdigest()}"
            raise self._damaged(f"its content has the digest {found}")

    def _damaged(self, cause: str) -> InvalidImageError:
        digest = self._descriptor.digest
        return InvalidImageError(
            f"the blob {digest} in {self._path} is not what it should be",
            cause=cause,
            hint="the file is damaged: build or copy the image again",
            digest=str(digest),
        )

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


def open_verified(
    stream: BinaryIO, descriptor: Descriptor, path: str, offset: int = 0, hasher: Hasher | None = None
) -> io.BufferedReader:
    """Return a blob's bytes from an offset on; the end of a stream of wrong ones is an error.

    Args:
        stream: The blob, which can seek; closed with what is returned.
        descriptor: The blob's.
        path: Of the store, for messages.
        offset: The first byte that is wanted.
        hasher: What has taken the bytes before it. None where that is 0; with another offset it means that the digest
            is somebody else's to check.

    Raises:
        InvalidImageError: The digest's algorithm is not known here.
        StoreError: The stream cannot seek.
    """
    if offset:
        with explained(f"cannot read {path}", path):
            stream.seek(offset)
    elif hasher is None:
        hasher = descriptor.digest.hasher()
    return io.BufferedReader(_Verified(stream, descriptor, path, offset, hasher), 1 << 20)
