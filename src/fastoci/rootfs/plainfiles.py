"""What is plain in a layer, which most of its entries are: made by the engine, ahead of and beside us.

Small files and symbolic links are made by its threads, directories at once. An entry that is more than that goes its
own way, and what it could meet of these is waited for first. So the tree is at every moment that anybody looks what it
would be if one entry had been made after the other.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastoci._engine import EngineFault
from fastoci._engine.writer import FileWriter
from fastoci.threads import Crew

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastoci._engine.directories import Directories
    from fastoci.rootfs.owners import Owners

__all__ = ["PlainFiles", "WritingError"]


class WritingError(OSError):
    """The kernel refused what was to be made of an entry that was taken from the stream before.

    Args:
        number: The kernel's error number.
        path: The entry's, from the root.
    """

    def __init__(self, number: int, path: bytes) -> None:
        super().__init__(number, os.strerror(number))
        self.path = path


class PlainFiles:
    """Plain entries that are being made.

    Args:
        root: A descriptor of the directory beneath which they are made; the caller's.
        directories: What directories are to be; those are entered of which something is said there.
        basis: The number that they were made with.
        owners: Whose the files become.
        threads: How many write; 0: no entry is taken, all go their own way.
        occupied: Whether there may be directories of which nothing is said.
    """

    def __init__(
        self, root: int, directories: Directories, basis: int, owners: Owners, threads: int, *, occupied: bool
    ) -> None:
        self._count = threads
        self._make: Callable[[], FileWriter] = lambda: FileWriter(
            root, directories, basis, threads, owners.keep, owners.uids, owners.gids, occupied
        )
        self._writer: FileWriter | None = None
        self._crew = Crew(self._stop)

    def take(self, piece: bytes, at: int, most: int, *, named: bool) -> tuple[int, int, int, list[bytes]]:
        """Take plain entries from a piece of the stream.

        Args:
            piece: The piece.
            at: Where in it a header begins.
            most: How many may be taken.
            named: Whether their paths are wanted.

        Returns:
            Where the first entry is that was not taken; how many were; how many bytes have the paths of the directories
            among them; all their paths, from the root.

        Raises:
            WritingError: Something could not be made.
            FastociError: The machine gives no thread.
        """
        if not self._count:
            return at, 0, 0, []
        writer = self._writer or self._start()
        try:
            end, count, held = writer.take(piece, at, most)
        except EngineFault as fault:
            raise WritingError(fault.error, fault.path) from None
        return end, count, held, writer.paths(piece, at, count) if named else []

    def leave(self) -> None:
        """Take note that a directory is about to be removed."""
        if self._writer is not None:
            self._writer.leave()

    def settle_for(self, path: bytes) -> None:
        """See that nothing of a path is still to be made, for something is to be done there.

        Raises:
            WritingError: Something could not be made.
        """
        if self._writer is not None and self._writer.is_pending(path):
            self.settle()

    def settle(self) -> None:
        """See that all is made that was taken.

        Raises:
            WritingError: Something could not be made.
        """
        if self._writer is not None:
            try:
                self._writer.settle()
            except EngineFault as fault:
                raise WritingError(fault.error, fault.path) from None

    def close(self) -> None:
        """Have nothing made any more, and wait for the threads."""
        self._crew.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _stop(self) -> None:
        if self._writer is not None:
            self._writer.stop()

    def _start(self) -> FileWriter:
        try:
            writer = self._make()
        except OSError as error:
            raise WritingError(error.errno or 0, b"") from error
        self._writer = writer
        for number in range(self._count):
            self._crew.start(f"fastoci-write-{number}", writer.run)
        return writer
