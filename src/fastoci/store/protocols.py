"""What every store has in common, whatever it looks like on disk: the faces that use cases work with."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

from fastoci.spec.canonical import DOCUMENT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.index import Index
    from fastoci.store.blobs import BlobWriter

__all__ = ["ImageReader", "ImageWriter"]


class ImageReader(Protocol):
    """Images that can be read."""

    @property
    def path(self) -> str:
        """Where it is, as the user wrote it."""

    def index(self) -> Index:
        """Return what images there are."""

    def resolve(self, tag: str | None, digest: Digest | None = None) -> Descriptor:
        """Return the descriptor of the manifest that a tag or digest means."""

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is there, and of that size where one is given."""

    def blob_size(self, digest: Digest) -> int | None:
        """Return how many bytes a blob has, None where it is not there."""

    def read_blob(self, descriptor: Descriptor, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return a blob's bytes, which are as its descriptor says."""

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return a blob, seekable, of the size that its descriptor says; its digest is for the reader to check."""


class ImageWriter(Protocol):
    """A place that images can be put into."""

    def blob_writer(self) -> BlobWriter:
        """Return a writer for one blob."""

    def put_blob(self, data: bytes, media_type: str) -> Descriptor:
        """Put a small blob, and return its descriptor."""

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is there, and of that size where one is given."""

    def put_manifest(self, descriptor: Descriptor, names: Sequence[str]) -> None:
        """Enter a manifest that was put into the index, under its names."""
