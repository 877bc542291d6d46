"""Layers that are made again, written nowhere: their digests, and their entries beside those of an image's layers."""

from __future__ import annotations

import hashlib
import queue
import threading
from contextlib import closing
from typing import TYPE_CHECKING

from fastoci.ending import Ending
from fastoci.parallel import StoppedError
from fastoci.rootfs.limits import Limits, Usage
from fastoci.tar.reader import TarReader, shown
from fastoci.threads import Crew, empty

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastoci.layer.pack import PlannedLayer
    from fastoci.spec.digest import Digest
    from fastoci.tar.reader import TarEntry

__all__ = ["Facts", "Nowhere", "difference", "facts_in", "facts_made"]

_AHEAD = 4

Facts = tuple[str, ...]
"""What an archive says of one path, each thing as it is told."""


class Nowhere:
    """A blob that is hashed and not kept."""

    def write(self, data: bytes | memoryview) -> None:
        """Let it go."""

    def commit(self, digest: Digest) -> None:
        """Nothing becomes of it."""


def facts_made(planned: PlannedLayer, what: str) -> dict[bytes, Facts]:
    """Return what a layer that is not compressed would say of each path, by packing it.

    Args:
        planned: The layer.
        what: What to call it in errors.

    Raises:
        TreeError: The source cannot be packed.
    """
    with closing(_Made(planned)) as made:
        return facts_in(TarReader(iter(made), what, Usage(Limits(), adjustable=False)))


def facts_in(reader: TarReader) -> dict[bytes, Facts]:
    """Return what an archive says of each path; the last entry of one counts.

    Raises:
        InvalidImageError: It is no valid tar.
    """
    return {entry.path: _of(entry, reader) for entry in reader.entries()}


def difference(there: Facts | None, here: Facts | None) -> str:
    """Say how an image's entry differs from a tree's; None is an entry that is not there."""
    if there is None:
        return "only in the tree"
    if here is None:
        return "only in the image"
    told = [
        f"{name} {one} in the image, {other} in the tree"
        for name, one, other in zip(_NAMES, there, here, strict=True)
        if one != other
    ]
    return "; ".join(told)


class _Made(Ending):
    """The tar stream that a plan gives, made in a thread of its own, a few pieces ahead of whoever takes them."""

    def __init__(self, planned: PlannedLayer) -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._crew = Crew(self._stop)
        try:
            self._crew.start("fastoci-rebuild", lambda: self._run(planned))
        except BaseException:
            self.close()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes, in the pipeline's own thread; its buffer is used again."""
        if self._closed.is_set():
            raise StoppedError
        self._queue.put(bytes(data))

    def commit(self, digest: Digest) -> None:
        """Nothing becomes of the blob."""

    def __iter__(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def end(self) -> None:
        """Stop the thread and wait for it."""
        self._crew.close()

    def _stop(self) -> None:
        self._closed.set()
        # Or the thread stays where it puts. It puts twice more at most, for which there is room.
        empty(self._queue)

    def _run(self, planned: PlannedLayer) -> None:
        end: BaseException | None = None
        try:
            planned.pack(self)
        except BaseException as error:  # raised where the pieces are taken
            end = error
        self._queue.put(end)


_NAMES = ("kind", "mode", "owner", "time", "size", "target", "device", "extended attributes", "content")


def _of(entry: TarEntry, reader: TarReader) -> Facts:
    content = hashlib.sha256()
    for chunk in reader.data():
        content.update(chunk)
    return (
        entry.kind,
        f"{entry.mode:04o}",
        f"{entry.uid}:{entry.gid}",
        f"{entry.mtime / 10**9:.9f}".rstrip("0").rstrip("."),
        f"{entry.size:,}",
        shown(entry.target),
        f"{entry.device[0]}, {entry.device[1]}",
        ", ".join(f"{shown(key)}={shown(value)}" for key, value in sorted(entry.xattrs.items())) or "none",
        f"sha256:{content.hexdigest()}",
    )
