"""Fetching a blob into a layout: what stands is not read, and what an earlier run left is gone on with.

A blob gets its name only after its size and its digest were found right.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastoci.errors import BlobMismatchError, InvalidImageError
from fastoci.events import BlobDone, BlobProgress, PullSummary, Retry, Sink, Throttle
from fastoci.parallel import StoppedError
from fastoci.store.partial import PartialBlob

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.store.blobs import BlobWriter
    from fastoci.store.layout import Layout
    from fastoci.store.verified import VerifiedStream

__all__ = ["Fetched", "fetch_blob", "summary_of"]

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """What fetching one blob came to, in bytes.

    Attributes:
        fetched: Read now.
        skipped: Not read, because the blob stood.
        kept: Left by an earlier run.
    """

    fetched: int = 0
    skipped: int = 0
    kept: int = 0


def fetch_blob(
    source: ImageSource, descriptor: Descriptor, layout: Layout, *, title: str, sink: Sink, stop: threading.Event
) -> Fetched:
    """Have a blob stand in a layout.

    What was read before it failed or was stopped stays, and is gone on with the next time.

    Args:
        source: Where to read it.
        descriptor: The blob's.
        layout: Where it shall stand.
        title: What to call it on screen.
        sink: Told how it goes on.
        stop: Ends the work when it is set.

    Raises:
        StoppedError: `stop` was set.
        BlobMismatchError: The registry has other bytes than the descriptor says.
        InvalidImageError: The same of a layout or archive.
        RegistryError: The registry does not give it, or not after all retries.
        StoreError: The disk does not take it.
    """
    if layout.has_blob(descriptor.digest, descriptor.size):
        sink(BlobDone(str(descriptor.digest), title, descriptor.size, "skipped", 0.0))
        return Fetched(skipped=descriptor.size)
    started = time.monotonic()
    with layout.partial_writer(descriptor) or layout.blob_writer() as writer:
        fetch = _Fetch(source, descriptor, writer, title, sink, stop)
        kept = fetch.run()
    sink(BlobDone(str(descriptor.digest), title, descriptor.size, "pulled", time.monotonic() - started))
    return Fetched(fetched=descriptor.size - kept, kept=kept)


class _Fetch:
    """One blob on its way into a writer."""

    def __init__(
        self,
        source: ImageSource,
        descriptor: Descriptor,
        writer: BlobWriter,
        title: str,
        sink: Sink,
        stop: threading.Event,
    ) -> None:
        self._source = source
        self._descriptor = descriptor
        self._writer = writer
        self._title = title
        self._sink = sink
        self._stop = stop

    def run(self) -> int:
        """Fetch it, and return how many bytes were there before."""
        partial = self._writer if isinstance(self._writer, PartialBlob) else None
        kept = 0 if partial is None else partial.size
        while True:
            try:
                self._receive(partial, kept)
            except (BlobMismatchError, InvalidImageError) as error:
                if partial is not None:
                    partial.restart()
                if not kept:
                    raise
                # Whether it is the source that is wrong or what was left here, one more reading tells.
                self._sink(Retry(self._title, f"what an earlier run left is not its beginning ({error.cause})", 0.0))
                kept = 0
            else:
                self._writer.commit(self._descriptor.digest)
                return kept

    def _receive(self, partial: PartialBlob | None, offset: int) -> None:
        hasher = self._descriptor.digest.hasher()
        if partial is not None and offset:
            partial.digest_into(hasher)
            if offset < self._descriptor.size:
                self._sink(Retry(self._title, "an earlier run was stopped", 0.0, offset, pulling=True))
        with self._source.open_verified(self._descriptor, offset, hasher) as stream:
            self._copy(stream, offset)

    def _copy(self, stream: VerifiedStream, offset: int) -> None:
        """Read the blob's stream, which begins at `offset`, to its end."""
        throttle = Throttle()
        digest, size = str(self._descriptor.digest), self._descriptor.size
        self._sink(BlobProgress(digest, self._title, offset, size, pulling=True))
        while True:
            if self._stop.is_set():
                raise StoppedError
            # What one read brings, however little, is written before the next one may fail.
            piece = stream.read1(_PIECE)
            if not piece:
                return
            self._writer.write(piece)
            offset += len(piece)
            if throttle.due():
                self._sink(BlobProgress(digest, self._title, offset, size, pulling=True))


def summary_of(results: Iterable[Fetched], mended: int) -> PullSummary:
    """Return the sum of several.

    Args:
        results: What fetching each blob came to.
        mended: See `ImageSource.mended`.
    """
    results = list(results)
    return PullSummary(
        fetched=sum(result.fetched for result in results),
        skipped=sum(result.skipped for result in results),
        resumed=sum(result.kept > 0 for result in results) + mended,
    )
