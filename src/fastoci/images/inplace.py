"""Images changed where they stand: what can be read of the old one, and where the new one goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import InvalidImageError, UsageError
from fastoci.images.documents import read_document
from fastoci.images.source import ImageSource, RegistryImage, StoredImage
from fastoci.spec import mediatypes
from fastoci.spec.annotations import IMAGE_NAME, REF_NAME
from fastoci.spec.config import ImageConfig
from fastoci.spec.imagename import ImageName
from fastoci.spec.index import Index
from fastoci.store.layout import Layout

if TYPE_CHECKING:
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.manifest import Manifest

__all__ = ["place_of", "read_image"]


def read_image(source: ImageSource, found: Descriptor, what: str) -> tuple[Manifest, ImageConfig]:
    """Return the manifest and the config of one image that runs.

    Args:
        source: Where it is.
        found: Its descriptor.
        what: What each member of an index has of its own, and is to be changed.

    Raises:
        UsageError: It is an index.
        InvalidImageError: It is not valid, or no image that runs.
    """
    manifest = read_document(source, found)
    if isinstance(manifest, Index):
        raise UsageError(
            f"{source.name} is an index",
            cause=f"each of its images has a {what} of its own",
            hint="name one of them by its digest, and join them with fastoci index create",
        )
    if manifest.config.media_type not in mediatypes.CONFIGS:
        raise InvalidImageError(
            f"{source.name} is no image that runs", cause=f"its config is {manifest.config.media_type[:100]!r}"
        )
    config = source.read_blob(manifest.config)
    return manifest, ImageConfig.from_bytes(config, f"the config {manifest.config.digest} of {source.name}")


def place_of(source: ImageSource, found: Descriptor, tag: str | None, digest: Digest) -> tuple[ImageName, list[str]]:
    """Return where an image that is to stand in another's place goes, and its names in a layout.

    Args:
        source: The image whose place it takes.
        found: The descriptor of that.
        tag: The new one's tag; None takes over that of the other.
        digest: The new one's.

    Raises:
        UsageError: The other is in an archive.
    """
    if isinstance(source, RegistryImage):
        reference = source.reference
        tag = tag or (reference.tag if reference.digest is None else None)
        return ImageName("docker", reference.name, tag, digest if tag is None else None), []
    if not isinstance(source, StoredImage) or not isinstance(source.store, Layout):
        raise UsageError(
            f"{source.name} is in an archive", cause="an archive is written once", hint="fastoci copy it to a layout"
        )
    if tag is None and source.image.digest is None:
        entries = [entry for entry in source.store.index().manifests if entry.digest == found.digest]
        wanted = source.image.tag
        names = [
            entry.annotation(IMAGE_NAME) or entry.annotation(REF_NAME)
            for entry in entries
            if wanted is None or wanted in (entry.annotations or {}).values()
        ]
        return ImageName("oci", source.path), [name for name in names if name]
    return ImageName("oci", source.path, tag), []
