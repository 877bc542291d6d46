"""OCI layouts: a directory of blobs named after their digests, and an index of the images in it.

The form is the specification's (image-spec image-layout.md): `oci-layout`, `index.json` and `blobs/ALGORITHM/HEX`.
A blob appears only whole; `index.json` is replaced, never edited, by one process at a time.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from fastoci.errors import FastociError, ImageNotFoundError, StoreError
from fastoci.spec import canonical
from fastoci.spec.canonical import DOCUMENT_LIMIT
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.index import Index
from fastoci.store.atomic import TEMP_PREFIX, TempFile
from fastoci.store.blobs import FileBlobWriter, size_of
from fastoci.store.faults import explain, explained
from fastoci.store.locks import lock_shared, locked, open_directory, try_lock_alone
from fastoci.store.naming import find_by_tag, name_manifest
from fastoci.store.partial import PartialBlob, partial_size
from fastoci.store.reading import (
    find_by_digest,
    missing_blob,
    open_regular,
    read_verified,
    sniff_document,
    wrong_size,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastoci.ending import OpenFile
    from fastoci.store.blobs import BlobWriter

__all__ = ["Layout"]

_MARKER = "oci-layout"
_INDEX = "index.json"
_BLOBS = "blobs"
_MARKER_CONTENT = {"imageLayoutVersion": "1.0.0"}
_MARKER_LIMIT = 64 << 10
_INDEX_LIMIT = 64 << 20  # one's own disk may hold more images than a registry would list


class Layout:
    """A layout on disk. `open` and `create` make one.

    Attributes:
        path: As the caller wrote it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._root = Path(path).absolute()
        self._created = False
        self._before: bytes | None = None
        self._added: set[Digest] = set()
        self._lock: OpenFile | None = None  # of its blobs, as long as it is added to

    @classmethod
    def open(cls, path: str) -> Self:
        """Return the layout at `path`.

        Raises:
            ImageNotFoundError: There is nothing.
            StoreError: It is no layout, or cannot be read.
        """
        layout = cls(path)
        try:
            with explained(f"cannot read {path}", path):
                mode = layout._root.stat().st_mode
        except ImageNotFoundError as error:
            error.hint = "name a layout that `fastoci build` or `fastoci pull` made; at a registry it is docker://REF"
            raise
        if not stat.S_ISDIR(mode):
            raise StoreError(
                f"{path} is not an OCI layout",
                path=path,
                cause="it is a file",
                hint=f"an archive is oci-archive:{path}",
            )
        layout._check_marker()
        return layout

    @classmethod
    def create(cls, path: str) -> Self:
        """Return the layout at `path`, to add images to; it is made where there is none, parents included.

        Raises:
            StoreError: Something else stands there, or it cannot be written.
        """
        layout = cls(path)
        with explained(f"cannot write to {path}", path), locked(layout._root, make=True):
            layout._prepare()
            layout._begin_adding()
        return layout

    def _check_marker(self) -> None:
        try:
            data = self._read_file(_MARKER, _MARKER_LIMIT)
        except ImageNotFoundError:
            raise StoreError(
                f"{self.path} is not an OCI layout",
                path=self.path,
                cause=f"there is no file {_MARKER} in it",
                hint="name a directory that `fastoci build` made, or a new one to build into",
            ) from None
        version = canonical.loads(data, f"{self.path}/{_MARKER}").get("imageLayoutVersion")
        if not isinstance(version, str) or not version.startswith("1."):
            raise StoreError(
                f"{self.path} is an OCI layout of a version that is not known here",
                path=self.path,
                cause=f"{version!r}",
            )

    def _prepare(self) -> None:
        """Make what is missing of a layout, under its lock; refuse a directory that holds other things."""
        found = {name for name in os.listdir(self._root) if not name.startswith(TEMP_PREFIX)}
        if _MARKER in found:
            self._check_marker()
        elif found:
            raise StoreError(
                f"{self.path} is not an OCI layout",
                path=self.path,
                cause=f"it holds other things, such as {min(found)!r}",
                hint="choose another directory, or an empty one",
            )
        else:
            self._created = True
            self._write_file(_MARKER, canonical.dumps(_MARKER_CONTENT))
        if _INDEX not in found:
            self._write_file(_INDEX, Index().to_bytes())
        (self._root / _BLOBS / "sha256").mkdir(parents=True, exist_ok=True)

    def _begin_adding(self) -> None:
        self._lock = open_directory(self._root / _BLOBS)
        lock_shared(self._lock.fd)
        self._before = self._read_file(_INDEX, _INDEX_LIMIT)

    def _read_file(self, name: str, limit: int) -> bytes:
        with explained(f"cannot read {self.path}/{name}", self.path), open_regular(self._root / name) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"{self.path}/{name} is too large", path=self.path, cause=f"over {limit:,} bytes")
        return data

    def _write_file(self, name: str, data: bytes) -> None:
        with explained(f"cannot write {self.path}/{name}", self.path), TempFile(self._root) as file:
            file.write(data)
            file.link(name)

    def index(self) -> Index:
        """Return what images there are, as of now.

        Raises:
            StoreError: index.json cannot be read.
            InvalidImageError: It is no index.
        """
        data = self._read_file(_INDEX, _INDEX_LIMIT)
        return Index.from_bytes(data, what=f"{self.path}/{_INDEX}", limit=_INDEX_LIMIT)

    def resolve(self, tag: str | None, digest: Digest | None = None) -> Descriptor:
        """Return the descriptor of the manifest that is meant.

        Args:
            tag: As in ref.name, or a whole reference; None: the one image there is.
            digest: Decides where it is given, whatever the tag; it may be that of a manifest that only an index
                within the layout names.

        Raises:
            ImageNotFoundError: There is none, or several could be meant; the cause says which there are.
        """
        index = self.index()
        if digest is None:
            return find_by_tag(index, tag, self.path)
        found = find_by_digest(index, tag, digest)
        if found is not None:
            return found
        size = self.blob_size(digest)
        if size is None:
            raise ImageNotFoundError(f"there is no image {digest} in {self.path}", path=self.path)
        return sniff_document(self.read_blob(Descriptor("", digest, size)), digest)

    def blob_path(self, digest: Digest) -> Path:
        """Return where a blob is, or would be, as an absolute path."""
        return self._root / _BLOBS / digest.algorithm / digest.hex

    def blob_size(self, digest: Digest) -> int | None:
        """Return how many bytes a blob has, None where it is not there."""
        with explained(f"cannot read {self.path}", self.path):
            return size_of(self.blob_path(digest))

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is there, and of that size where one is given."""
        found = self.blob_size(digest)
        return found is not None and size in (None, found)

    def read_blob(self, descriptor: Descriptor, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return a blob's bytes.

        Args:
            descriptor: Of the blob.
            limit: The most bytes that it may have.

        Raises:
            ImageNotFoundError: It is not there.
            InvalidImageError: It is larger than `limit`, or not what its descriptor says.
        """
        with self.open_blob(descriptor) as stream, explained(f"cannot read {self.path}", self.path):
            return read_verified(stream, descriptor, self.path, limit)

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return a blob as a file, seekable and of the size that its descriptor says; its digest is not checked.

        Raises:
            ImageNotFoundError: It is not there.
            InvalidImageError: It has another size.
        """
        digest = descriptor.digest
        try:
            stream = open_regular(self.blob_path(digest))
        except (FileNotFoundError, NotADirectoryError):
            raise missing_blob(digest, self.path) from None
        except OSError as error:
            raise explain(error, f"cannot read the blob {digest} in {self.path}", self.path) from error
        size = os.fstat(stream.fileno()).st_size
        if size != descriptor.size:
            stream.close()
            raise wrong_size(digest, self.path, size, descriptor.size)
        return stream

    def blob_writer(self) -> BlobWriter:
        """Return a writer for one blob.

        Raises:
            StoreError: The file cannot be made.
        """
        return FileBlobWriter(self._root / _BLOBS, self.path, self._added)

    def partial_writer(self, descriptor: Descriptor) -> PartialBlob | None:
        """Return a writer that goes on with what an earlier run left of a blob; None where another is at it.

        Raises:
            StoreError: The file cannot be made.
        """
        try:
            return PartialBlob(self._root, self.path, descriptor.digest, descriptor.size)
        except BlockingIOError:
            return None

    def partial_size(self, descriptor: Descriptor) -> int:
        """Return how many bytes of a blob an earlier run has left."""
        return partial_size(self._root, descriptor.digest)

    def put_blob(self, data: bytes, media_type: str) -> Descriptor:
        """Put a small blob, and return its descriptor.

        Raises:
            StoreError: The disk did not take it.
        """
        descriptor = Descriptor.of(media_type, data)
        with self.blob_writer() as writer:
            writer.write(data)
            writer.commit(descriptor.digest)
        return descriptor

    def put_manifest(self, descriptor: Descriptor, names: Sequence[str]) -> None:
        """Enter a manifest whose blobs are all there into the index.

        Args:
            descriptor: Of the manifest.
            names: Each a tag, or a reference with a repository, which then is io.containerd.image.name, too. An entry
                that has one of these names is replaced. None at all: an entry without a name.

        Raises:
            UsageError: A name is none.
            StoreError: The disk refused.
            InvalidImageError: The index that is there is none.
        """
        with explained(f"cannot write {self.path}/{_INDEX}", self.path), locked(self._root):
            index = self.index()
            changed = name_manifest(index, descriptor, names)
            if changed != index:
                self._write_file(_INDEX, changed.to_bytes())
        self._added.clear()

    def discard(self) -> None:
        """Take away what this object added since it was made by `create` and that no manifest names yet.

        It does so only where no other process is at work in the layout and the index is as it was: else a blob that is
        of no use here might be of use there. What stays is harmless. Never raises. It ends the use of this object.
        """
        if self._lock is None or self._lock.fd < 0:
            return
        with contextlib.suppress(OSError, FastociError), locked(self._root):
            self._discard(self._lock.fd)
        # Held on, it would keep out all who want to add, while this process may go on to wait for one of them.
        self._lock.close()

    def _discard(self, blobs: int) -> None:
        if not try_lock_alone(blobs) or self._read_file(_INDEX, _INDEX_LIMIT) != self._before:
            return
        for digest in self._added:
            self.blob_path(digest).unlink(missing_ok=True)
        self._added.clear()
        if self._created:
            self._remove()

    def _remove(self) -> None:
        blobs = self._root / _BLOBS
        for directory in [*blobs.iterdir(), blobs]:
            directory.rmdir()
        for name in (_INDEX, _MARKER):
            (self._root / name).unlink()
        self._root.rmdir()
