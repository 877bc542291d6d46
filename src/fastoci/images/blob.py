"""A blob of an image, as an upload reads it: from any offset, and sent by the kernel where it can be."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO

from fastoci.errors import BlobMismatchError, FastociError, StoreError
from fastoci.parallel import StoppedError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor

__all__ = ["ImageBlob"]


class ImageBlob:
    """A blob of an image source; a `BlobSource` and a `FileSource` of the registry room.

    It is opened when it is first read: what stands already, or can be mounted, is never asked for.

    Args:
        source: Where it is.
        descriptor: The blob's.
        stop: Ends the upload when it is set.
    """

    def __init__(self, source: ImageSource, descriptor: Descriptor, stop: threading.Event) -> None:
        self._source = source
        self._name = source.name
        self._descriptor = descriptor
        self._stop = stop
        self._stream: BinaryIO | None = None
        self._position = 0  # of a stream that is no file of its own
        self._identity: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Its bytes, as its descriptor says."""
        return self._descriptor.size

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset` on, at least one.

        Raises:
            StoppedError: It is not to be read any more.
            FastociError: It shrank, changed, or cannot be read.
        """
        with self._explained():
            stream = self._at(offset)
            if self._identity is not None:
                data = os.pread(stream.fileno(), size, offset)
            else:
                data = stream.read(size)
                self._position += len(data)
        if not data:
            raise self._changed(f"it ends at {offset:,} of {self.size:,} bytes")
        return data

    def file_at(self, offset: int) -> tuple[int, int] | None:
        """Return the descriptor of the file that it is and where in it the byte at `offset` is, None where it is none.

        Raises:
            StoppedError: It is not to be read any more.
            FastociError: It changed, or cannot be opened.
        """
        with self._explained():
            stream = self._at(offset)
            return None if self._identity is None else (stream.fileno(), offset)

    def close(self) -> None:
        """Let go of it."""
        if self._stream is not None:
            self._stream.close()

    def _at(self, offset: int) -> BinaryIO:
        """Return the stream at an offset; it matters only where it is no file of its own."""
        if self._stop.is_set():
            raise StoppedError
        stream = self._stream
        if stream is not None and self._identity is None and offset != self._position and not stream.seekable():
            stream.close()
            stream = None
        if stream is None:
            stream = self._stream = self._open(offset)
            self._identity = _identity(stream)
        elif _identity(stream) != self._identity:
            raise self._changed("its file was written to")
        if self._identity is None and offset != self._position:
            stream.seek(offset)
            self._position = offset
        return stream

    def _open(self, offset: int) -> BinaryIO:
        if self._source.origin(self._descriptor.digest) is None:
            self._position = 0
            return self._source.open_blob(self._descriptor)
        # From a registry; where it begins later, whoever takes it compares the digest of the whole.
        self._position = offset
        return self._source.open_verified(self._descriptor, offset)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FastociError:
            raise
        except OSError as error:
            name = f"the blob {self._descriptor.digest} of {self._name}"
            raise StoreError.from_os(error, f"cannot read {name}", path=self._name) from error

    def _changed(self, cause: str) -> BlobMismatchError:
        return BlobMismatchError(f"the blob {self._descriptor.digest} changed while it was sent", cause=cause)


def _identity(stream: BinaryIO) -> tuple[int, int] | None:
    """Return what changes when a file does; None for a stream that is no file of its own."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, AttributeError):
        return None
    return found.st_size, found.st_mtime_ns
