"""An image that is put together of parts that stand in several places, and nowhere yet as a whole."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO, Literal

from fastoci.errors import ImageNotFoundError
from fastoci.images.source import ImageSource, Source

if TYPE_CHECKING:
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.reference import Reference
    from fastoci.store.verified import Hasher, VerifiedStream

__all__ = ["ComposedImage"]


class ComposedImage(Source):
    """An image of new documents over parts of other images.

    Args:
        name: What to call it.
        top: Its manifest or index, which is one of the documents.
        documents: The new manifests, indexes and configs by digest.
        parts: Where everything else is: manifests, indexes and blobs by digest. They stay open when this is closed.
    """

    def __init__(
        self, name: str, top: Descriptor, documents: Mapping[Digest, bytes], parts: Mapping[Digest, ImageSource]
    ) -> None:
        self._name = name
        self._top = top
        self._documents = documents
        self._parts = parts

    @property
    def name(self) -> str:
        """What to call it."""
        return self._name

    @property
    def place(self) -> Literal["layout", "archive", "registry"]:
        """Where it is kept; the parts know better."""
        return "layout"

    def resolve(self) -> Descriptor:
        """Return the descriptor of its manifest or index."""
        return self._top

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a manifest or index."""
        data = self._documents.get(descriptor.digest)
        return self._part(descriptor.digest).read_manifest(descriptor) if data is None else data

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a small blob."""
        data = self._documents.get(descriptor.digest)
        return self._part(descriptor.digest).read_blob(descriptor) if data is None else data

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return a stream of a blob."""
        data = self._documents.get(descriptor.digest)
        return self._part(descriptor.digest).open_blob(descriptor) if data is None else io.BytesIO(data)

    def open_verified(self, descriptor: Descriptor, offset: int = 0, hasher: Hasher | None = None) -> VerifiedStream:
        """Return a stream of a blob from an offset on; the end of one of wrong bytes is an error."""
        data = self._documents.get(descriptor.digest)
        if data is not None:
            return io.BytesIO(data[offset:])
        return self._part(descriptor.digest).open_verified(descriptor, offset, hasher)

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is there, and of that size where one is given."""
        data = self._documents.get(digest)
        if data is not None:
            return size in (None, len(data))
        return digest in self._parts and self._parts[digest].has_blob(digest, size)

    def origin(self, digest: Digest) -> Reference | None:
        """Return the repository at a registry that a blob comes from."""
        return self._parts[digest].origin(digest) if digest in self._parts else None

    @property
    def mended(self) -> int:
        """How often, so far, a stream of a blob broke off and was gone on with."""
        return sum(part.mended for part in self._distinct())

    def cancel(self) -> None:
        """Have whoever waits for one of the parts wait no longer."""
        for part in self._distinct():
            part.cancel()

    def _distinct(self) -> list[ImageSource]:
        return list({id(part): part for part in self._parts.values()}.values())

    def _part(self, digest: Digest) -> ImageSource:
        try:
            return self._parts[digest]
        except KeyError:
            raise ImageNotFoundError(f"there is no blob {digest} in {self._name}", path=self._name) from None
