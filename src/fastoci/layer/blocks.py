"""Where blocks come from: a planned tree, or a tar archive that is a layer's stream already."""

from __future__ import annotations

import os
from typing import Protocol

from fastoci._engine import EngineFault
from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci.errors import TreeChangedError, TreeError
from fastoci.layer.options import BLOCK_SIZE
from fastoci.tree.faults import explain

__all__ = ["BlockReader", "BlockSource", "PlannedBlocks", "TarBlocks"]


class BlockReader(Protocol):
    """Makes blocks for one thread."""

    def read(self, number: int, buffer: bytearray) -> int:
        """Write block `number` to the start of `buffer`, which holds BLOCK_SIZE bytes, and return its size."""

    def close(self) -> None:
        """Let go of the files it holds."""


class BlockSource(Protocol):
    """A tar stream, cut into blocks."""

    count: int
    tar_size: int

    def reader(self) -> BlockReader:
        """Return a reader for one thread."""


class PlannedBlocks:
    """The blocks of a planned tree.

    Args:
        plan: The plan.
        source: The path of the tree as the user gave it, for messages.
    """

    def __init__(self, plan: Plan, source: str) -> None:
        self._plan = plan
        self._source = source
        self.count = plan.block_count
        self.tar_size = plan.tar_size

    def reader(self) -> BlockReader:
        """Return a renderer."""
        return _PlanReader(Renderer(self._plan), self._source)


class _PlanReader:
    def __init__(self, renderer: Renderer, source: str) -> None:
        self._renderer = renderer
        self._source = source

    def read(self, number: int, buffer: bytearray) -> int:
        try:
            return self._renderer.render(number, buffer)
        except EngineFault as fault:
            raise explain(fault, self._source) from fault

    def close(self) -> None:
        self._renderer.close()


class TarBlocks:
    """The blocks of a tar archive: its own bytes, cut every BLOCK_SIZE.

    Args:
        fd: A descriptor of the archive, open as long as the blocks are read.
        path: What to call it in messages.
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._status = os.fstat(fd)
        self.tar_size = self._status.st_size
        self.count = -(-self.tar_size // BLOCK_SIZE)

    def reader(self) -> BlockReader:
        """Return a reader; all of them share the descriptor, and none moves its position."""
        return self

    def read(self, number: int, buffer: bytearray) -> int:
        """Read one block, and see that the archive is still what it was."""
        offset = number * BLOCK_SIZE
        wanted = min(BLOCK_SIZE, self.tar_size - offset)
        got = 0
        try:
            while got < wanted:
                size = os.preadv(self._fd, [memoryview(buffer)[got:wanted]], offset + got)
                if size == 0:
                    break
                got += size
            now = os.fstat(self._fd)
        except OSError as error:
            raise TreeError(
                f"cannot read {self._path}", path=self._path, cause=(error.strerror or "").lower(), errno=error.errno
            ) from error
        then = self._status
        if got < wanted or (now.st_size, now.st_mtime_ns, now.st_ctime_ns) != (
            then.st_size,
            then.st_mtime_ns,
            then.st_ctime_ns,
        ):
            raise TreeChangedError(
                f"{self._path} changed while it was packed",
                path=self._path,
                cause=f"size {then.st_size:,} → {now.st_size:,}; nothing was tagged or kept",
                hint="wait until it has been written",
            )
        return wanted

    def close(self) -> None:
        """Nothing: the descriptor is the caller's."""
