"""How a layer is made: what changes its time, and what changes its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastoci.errors import UsageError

__all__ = ["BLOCK_SIZE", "FORMAT_VERSION", "LayerOptions", "Split"]

FORMAT_VERSION = 1
"""The version of the rules that decide a layer's bytes; the same tree, options and version give the same digest."""

BLOCK_SIZE = 512 * 1024
"""The most bytes of tar in one block. Measured: a tenth less CPU than 256 KiB, and 1 MiB is no faster."""


_LEVELS = {"gzip": 3, "zstd": 19}


@dataclass(frozen=True, slots=True)
class LayerOptions:
    """How a layer is made.

    Args:
        threads: How many workers render and compress, at least 1; None: the CPUs this process may use. Changes the
            time, never the bytes.
        compression: What becomes of the tar stream.
        level: For gzip ISA-L's 1 to 3, of which 3 gives other bytes on CPUs with other vector units; for zstd 1 to 19.

    Raises:
        UsageError: The compression has no such level.
    """

    threads: int | None = None
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    level: int = 1

    def __post_init__(self) -> None:
        most = _LEVELS.get(self.compression)
        if most is not None and not 1 <= self.level <= most:
            raise UsageError(f"{self.compression} has no level {self.level}", hint=f"1 to {most}")


@dataclass(frozen=True, slots=True)
class Split:
    """How a tree is spread over several layers: by the size that they shall have, or by their number.

    Args:
        size: About how many bytes of tar a layer has; none has more than half as many again, but one with a large file.
            None: `count` says.
        count: How many layers there are at most. There are fewer, most often from 12 to 18 for 20, so that a tree that
            changes keeps the layers that it has. None: `size` says.

    Raises:
        UsageError: Both are given or none, or one is not over zero.
    """

    size: int | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if (self.size is None) == (self.count is None):
            raise UsageError("a tree is split by a size or into a number of layers", hint="one of the two")
        if (self.size or self.count or 0) < 1:
            raise UsageError(f"a tree cannot be split by {self.size or self.count or 0}")

    def __str__(self) -> str:
        return str(self.count) if self.size is None else f"{self.size}B"
