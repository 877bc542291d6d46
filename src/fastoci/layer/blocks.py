"""What a layer's tar stream is to the pipeline: blocks, that can be read in any order by any thread."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fastoci.layer.options import BLOCK_SIZE
from fastoci.tree.ancestors import DirectoryLookup

__all__ = ["BlockReader", "BlockSource", "SourceFacts", "block_buffer"]


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What is known of a source when all of it is.

    Args:
        entries: How many entries the tar stream has.
        newest_mtime: See `PackedLayer`.
        owner: See `PackedLayer`.
        directories: What the layer has at a path.
        known_at: When this became known, by `time.perf_counter`.
        warnings: What the user should hear.
        timings: Seconds of CPU that it took, by stage.
    """

    entries: int
    newest_mtime: int | None
    owner: tuple[int, int] | None
    directories: DirectoryLookup
    known_at: float
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)


def block_buffer() -> memoryview:
    """Return a buffer for one block, which begins on a page of its own.

    Data in the page cache begins on a page, too. AMD's Zen 3 copies with `rep movsb` at a quarter of its speed to where
    the target lies up to 63 bytes further into a page than the source, and that is where `malloc` puts a large object:
    1.6 GB/s were read of large files then, and 7 GB/s are.

    Raises:
        MemoryError: There is no memory for it.
    """
    try:
        pages = mmap.mmap(-1, BLOCK_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError from error
    return memoryview(pages)


class BlockReader(Protocol):
    """Makes blocks for one thread."""

    def read(self, number: int, buffer: memoryview) -> int:
        """Write block `number` to the start of `buffer`, which holds BLOCK_SIZE bytes, and return its size."""

    def close(self) -> None:
        """Let go of the files it holds."""


class BlockSource(Protocol):
    """A tar stream, cut into blocks, whose end need not be known when its beginning is read."""

    @property
    def count(self) -> int:
        """How many blocks are known; when `has` has denied one, all there are."""

    @property
    def tar_size(self) -> int:
        """The bytes of the blocks that are known."""

    def has(self, number: int) -> bool:
        """Wait until block `number` can be read. False: there is none; or `stop` was called.

        Raises:
            Exception: What keeps it from being known.
        """

    def complete(self) -> bool:
        """Wait until all of it is known. False: `stop` was called before. See `has`."""

    def reader(self) -> BlockReader:
        """Return a reader for one thread."""

    def facts(self) -> SourceFacts | None:
        """Return what is known of the source; None while its end is not known."""

    def stop(self) -> None:
        """Let everybody who waits in `has` go."""
