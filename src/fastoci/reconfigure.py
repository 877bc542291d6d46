"""Config: another config, and other annotations, for an image that stands; its layers stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fastoci.composed import ComposedImage
from fastoci.copy import CopiedImage, put
from fastoci.errors import InvalidImageError, UsageError
from fastoci.events import Sink, discard
from fastoci.image import ImageSource, RegistryImage, StoredImage, open_image, read_document
from fastoci.imageconfig import ConfigOptions, format_time, override
from fastoci.spec import mediatypes
from fastoci.spec.annotations import IMAGE_NAME, REF_NAME
from fastoci.spec.config import History, ImageConfig
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.imagename import ImageName
from fastoci.spec.index import Index
from fastoci.spec.reference import is_tag
from fastoci.store.layout import Layout

if TYPE_CHECKING:
    from fastoci.registry.options import RegistryOptions
    from fastoci.spec.digest import Digest

__all__ = ["place_of", "set_config"]


def set_config(
    image: str | ImageName,
    changes: ConfigOptions,
    options: RegistryOptions | None = None,
    *,
    tag: str | None = None,
    source_date_epoch: int | None = None,
    sink: Sink = discard,
) -> CopiedImage:
    """Give an image another config, where it stands: its tag means the new one then.

    Args:
        image: The image.
        changes: What is to be said instead, or besides; see `ConfigOptions`.
        options: How the registry is reached.
        tag: The tag of the new image; None moves that of the old one, and where it was named by its digest gives none.
        source_date_epoch: When the new one was made, seconds since 1970, where `changes` do not say; None leaves that
            as it was.
        sink: Given the events of the work.

    Raises:
        UsageError: Nothing is to be changed, or the image is an index or in an archive.
        ImageNotFoundError: The image is not there.
        InvalidImageError: It is not valid, or no image that runs.
        RegistryError: The registry could not be reached, or does not take it.
        StoreError: The layout cannot be written.
    """
    if changes == ConfigOptions():
        raise UsageError("nothing to change", hint="fastoci config set --help lists what a config says")
    if tag is not None and not is_tag(tag):
        raise UsageError(f"not a tag: {tag!r}")
    with open_image(image, options, sink) as source:
        found = source.resolve()
        manifest = read_document(source, found)
        if isinstance(manifest, Index):
            raise UsageError(
                f"{source.name} is an index",
                cause="each of its images has a config of its own",
                hint="name one of them by its digest, and join them with fastoci index create",
            )
        if manifest.config.media_type not in mediatypes.CONFIGS:
            raise InvalidImageError(
                f"{source.name} is no image that runs", cause=f"its config is {manifest.config.media_type[:100]!r}"
            )
        what = f"the config {manifest.config.digest} of {source.name}"
        before = ImageConfig.from_bytes(source.read_blob(manifest.config), what)
        moment = changes.created if changes.created is not None else source_date_epoch
        created = before.created if moment is None else format_time(moment)
        step = History(created=created, created_by="fastoci config set", comment="fastoci", empty_layer=True)
        config = override(before, changes, created=created, history=(step,)).to_bytes()
        config_descriptor = Descriptor.of(manifest.config.media_type, config)
        if changes.annotations and manifest.media_type != mediatypes.OCI_MANIFEST:
            raise UsageError(f"{source.name} is Docker's schema 2, which has no annotations")
        annotations = {**(manifest.annotations or {}), **changes.annotations}
        data = replace(manifest, config=config_descriptor, annotations=annotations or None).to_bytes()
        top = Descriptor.of(manifest.media_type, data)
        parts: dict[Digest, ImageSource] = dict.fromkeys((layer.digest for layer in manifest.layers), source)
        documents = {config_descriptor.digest: config, top.digest: data}
        target, names = place_of(source, found, tag, top.digest)
        composed = ComposedImage(source.name, top, documents, parts)
        return put(composed, top, target, options, names=names, sink=sink)


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
