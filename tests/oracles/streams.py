"""Layers whose blocks lie in memory, for what packs, sends and packs again: they count, wait and change on demand."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fastoci.events import discard
from fastoci.layer.blocks import SourceFacts
from fastoci.layer.fingerprint import Fingerprint
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import PlannedLayer


class MemoryBlocks:
    """Blocks of a tar stream from memory.

    Attributes:
        blocks: What is read; may be changed.
        count: How many of them are planned by now; `grow` plans more.
        read_numbers: The number of each block that was read.
        open: How many readers are open.
    """

    def __init__(self, blocks: Sequence[bytes], *, planned: int | None = None) -> None:
        self.blocks = list(blocks)
        self.count = len(self.blocks) if planned is None else planned
        self.read_numbers: list[int] = []
        self.open = 0
        self._changed = threading.Condition()
        self._stopped = False

    @property
    def tar_size(self) -> int:
        """See BlockSource."""
        return sum(map(len, self.blocks[: self.count]))

    def grow(self, count: int) -> None:
        """Have that many blocks planned."""
        with self._changed:
            self.count = count
            self._changed.notify_all()

    def has(self, number: int) -> bool:
        """See BlockSource."""
        with self._changed:
            self._changed.wait_for(lambda: number < self.count or self.count == len(self.blocks) or self._stopped, 30)
            return number < self.count

    def complete(self) -> bool:
        """See BlockSource."""
        self.has(len(self.blocks))
        return not self._stopped

    def facts(self) -> SourceFacts | None:
        """See BlockSource."""
        return None

    def stop(self) -> None:
        """See BlockSource."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def reader(self) -> MemoryBlocks:
        """Return itself."""
        with self._changed:
            self.open += 1
        return self

    def read(self, number: int, buffer: memoryview) -> int:
        """See BlockReader."""
        self.read_numbers.append(number)
        block = self.blocks[number]
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        """See BlockReader."""
        with self._changed:
            self.open -= 1


def planned_layer(blocks: MemoryBlocks, *, compression: str = "gzip", threads: int = 2) -> PlannedLayer:
    """Return a layer of blocks in memory, for whoever does not pack it by the pipeline."""
    return PlannedLayer(
        blocks,
        "rootfs",
        LayerOptions(threads=threads, compression=compression),  # type: ignore[arg-type]
        discard,
        0.0,
        locate=lambda: "a place",
        identify=lambda: Fingerprint("a fingerprint", settled=True),
    )


def pieces_of(planned: PlannedLayer, blocks: Sequence[bytes]) -> list[bytes]:
    """Return what a pipeline would write of the blocks, one piece a call."""
    compressor = planned.compressor
    pieces, checks = [compressor.start()], []
    for block in blocks:
        data, check = compressor.compress(memoryview(block))
        pieces.append(bytes(data))
        checks.append((check, len(block)))
    return [*pieces, compressor.finish(checks)]
