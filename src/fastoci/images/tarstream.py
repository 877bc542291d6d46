"""A layer's tar stream out of its blob: inflated in a thread of its own, a few pieces ahead of whoever takes them."""

from __future__ import annotations

import importlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from isal import igzip

from fastoci.ending import Ending
from fastoci.errors import FastociError
from fastoci.layer.zstd import find_zstd
from fastoci.parallel import StoppedError
from fastoci.spec.mediatypes import Compression
from fastoci.threads import Crew, empty

__all__ = ["PIECE", "Ahead", "BrokenStreamError", "decompressor", "inflate", "pieces_of", "zstd_reader"]

PIECE = 1 << 20
"""The most bytes that are handed on at once."""

_AHEAD = 4
_GRACE = 0.5  # seconds


class BrokenStreamError(Exception):
    """A stream that its decompressor refuses, whatever class that module's errors have."""


def zstd_reader() -> Callable[[BinaryIO], BinaryIO] | None:
    """Return what makes a reader of a zstd stream, None where this Python has no decompressor.

    Python 3.14 brings one; before it, `backports.zstd` or `zstandard` do where they happen to be installed.
    """
    module = find_zstd()
    if module is not None:
        return lambda stream: cast("BinaryIO", module.ZstdFile(stream, "rb"))
    try:
        zstandard: Any = importlib.import_module("zstandard")
    except ImportError:
        return None
    return lambda stream: zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)


def decompressor(compression: Compression | None) -> Callable[[BinaryIO], BinaryIO] | None:
    """Return what makes a reader of a stream, None where nothing here inflates it; of "none" it is the stream."""
    match compression:
        case "none":
            return lambda stream: stream
        case "gzip":
            # It takes any number of members, checks each one's CRC and length, and raises on a cut or a leftover.
            gzip: Any = igzip.IGzipFile  # isal's types leave its parameters out
            return lambda stream: cast("BinaryIO", gzip(fileobj=stream, mode="rb"))
        case "zstd":
            return zstd_reader()
    return None


def inflate(blob: BinaryIO, compression: Compression) -> Iterator[bytes]:
    """Yield the tar stream in pieces of at most PIECE bytes.

    Args:
        blob: The layer's bytes, read forward; only its `read` is asked for.
        compression: How they are compressed.

    Raises:
        BrokenStreamError: They are not.
        FastociError: Whatever the blob raises.
    """
    if compression == "none":
        yield from pieces_of(blob)
        return
    make = decompressor(compression)
    if make is None:  # the caller asks first; a module does not vanish in between
        raise BrokenStreamError(f"no {compression} decompressor at hand")
    reader = make(blob)
    while True:
        try:
            piece = reader.read(PIECE)
        except (FastociError, StoppedError, MemoryError):
            raise
        except Exception as error:
            # What isal and zstd raise ranges from zlib.error to EOFError and OverflowError.
            raise BrokenStreamError((str(error) or type(error).__name__).rstrip(".")) from error
        if not piece:
            return
        yield piece


def pieces_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a stream in pieces of at most PIECE bytes; only its `read` is asked for."""
    while piece := stream.read(PIECE):
        yield piece


class Ahead(Ending, Iterator[bytes]):
    """Runs an iterator in a thread of its own, a few pieces ahead of whoever takes them.

    Args:
        source: Makes the iterator, in that thread.
        name: Of the thread.
    """

    def __init__(self, source: Callable[[], Iterator[bytes]], name: str = "fastoci-inflate") -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._done = False
        self._crew = Crew(self._stop, _GRACE)
        try:
            self._crew.start(name, lambda: self._run(source))
        except BaseException:
            self.close()
            raise

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

    def end(self) -> None:
        """Stop the thread and wait for it, but not for long: it may be waiting for a registry."""
        self._crew.cancel()

    def _stop(self) -> None:
        self._closed.set()
        # Or the thread stays where it puts. It puts twice more at most, for which there is room.
        empty(self._queue)

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
