"""Everything that an image consists of, read from its documents: what has to stand somewhere before the image does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastoci.errors import InvalidImageError
from fastoci.images.documents import read_document
from fastoci.spec import mediatypes
from fastoci.spec.config import ImageConfig
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.platform import Platform

__all__ = ["Contents"]

_NESTING = 4  # indexes within indexes; one within another is what is seen
_MOST = 100_000  # documents and blobs of one image; a manifest of 4 MiB has room for 20,000 layers


@dataclass(frozen=True, slots=True)
class Contents:
    """The blobs and documents of an image, or of an index with all its members.

    Attributes:
        blobs: Configs and layers with what to call them on screen, each once, largest first.
        manifests: Of manifests and indexes, those that are listed before those that list them.
        platform: What the image is for; None for an index and an artifact.
    """

    blobs: tuple[tuple[Descriptor, str], ...]
    manifests: tuple[Descriptor, ...]
    platform: Platform | None

    @classmethod
    def collect(cls, source: ImageSource, descriptor: Descriptor, *, elsewhere: Container[Digest] = ()) -> Contents:
        """Read the documents of an image, and make sure that every blob they name is there.

        What is at a registry is not asked for: to find out costs a request a blob, and whoever reads it finds out.

        Args:
            source: Where the image is.
            descriptor: Of its manifest or index.
            elsewhere: Blobs that need not be there.

        Raises:
            ImageNotFoundError: A document or blob is not there.
            InvalidImageError: A document is not valid.
        """
        blobs: dict[Digest, tuple[Descriptor, str]] = {}
        manifests: dict[Digest, Descriptor] = {}
        for found, document in _walk(source, descriptor, 0, set()):
            manifests[found.digest] = found
            if isinstance(document, Manifest):
                for blob, title in _blobs(document):
                    if blob.digest not in blobs and not _is_elsewhere(source, blob):
                        blobs[blob.digest] = blob, title
            if len(manifests) + len(blobs) > _MOST:
                raise InvalidImageError(f"{source.name} is too large", cause=f"it has over {_MOST:,} blobs")
        for blob, _ in blobs.values():
            if blob.digest not in elsewhere and source.origin(blob.digest) is None:
                # Says what is wrong with it, if something is.
                source.open_blob(blob).close()
        # The largest begins first, so that none is left to travel alone at the end.
        ordered = sorted(blobs.values(), key=lambda item: -item[0].size)
        return cls(tuple(ordered), tuple(manifests.values()), _platform(source, descriptor))


def _walk(
    source: ImageSource, descriptor: Descriptor, depth: int, seen: set[Digest]
) -> Iterator[tuple[Descriptor, Manifest | Index]]:
    """Yield a manifest, or an index after all that it lists, with their documents, each once."""
    seen.add(descriptor.digest)
    document = read_document(source, descriptor)
    if isinstance(document, Index):
        if depth == _NESTING:
            raise InvalidImageError(
                f"{source.name} is nested too deeply", cause=f"more than {_NESTING} indexes in each other"
            )
        for entry in document.manifests:
            if entry.digest not in seen:
                yield from _walk(source, entry, depth + 1, seen)
    yield descriptor, document


def _blobs(manifest: Manifest) -> Iterator[tuple[Descriptor, str]]:
    yield manifest.config, "config"
    for layer in manifest.layers:
        yield layer, layer.digest.short


def _is_elsewhere(source: ImageSource, blob: Descriptor) -> bool:
    """Return whether a layer may not be distributed, and is not here: its `urls` say where it is (layer.md)."""
    return blob.media_type in mediatypes.NONDISTRIBUTABLE and bool(blob.urls) and not source.has_blob(blob.digest)


def _platform(source: ImageSource, descriptor: Descriptor) -> Platform | None:
    if descriptor.platform is not None or descriptor.media_type not in mediatypes.MANIFESTS:
        return descriptor.platform
    document = read_document(source, descriptor)
    if not isinstance(document, Manifest) or document.config.media_type not in mediatypes.CONFIGS:
        return None
    return ImageConfig.from_bytes(source.read_blob(document.config), f"the config {document.config.digest}").platform
