"""Reads one layer blob to its end and recomputes what its descriptor and its image's config say about it.

Two threads share the work: one reads, hashes and inflates the blob, the other hashes the tar stream and walks its
headers. At most `_AHEAD` pieces of `_PIECE` bytes wait between them, whatever the blob inflates to.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

from isal import igzip

from fastoci.errors import FastociError, StoreError
from fastoci.parallel import StoppedError
from fastoci.spec.digest import Digest
from fastoci.tarcheck import Problem, TarCheck
from fastoci.threads import start_threads

__all__ = ["Compression", "LayerFacts", "check_layer", "zstd_reader"]

Compression = Literal["none", "gzip", "zstd"]

_PIECE = 1 << 20
_AHEAD = 4
_GRACE = 0.5  # seconds


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
        pieces = _Ahead(lambda: _inflate(raw, compression))
        try:
            for piece in pieces:
                diff.update(piece)
                tar.feed(piece)
        except _BrokenStreamError as error:
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


def zstd_reader() -> Callable[[BinaryIO], BinaryIO] | None:
    """Return what makes a reader of a zstd stream, None where this Python has no decompressor.

    Python 3.14 brings one; before it, `backports.zstd` or `zstandard` do where they happen to be installed.
    """
    for name in ("compression.zstd", "backports.zstd"):
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        return lambda stream: module.ZstdFile(stream, "rb")
    try:
        zstandard: Any = importlib.import_module("zstandard")
    except ImportError:
        return None
    return lambda stream: zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)


class _BrokenStreamError(Exception):
    """A stream that its decompressor refuses, whatever class that module's errors have."""


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
        return self._next(size if size >= 0 else _PIECE)

    def drain(self) -> None:
        """Read what the decompressor left, so that the digest covers the whole blob."""
        while self._next(_PIECE):
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
            raise StoreError(
                f"cannot read {self._name}", path=self._name, cause=error.strerror, errno=error.errno
            ) from error
        self.hash.update(data)
        self.size += len(data)
        return data


def _inflate(raw: _Hashing, compression: Compression) -> Iterator[bytes]:
    if compression == "none":
        while piece := raw.read(_PIECE):
            yield piece
        return
    reader = _reader(raw, compression)
    while True:
        try:
            piece = reader.read(_PIECE)
        except (FastociError, StoppedError, MemoryError):
            raise
        except Exception as error:
            # What isal and zstd raise ranges from zlib.error to EOFError and OverflowError.
            raise _BrokenStreamError((str(error) or type(error).__name__).rstrip(".")) from error
        if not piece:
            return
        yield piece


def _reader(raw: _Hashing, compression: Compression) -> BinaryIO:
    stream = cast("BinaryIO", raw)  # only its read is asked for
    if compression == "gzip":
        # A GzipFile takes any number of members, checks each one's CRC and length, and raises on a cut or a leftover.
        return cast("BinaryIO", igzip.IGzipFile(fileobj=stream, mode="rb"))  # type: ignore[no-untyped-call]  # no types
    make = zstd_reader()
    if make is None:  # the caller asks first; a module does not vanish in between
        raise _BrokenStreamError("no zstd decompressor at hand")
    return make(stream)


class _Ahead(Iterator[bytes]):
    """Runs an iterator in a thread of its own, a few pieces ahead of whoever takes them."""

    def __init__(self, source: Callable[[], Iterator[bytes]]) -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._done = False
        self._thread = threading.Thread(target=self._run, args=(source,), name="fastoci-inflate", daemon=True)
        start_threads([self._thread])

    def __next__(self) -> bytes:
        if self._done:
            raise StopIteration
        item = self._queue.get()
        if isinstance(item, bytes):
            return item
        self._done = True
        if item is None:
            raise StopIteration
        raise item

    def close(self) -> None:
        """Stop the thread and wait for it, but not for long: it may be waiting for a registry."""
        self._closed.set()
        deadline = time.monotonic() + _GRACE
        while self._thread.is_alive() and time.monotonic() < deadline:
            # Empty the queue, or the thread stays where it puts.
            try:
                self._queue.get(timeout=0.01)
            except queue.Empty:
                self._thread.join(0.01)

    def _run(self, source: Callable[[], Iterator[bytes]]) -> None:
        # Whatever goes wrong here is raised where the pieces are taken.
        end: BaseException | None = None
        try:
            for piece in source():
                if self._closed.is_set():
                    break
                self._queue.put(piece)
        except BaseException as error:
            end = error
        self._queue.put(end)
