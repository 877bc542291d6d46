"""Reads one layer blob to its end and recomputes what its descriptor and its image's config say about it.

Two threads share the work: one reads, hashes and inflates the blob, the other hashes the tar stream and walks its
headers. A few pieces wait between them, whatever the blob inflates to.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from fastoci.checks.tar import Problem, TarCheck
from fastoci.errors import FastociError, StoreError
from fastoci.images.tarstream import PIECE, Ahead, BrokenStreamError, inflate
from fastoci.parallel import StoppedError
from fastoci.spec.digest import Digest
from fastoci.spec.mediatypes import Compression

__all__ = ["LayerFacts", "check_layer"]


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What a layer blob turned out to be.

    Attributes:
        digest: Of the blob's bytes.
        size: Of the blob, in bytes; reading stops one byte after what the descriptor says.
        diff_id: Of the tar stream; None where it could not be read to its end.
        tar_size: Bytes of the tar stream, None as above.
        entries: Entries in the tar.
        problems: What is wrong with the compression or the tar.
    """

    digest: Digest
    size: int
    diff_id: Digest | None
    tar_size: int | None
    entries: int
    problems: tuple[Problem, ...]


def check_layer(
    stream: BinaryIO,
    *,
    algorithm: str,
    limit: int,
    compression: Compression | None,
    name: str = "a blob",
    diff_algorithm: str = "sha256",
    stopped: Callable[[], bool] = lambda: False,
) -> LayerFacts:
    """Read a blob to its end.

    Args:
        stream: The blob; it is read once, forward, and left open.
        algorithm: The algorithm of the blob's digest.
        limit: The size that the descriptor says, in bytes: no more than one byte beyond it is read.
        compression: How the tar is compressed; None looks at the bytes of the blob alone.
        name: What to call the blob where it cannot be read.
        diff_algorithm: The algorithm of the diff_id.
        stopped: Asked before each read; true ends the work.

    Returns:
        What the blob turned out to be.

    Raises:
        StoppedError: If `stopped` said so.
        StoreError: If the disk cannot be read.
        FastociError: Whatever else the stream raises.
    """
    raw = _Hashing(stream, algorithm, limit, name, stopped)
    diff = hashlib.new(diff_algorithm)
    tar = TarCheck()
    problems: list[Problem] = []
    whole = compression is not None
    if compression is not None:
        pieces = Ahead(lambda: inflate(cast("BinaryIO", raw), compression))  # only its read is asked for
        try:
            for piece in pieces:
                diff.update(piece)
                tar.feed(piece)
        except BrokenStreamError as error:
            whole = False
            problems.append(Problem("error", f"the {compression} stream is broken: {error}"))
        else:
            tar.finish()
        finally:
            pieces.close()
    raw.drain()
    return LayerFacts(
        digest=Digest(algorithm, raw.hash.hexdigest()),
        size=raw.size,
        diff_id=Digest(diff_algorithm, diff.hexdigest()) if whole else None,
        tar_size=tar.size if whole else None,
        entries=tar.entries,
        problems=(*problems, *tar.problems),
    )


class _Hashing(io.RawIOBase):
    """A blob's bytes on their way to the decompressor, hashed and counted as they pass."""

    def __init__(self, stream: BinaryIO, algorithm: str, limit: int, name: str, stopped: Callable[[], bool]) -> None:
        self.hash = hashlib.new(algorithm)
        self.size = 0
        self._stream = stream
        self._limit = limit
        self._name = name
        self._stopped = stopped

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer; typing has no name for it in 3.11
        with memoryview(buffer).cast("B") as view:
            data = self._next(len(view))
            view[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        return self._next(size if size >= 0 else PIECE)

    def drain(self) -> None:
        """Read what the decompressor left, so that the digest covers the whole blob."""
        while self._next(PIECE):
            pass

    def _next(self, size: int) -> bytes:
        if self._stopped():
            raise StoppedError
        # One byte more than there may be, so that a blob that is too long shows itself.
        try:
            data = self._stream.read(min(size, self._limit + 1 - self.size))
        except FastociError:
            raise
        except OSError as error:
            # Not one of the decompressor's, which would be the image's fault.
            raise StoreError.from_os(error, f"cannot read {self._name}", path=self._name) from error
        self.hash.update(data)
        self.size += len(data)
        return data
