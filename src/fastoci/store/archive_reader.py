"""Reading archives: tars of an OCI layout, and what `docker save` and its like write.

Where a tar is both, it is read as an OCI layout. Of a docker archive alone, which has neither manifests nor digests,
they are made up (`docker_archive`).
"""

from __future__ import annotations

import io
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from fastoci.errors import ImageNotFoundError, InvalidImageError, StoreError
from fastoci.spec.canonical import DOCUMENT_LIMIT
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.index import Index
from fastoci.store.docker_archive import read_docker_archive
from fastoci.store.faults import explained
from fastoci.store.naming import find_by_tag
from fastoci.store.reading import (
    find_by_digest,
    missing_blob,
    open_regular,
    read_verified,
    sniff_document,
    wrong_size,
)
from fastoci.store.section import open_section
from fastoci.store.tarmembers import Member, read_members

if TYPE_CHECKING:
    from fastoci.spec.digest import Digest

__all__ = ["Archive"]

_LINKS = 8
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


class Archive:
    """An archive on disk, a context manager. `open` makes one.

    Attributes:
        path: As the caller wrote it.
    """

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._members: dict[str, Member] = {}
        self._index = Index()
        self._blobs: dict[Digest, Member | bytes] = {}

    @classmethod
    def open(cls, path: str) -> Self:
        """Return the archive at `path`.

        Raises:
            ImageNotFoundError: There is nothing.
            StoreError: It cannot be read, is compressed, or is no archive of images.
            InvalidImageError: It is no valid tar, or what it holds is not valid.
        """
        with explained(f"cannot read {path}", path):
            if Path(path).is_dir():
                raise StoreError(
                    f"{path} is not an archive", path=path, cause="it is a directory", hint=f"a layout is oci:{path}"
                )
            archive = cls(path, open_regular(Path(path)))
            try:
                archive._load()
            except BaseException:
                archive.close()
                raise
        return archive

    def _load(self) -> None:
        self._refuse_compressed()
        self._members = read_members(self._file.fileno(), self.path)
        if "index.json" in self._members and "oci-layout" in self._members:
            data = self.read_member("index.json", DOCUMENT_LIMIT)
            self._index = Index.from_bytes(data, what=f"{self.path}: index.json")
        elif "manifest.json" in self._members:
            self._index, self._blobs = read_docker_archive(self)
        else:
            raise StoreError(
                f"{self.path} is not an archive of images",
                path=self.path,
                cause="neither index.json nor manifest.json is in it",
                hint="a tar of files becomes an image by `fastoci build`",
            )

    def _refuse_compressed(self) -> None:
        start = os.pread(self._file.fileno(), 6, 0)
        for magic, name in _COMPRESSED.items():
            if start.startswith(magic):
                raise StoreError(
                    f"{self.path} is compressed",
                    path=self.path,
                    cause=f"it is a {name} file, and an archive is read at places all over it",
                    hint=f"decompress it first, as with {'gunzip' if name == 'gzip' else f'{name} -d'}",
                )

    def index(self) -> Index:
        """Return what images there are."""
        return self._index

    def resolve(self, tag: str | None, digest: Digest | None = None) -> Descriptor:
        """Return the descriptor of the manifest that is meant; see `Layout.resolve`.

        Raises:
            ImageNotFoundError: There is none, or several could be meant; the cause says which there are.
        """
        if digest is None:
            return find_by_tag(self._index, tag, self.path)
        found = find_by_digest(self._index, tag, digest)
        if found is not None:
            return found
        size = self.blob_size(digest)
        if size is None:
            raise ImageNotFoundError(f"there is no image {digest} in {self.path}", path=self.path)
        return sniff_document(self.read_blob(Descriptor("", digest, size)), digest)

    def blob_size(self, digest: Digest) -> int | None:
        """Return how many bytes a blob has, None where it is not there."""
        blob = self._find_blob(digest)
        if blob is None:
            return None
        return len(blob) if isinstance(blob, bytes) else blob.size

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is there, and of that size where one is given."""
        found = self.blob_size(digest)
        return found is not None and size in (None, found)

    def read_blob(self, descriptor: Descriptor, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return a blob's bytes; see `Layout.read_blob`.

        Raises:
            ImageNotFoundError: It is not there.
            InvalidImageError: It is larger than `limit`, or not what its descriptor says.
        """
        with self.open_blob(descriptor) as stream:
            return read_verified(stream, descriptor, self.path, limit)

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return a blob as a file, seekable and of the size that its descriptor says; its digest is not checked.

        It may be read after the archive is closed.

        Raises:
            ImageNotFoundError: It is not there.
            InvalidImageError: It has another size.
        """
        blob = self._find_blob(descriptor.digest)
        if blob is None:
            raise missing_blob(descriptor.digest, self.path)
        size = len(blob) if isinstance(blob, bytes) else blob.size
        if size != descriptor.size:
            raise wrong_size(descriptor.digest, self.path, size, descriptor.size)
        return io.BytesIO(blob) if isinstance(blob, bytes) else self.open_member(blob)

    def _find_blob(self, digest: Digest) -> Member | bytes | None:
        made_up = self._blobs.get(digest)
        return made_up if made_up is not None else self.find_member(f"blobs/{digest.algorithm}/{digest.hex}")

    def find_member(self, name: str) -> Member | None:
        """Return the file in the tar that a name leads to, by links within the tar if need be; None where none does.

        Older dockers save a layer that comes twice as a link to the first (`../ID/layer.tar`).

        Raises:
            InvalidImageError: The links lead out of the tar, in a circle, or to something that is no file.
        """
        member = self._members.get(name)
        for _ in range(_LINKS):
            if member is None or member.kind == "file":
                return member
            if member.kind == "other":
                break
            base = posixpath.dirname(member.name) if member.kind == "symlink" else ""
            target = posixpath.normpath(posixpath.join(base, member.target))
            if posixpath.isabs(target) or target.split("/")[0] == "..":
                break
            member = self._members.get(target)
        raise InvalidImageError(f"{name[:200]} in {self.path} is not a file", cause="it is a link, or a device")

    def open_member(self, member: Member) -> BinaryIO:
        """Return a file in the tar."""
        with explained(f"cannot read {self.path}", self.path):
            return open_section(self._file.fileno(), member.offset, member.size, self.path)

    def read_member(self, name: str, limit: int) -> bytes:
        """Return the content of a file in the tar.

        Args:
            name: Of the file.
            limit: The most bytes that it may have.

        Raises:
            InvalidImageError: It is not there, no file, or too large.
        """
        member = self.find_member(name)
        if member is None:
            raise InvalidImageError(f"{self.path} is not valid", cause=f"{name[:200]!r} is not in it")
        if member.size > limit:
            raise InvalidImageError(
                f"{name[:200]} in {self.path} is too large", cause=f"{member.size:,} bytes; {limit:,} is the most"
            )
        with self.open_member(member) as stream:
            return stream.read()

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
