"""The blobs of an archive that is being written: each straight in its place where that can be, else by way of a file.

The tar has one place to write at, its end. A blob of unknown size can be written there if its header can be filled in
afterwards, and if nothing else wants the end meanwhile: what does, waits until that blob is done.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, BinaryIO

from fastoci.errors import InvalidImageError, StoreError
from fastoci.spec.tarheader import BLOCK
from fastoci.store.atomic import TempFile
from fastoci.store.blobs import BlobWriter
from fastoci.store.faults import explain, explained
from fastoci.store.tarformat import directory_header, file_header, padding

if TYPE_CHECKING:
    from fastoci.spec.digest import Digest
    from fastoci.store.archive_output import ArchiveOutput

__all__ = ["BlobTar"]

_ALGORITHM = "sha256"
_COPY_SIZE = 1 << 20


class BlobTar:
    """A tar that blobs are put into. Its writers may be used by several threads, each by one at a time.

    Args:
        out: Where its bytes go.

    Attributes:
        sizes: The bytes of each blob that was put, or waits to be.
    """

    def __init__(self, out: ArchiveOutput) -> None:
        self.out = out
        self.sizes: dict[Digest, int] = {}
        self.mutex = threading.RLock()
        self._in_place = False
        self._waiting: list[tuple[Digest, int, bytes | TempFile]] = []
        self._closed = False

    def blob_writer(self) -> BlobWriter:
        """Return a writer for one blob.

        Raises:
            StoreError: There is no room for it.
        """
        with self.mutex:
            if self.out.seekable and not self._in_place:
                writer = _InPlaceWriter(self)
                self._in_place = True
                return writer
        return _SpoolWriter(self)

    def put_directories(self) -> None:
        """Append the directories that the blobs are in."""
        self.out.write(directory_header("blobs/") + directory_header(f"blobs/{_ALGORITHM}/"))

    def put_file(self, name: str, data: bytes) -> None:
        """Append a file. No blob may be at its place."""
        if self._in_place:
            raise RuntimeError("a blob is still being written")
        self.out.write(file_header(name, len(data)) + data + bytes(padding(len(data))))

    def put_blob(self, digest: Digest, size: int, content: bytes | TempFile) -> None:
        """Append a blob that is whole: now, or when the one that is being written in place is done.

        Args:
            digest: Of the content.
            size: Of the content, in bytes.
            content: A file is closed when it was copied.
        """
        with self.mutex:
            if not self.take(digest, size):
                if isinstance(content, TempFile):
                    content.close()
                return
            self._waiting.append((digest, size, content))
            if not self._in_place:
                self._put_waiting()

    def copy_blob(self, digest: Digest, size: int, source: BinaryIO) -> None:
        """Append a blob whose digest and size are known before it is read. No blob may be at its place.

        Args:
            digest: Of what `source` gives.
            size: Of what `source` gives, in bytes.
            source: Read to its end.

        Raises:
            InvalidImageError: It gives more or less.
        """
        with self.mutex:
            if self._in_place:
                raise RuntimeError("a blob is still being written")
            if not self.take(digest, size):
                return
            self.out.write(file_header(self.place(digest), size))
            done = 0
            while piece := source.read(min(_COPY_SIZE, size - done + 1)):
                done += len(piece)
                if done > size:
                    break
                self.out.write(piece)
            if done != size:
                raise InvalidImageError(
                    f"the blob {digest} has not the size that is said of it",
                    cause=f"{size:,} bytes are said, and there are {'more' if done > size else f'{done:,}'}",
                    digest=str(digest),
                )
            self.out.write(bytes(padding(size)))

    def take(self, digest: Digest, size: int) -> bool:
        """Note that a blob is put; return whether it was not before."""
        self.place(digest)
        if digest in self.sizes:
            return False
        self.sizes[digest] = size
        return True

    def place(self, digest: Digest) -> str:
        """Return the name of a blob's file in the tar.

        Raises:
            StoreError: It has none.
        """
        if digest.algorithm != _ALGORITHM:
            raise StoreError(
                f"the blob {digest} cannot be put into an archive",
                path=self.out.name,
                cause=f"only {_ALGORITHM} digests fit into the names that a tar header has room for",
                hint="write a layout, oci:DIR",
            )
        return f"blobs/{_ALGORITHM}/{digest.hex}"

    def release(self, start: int | None) -> None:
        """End the writing of a blob in place.

        Args:
            start: Where to cut the tar, to take the blob back; None: it stays.
        """
        with self.mutex:
            self._in_place = False
            if self._closed:
                return
            if start is not None:
                self.out.truncate(start)
            self._put_waiting()

    def close(self) -> None:
        """Give up what waits. Closing twice does nothing."""
        with self.mutex:
            self._closed = True
            for _, _, content in self._waiting:
                if isinstance(content, TempFile):
                    content.close()
            self._waiting.clear()

    def _put_waiting(self) -> None:
        while self._waiting:
            digest, size, content = self._waiting[0]
            if isinstance(content, TempFile):
                with content:
                    self.out.write(file_header(self.place(digest), size))
                    self._copy(content, size)
                    self.out.write(bytes(padding(size)))
            else:
                self.put_file(self.place(digest), content)
            del self._waiting[0]

    def _copy(self, spool: TempFile, size: int) -> None:
        place = str(self.out.spool_directory)
        done = 0
        while done < size:
            with explained("cannot read a temporary file", place):
                piece = spool.read_at(done, _COPY_SIZE)
            if not piece:
                raise StoreError("a temporary file has shrunk", path=place)
            self.out.write(piece)
            done += len(piece)


class _InPlaceWriter(BlobWriter):
    """Writes a blob where it stays; its header, which says its name and size, comes last."""

    def __init__(self, tar: BlobTar) -> None:
        self.size = 0
        self._tar = tar
        self._out = tar.out
        self._start = self._out.position
        self._open = True
        self._out.write(bytes(BLOCK))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._open:
            raise ValueError("the writer is closed")
        self._out.write(data)
        self.size = self._out.position - self._start - BLOCK

    def commit(self, digest: Digest) -> None:
        if not self._open:
            raise ValueError("the writer is closed")
        header = file_header(self._tar.place(digest), self.size)
        with self._tar.mutex:
            if not self._tar.take(digest, self.size):
                self.close()
                return
            self._out.write(bytes(padding(self.size)))
            self._out.write_at(self._start, header)
            self._open = False
            self._tar.release(None)

    def end(self) -> None:
        if self._open:
            self._tar.release(self._start)
            self._open = False


class _SpoolWriter(BlobWriter):
    """Writes a blob to a file without a name, until it can be copied into the archive."""

    def __init__(self, tar: BlobTar) -> None:
        self.size = 0
        self._tar = tar
        directory = tar.out.spool_directory
        self._place = str(directory)
        self._what = f"cannot write a temporary file in {directory}"
        with explained(self._what, self._place):
            self._file: TempFile | None = TempFile(directory, lasting=False)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._file is None:
            raise ValueError("the writer is closed")
        try:
            self.size += self._file.write(data)
        except OSError as error:
            raise explain(error, self._what, self._place) from error

    def commit(self, digest: Digest) -> None:
        if self._file is None:
            raise ValueError("the writer is closed")
        self._tar.place(digest)
        file, self._file = self._file, None
        self._tar.put_blob(digest, self.size, file)

    def end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
