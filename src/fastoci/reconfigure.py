"""Config: another config, and other annotations, for an image that stands; its layers stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fastoci.building.config import ConfigOptions, format_time, override
from fastoci.copy import CopiedImage, put
from fastoci.errors import UsageError
from fastoci.events import Sink, discard
from fastoci.images.composed import ComposedImage
from fastoci.images.inplace import place_of, read_image
from fastoci.images.source import ImageSource, open_image
from fastoci.spec import mediatypes
from fastoci.spec.config import History
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.imagename import ImageName
from fastoci.spec.reference import is_tag

if TYPE_CHECKING:
    from fastoci.registry.options import RegistryOptions
    from fastoci.spec.digest import Digest

__all__ = ["set_config"]


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
        manifest, before = read_image(source, found, "config")
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
