"""Where the whole command stands: the latest position of every layer and blob, and how fast they move."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fastoci.events import (
    BlobDone,
    BlobProgress,
    CheckProgress,
    LayerPacked,
    LayerProgress,
    LayerScanned,
    LayerUnpacking,
)
from fastoci.units import format_eta, format_position, format_rate, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastoci.events import Event

__all__ = ["Tally"]

_WINDOW_SECONDS = 20.0


class Tally:
    """Adds up events. Not thread safe: its owner holds a lock.

    Args:
        clock: A monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._layers: dict[str, tuple[int, int, int]] = {}
        self._blobs: dict[str, tuple[int, int | None]] = {}
        self._samples: deque[tuple[float, int]] = deque()
        self._verb = "sent"
        self._busy: set[str] = set()

    @property
    def at_work(self) -> int:
        """How many blobs are on their way."""
        return len(self._busy)

    def add(self, event: Event) -> bool:
        """Take one event; return whether it is the first progress of its layer or blob."""
        match event:
            case LayerScanned(layer, size=size):
                self._layers.pop(layer, None)
            case LayerProgress(layer, done, total, written):
                is_new = layer not in self._layers
                self._layers[layer] = done, total, written
                return is_new
            case LayerPacked(layer, tar_size=tar_size, size=size):
                self._layers[layer] = tar_size, tar_size, size
            case LayerUnpacking(layer, done, total):
                self._verb = "unpacked"
                is_new = layer not in self._blobs
                self._blobs[layer] = done, total
                self._sample()
                return is_new
            case BlobProgress(digest, done=done, total=total, pulling=pulling):
                self._verb = "fetched" if pulling else "sent"
                is_new = digest not in self._blobs
                self._blobs[digest] = done, total
                self._busy.add(digest)
                self._sample()
                return is_new
            case CheckProgress(name, done, total):
                self._verb = "checked"
                is_new = name not in self._blobs
                self._blobs[name] = done, total
                self._sample()
                return is_new
            case BlobDone(digest, size=size, how=how, key=key):
                digest = key or digest
                self._busy.discard(digest)
                if digest in self._blobs or how in {"pushed", "pulled"}:
                    self._blobs[digest] = size, size
                    self._sample()
        return False

    def status(self) -> str:
        """Return one line about the whole: what is packed, what is sent, how fast, and how long it will take."""
        parts = []
        if self._layers:
            done, total, written = map(sum, zip(*self._layers.values(), strict=True))
            if done < total:
                parts.append(f"packed {format_position(done, total)} → {format_size(written)}")
            else:
                parts.append(f"packed {format_size(done)} → {format_size(written)}")
        if self._blobs:
            parts.append(self._sent())
        return "; ".join(parts) or "working"

    def _sent(self) -> str:
        done = sum(sent for sent, _ in self._blobs.values())
        sizes = [size for _, size in self._blobs.values() if size is not None]
        total = sum(sizes) if len(sizes) == len(self._blobs) else None
        rate = self._rate()
        parts = [f"{self._verb} {format_size(done) if total is None else format_position(done, total)}"]
        if rate > 0:
            parts.append(format_rate(rate))
            if total is not None and done < total:
                parts.append(f"ETA {format_eta((total - done) / rate)}")
        return ", ".join(parts)

    def _sample(self) -> None:
        now = self._clock()
        self._samples.append((now, sum(done for done, _ in self._blobs.values())))
        while now - self._samples[0][0] > _WINDOW_SECONDS and len(self._samples) > 2:
            self._samples.popleft()

    def _rate(self) -> float:
        if not self._samples:
            return 0.0
        (since, low), (_, high) = self._samples[0], self._samples[-1]
        elapsed = self._clock() - since
        return max(0.0, (high - low) / elapsed) if elapsed > 0 else 0.0
