"""Writing blobs: what a writer of one is, and the one that writes a file named after its digest."""

from __future__ import annotations

import contextlib
import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path

from fastoci.ending import Ending, OpenFile
from fastoci.errors import StoreError
from fastoci.spec.digest import Digest
from fastoci.store.atomic import TempFile, sync_directory
from fastoci.store.faults import explain, explained

__all__ = ["BlobWriter", "FileBlobWriter", "size_of"]


class BlobWriter(Ending, ABC):
    """Takes one blob. It is a context manager: left without `commit`, it leaves nothing behind.

    Attributes:
        size: Bytes written so far.
    """

    size: int

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; all of them, at once, without keeping them.

        Raises:
            StoreError: The disk did not take them.
        """

    @abstractmethod
    def commit(self, digest: Digest) -> None:
        """Make the blob durable and let it appear under its name.

        Args:
            digest: Of what was written; the caller has hashed it.

        Raises:
            StoreError: The disk refused.
        """

    def open_written(self) -> int | None:
        """Return a descriptor, the caller's, of a file that holds what was written and will hold what is still to be.

        Offsets in the file are those of the blob. It is good after the writer is closed, too. None: there is no such
        file.
        """
        return None

    @abstractmethod
    def end(self) -> None:
        """Give up what is not committed; so does `close`."""


class FileBlobWriter(BlobWriter):
    """Writes `blobs/ALGORITHM/HEX` of a layout (image-spec image-layout.md, "Blobs").

    Args:
        blobs: The directory `blobs`; the ones beneath it are made as needed.
        path: The layout, for messages.
        added: Called with the digest of a blob that was not there before.

    Raises:
        StoreError: The file cannot be made.
    """

    def __init__(self, blobs: Path, path: str, added: set[Digest] | None = None) -> None:
        self.size = 0
        self._blobs = blobs
        self._path = path
        self._what = f"cannot write to {path}"
        self._added = added
        with explained(self._what, path):
            directory = blobs / "sha256"
            directory.mkdir(parents=True, exist_ok=True)
            self._file = TempFile(directory)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See BlobWriter."""
        try:
            self.size += self._file.write(data)
        except OSError as error:
            raise explain(error, self._what, self._path) from error

    def commit(self, digest: Digest) -> None:
        """See BlobWriter. A blob of that name and size that stands already is kept, any other replaced."""
        with explained(self._what, self._path):
            written = os.fstat(self._file.fd).st_size
            if written != self.size:
                raise StoreError(
                    self._what, path=self._path, cause=f"{self.size:,} bytes were written, and {written:,} are there"
                )
            directory = self._blobs / digest.algorithm
            directory.mkdir(exist_ok=True)
            with OpenFile(directory, os.O_RDONLY | os.O_DIRECTORY) as opened:
                self._link(digest, directory / digest.hex, opened.fd)
        self.close()

    def _link(self, digest: Digest, place: Path, directory: int) -> None:
        if size_of(place) == self.size:
            # Whoever linked it may not have come to this yet.
            sync_directory(directory)
            return
        if self._added is not None:
            # Before it stands: a disk that refuses to make it durable is no reason to leave it there.
            self._added.add(digest)
        if not self._file.link(digest.hex, directory=directory, replace=False) and size_of(place) != self.size:
            self._file.link(digest.hex, directory=directory, replace=True)

    def open_written(self) -> int | None:
        """See BlobWriter."""
        with contextlib.suppress(OSError):  # no descriptor is left
            return os.dup(self._file.fd)
        return None

    def end(self) -> None:
        """See BlobWriter."""
        self._file.close()


def size_of(path: Path) -> int | None:
    """Return the bytes of the regular file at `path`, None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
