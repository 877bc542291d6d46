"""The small files of a layer, which most of its entries are: written by threads of the engine, ahead of and beside us.

An entry that is more than that goes its own way, and what it could meet of these is waited for first. So the tree is
at every moment that anybody looks what it would be if one entry had been made after the other.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastoci._engine import EngineFault
from fastoci._engine.writer import FileWriter
from fastoci.threads import Crew

if TYPE_CHECKING:
    from fastoci.rootfs.beneath import Place

__all__ = ["PlainFiles", "WritingError"]


class WritingError(OSError):
    """The kernel did not take a file that was taken from the stream before.

    Args:
        number: The kernel's error number.
        path: The file's, as the archive has it.
    """

    def __init__(self, number: int, path: bytes) -> None:
        super().__init__(number, os.strerror(number))
        self.path = path


class PlainFiles:
    """Files that are being written.

    Args:
        threads: How many write; 0: no file is taken, all go their own way.
        keep: Whether they are given to the owners that their entries say.
    """

    def __init__(self, threads: int, *, keep: bool) -> None:
        self._count = threads
        self._keep = keep
        self._writer: FileWriter | None = None
        self._crew = Crew(self._stop)
        self._at: tuple[Place, bytes] | None = None

    @property
    def place(self) -> Place | None:
        """The directory whose files are taken."""
        return None if self._at is None else self._at[0]

    def follow(self, place: Place, prefix: bytes) -> None:
        """Take the files that come next, if they are in a directory.

        Args:
            place: The directory, and its descriptor, which is good now.
            prefix: What the archive calls it, with a slash at its end; nothing is the root.

        Raises:
            WritingError: A file could not be written.
            FastociError: The machine gives no thread.
        """
        if not self._count or (self._at is not None and self._at[0] is place and self._at[1] == prefix):
            return
        writer = self._writer or self._start()
        try:
            writer.enter(place.fd, place.path, prefix)
        except EngineFault as fault:
            raise WritingError(fault.error, fault.path) from None
        self._at = place, prefix

    def leave(self) -> None:
        """Take none any more, until `follow` says from where."""
        self._at = None

    def take(self, piece: bytes, at: int, most: int, *, named: bool) -> tuple[int, int, list[bytes]]:
        """Take plain files from a piece of the stream.

        Args:
            piece: The piece.
            at: Where in it a header begins.
            most: How many may be taken.
            named: Whether the paths of the files are wanted.

        Returns:
            Where the first entry is that was not taken; how many were; their paths, from the root.

        Raises:
            WritingError: A file could not be written.
        """
        if self._at is None or self._writer is None:
            return at, 0, []
        place, writer = self._at[0], self._writer
        try:
            end, count = writer.take(piece, at, most)
        except EngineFault as fault:
            raise WritingError(fault.error, fault.path) from None
        return end, count, [place.child(name) for name in writer.names(piece, at, count)] if named else []

    def settle_for(self, path: bytes) -> None:
        """See that no file of a path is still to be written, for something is to be done there.

        Raises:
            WritingError: A file could not be written.
        """
        if self._writer is not None and self._writer.is_pending(path):
            self.settle()

    def settle(self) -> None:
        """See that every file is written that was taken.

        Raises:
            WritingError: A file could not be written.
        """
        if self._writer is not None:
            try:
                self._writer.settle()
            except EngineFault as fault:
                raise WritingError(fault.error, fault.path) from None

    def close(self) -> None:
        """Have nothing written any more, and wait for the threads."""
        self._at = None
        self._crew.close()

    def _stop(self) -> None:
        if self._writer is not None:
            self._writer.stop()

    def _start(self) -> FileWriter:
        writer = FileWriter(self._count, self._keep, int.from_bytes(os.urandom(8)))
        self._writer = writer
        for number in range(self._count):
            self._crew.start(f"fastoci-write-{number}", writer.run)
        return writer
