"""Blobs that come from elsewhere, written so that whoever comes again goes on where the last one stopped.

What is not whole yet stands in `.fastoci-partial` of its layout, under the digest that it is going to have, and becomes
a blob by rename(2). Whoever writes it holds its lock (flock(2)), which ends with the process however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from fastoci.ending import OpenFile
from fastoci.errors import StoreError
from fastoci.store.atomic import TEMP_PREFIX, sync_directory, write_all
from fastoci.store.blobs import BlobWriter, size_of
from fastoci.store.faults import explain, explained

if TYPE_CHECKING:
    from pathlib import Path

    from fastoci.spec.digest import Digest
    from fastoci.store.verified import Hasher

__all__ = ["PARTIAL", "PartialBlob", "partial_size"]

PARTIAL = f"{TEMP_PREFIX}partial"
_PIECE = 1 << 20
_ATTEMPTS = 100


class PartialBlob(BlobWriter):
    """Writes one blob of known digest and size, after what is there of it already.

    Left without `commit` it keeps what was written, for the next one.

    Args:
        root: The layout's directory.
        path: The layout, for messages.
        digest: Of the blob.
        limit: Its size: what is longer is no beginning of it, and thrown away.

    Attributes:
        size: Bytes that are there.

    Raises:
        BlockingIOError: Somebody else is writing it.
        StoreError: The file cannot be made.
    """

    def __init__(self, root: Path, path: str, digest: Digest, limit: int) -> None:
        self._path = path
        self._what = f"cannot write to {path}"
        self._blobs = root / "blobs"
        self._directory = root / PARTIAL
        self._place = _place(root, digest)
        with explained(self._what, path):
            self._file = self._open()
        try:
            self._lock()
            self.size = os.fstat(self._fd).st_size
            if self.size > limit:
                self.restart()
            else:
                os.lseek(self._fd, self.size, os.SEEK_SET)
        except BaseException:
            self._file.close()
            raise

    @property
    def _fd(self) -> int:
        return self._file.fd

    def _open(self) -> OpenFile:
        for attempt in range(_ATTEMPTS):
            # Not exist_ok: pathlib looks again whether it is a directory, and by then it may have been removed.
            with contextlib.suppress(FileExistsError):
                self._directory.mkdir()
            try:
                return OpenFile(self._place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            except FileNotFoundError:
                # Whoever finished the last blob there has removed the directory.
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError(attempt)

    def _lock(self) -> None:
        # A file system without flock lets everybody in at once: there each one goes alone.
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it before may have made a blob of it since it was opened here.
            if os.path.samestat(os.fstat(self._fd), self._place.stat()):
                return
        raise BlockingIOError

    def digest_into(self, hasher: Hasher) -> int:
        """Give a hasher what is there already, and return how many bytes that were.

        Raises:
            StoreError: It cannot be read.
        """
        done = 0
        with explained(f"cannot read {self._path}", self._path):
            while piece := os.pread(self._fd, _PIECE, done):
                hasher.update(piece)
                done += len(piece)
        return done

    def restart(self) -> None:
        """Throw away what is there.

        Raises:
            StoreError: The disk refused.
        """
        with explained(self._what, self._path):
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See BlobWriter."""
        try:
            self.size += write_all(self._fd, data)
        except OSError as error:
            raise explain(error, self._what, self._path) from error

    def commit(self, digest: Digest) -> None:
        """See BlobWriter. A blob of that name and size that stands already is kept, any other replaced."""
        with explained(self._what, self._path):
            written = os.fstat(self._fd).st_size
            if written != self.size:
                raise StoreError(
                    self._what, path=self._path, cause=f"{self.size:,} bytes were written, and {written:,} are there"
                )
            directory = self._blobs / digest.algorithm
            directory.mkdir(parents=True, exist_ok=True)
            place = directory / digest.hex
            if size_of(place) == self.size:
                self._place.unlink(missing_ok=True)
            else:
                os.fsync(self._fd)
                self._place.rename(place)
            with OpenFile(directory, os.O_RDONLY | os.O_DIRECTORY) as opened:
                sync_directory(opened.fd)
        self._file.close()
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    def end(self) -> None:
        """Let go of it; what was written stays, an empty file does not."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            if not os.fstat(self._fd).st_size:
                self._place.unlink()
                self._directory.rmdir()
        self._file.close()


def partial_size(root: Path, digest: Digest) -> int:
    """Return how many bytes of a blob are there, 0 where there is nothing."""
    return size_of(_place(root, digest)) or 0


def _place(root: Path, digest: Digest) -> Path:
    return root / PARTIAL / f"{digest.algorithm}-{digest.hex}"
