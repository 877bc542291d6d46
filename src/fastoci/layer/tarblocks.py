"""The blocks of a tar archive, which is a layer's tar stream already."""

from __future__ import annotations

import os

from fastoci.errors import TreeChangedError, TreeError
from fastoci.layer.blocks import BlockReader, SourceFacts
from fastoci.layer.options import BLOCK_SIZE

__all__ = ["TarBlocks"]


class TarBlocks:
    """The blocks of a tar archive: its own bytes, cut every BLOCK_SIZE.

    Args:
        fd: A descriptor of the archive, open as long as the blocks are read.
        path: What to call it in messages.
        facts: What is in it.
    """

    def __init__(self, fd: int, path: str, facts: SourceFacts) -> None:
        self._fd = fd
        self._path = path
        self._facts = facts
        self._status = os.fstat(fd)
        self.tar_size = self._status.st_size
        self.count = -(-self.tar_size // BLOCK_SIZE)

    def has(self, number: int) -> bool:
        """See BlockSource."""
        return number < self.count

    def complete(self) -> bool:
        """See BlockSource."""
        return True

    def facts(self) -> SourceFacts:
        """See BlockSource."""
        return self._facts

    def stop(self) -> None:
        """Nothing: nobody waits."""

    def reader(self) -> BlockReader:
        """Return a reader; all of them share the descriptor, and none moves its position."""
        return self

    def read(self, number: int, buffer: memoryview) -> int:
        """Read one block, and see that the archive is still what it was."""
        offset = number * BLOCK_SIZE
        wanted = min(BLOCK_SIZE, self.tar_size - offset)
        got = 0
        try:
            while got < wanted:
                size = os.preadv(self._fd, [buffer[got:wanted]], offset + got)
                if size == 0:
                    break
                got += size
            now = os.fstat(self._fd)
        except OSError as error:
            raise TreeError.from_os(error, f"cannot read {self._path}", path=self._path) from error
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
