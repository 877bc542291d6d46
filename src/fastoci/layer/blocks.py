"""What a layer's tar stream is to the pipeline: blocks, that can be read in any order by any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fastoci.tree.ancestors import DirectoryLookup

__all__ = ["BlockReader", "BlockSource", "SourceFacts"]


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


class BlockReader(Protocol):
    """Makes blocks for one thread."""

    def read(self, number: int, buffer: bytearray) -> int:
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
