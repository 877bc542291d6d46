"""Tag: more names for an image, where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import UsageError
from fastoci.events import Sink, Tagged, discard
from fastoci.images.source import RegistryImage, StoredImage, open_image
from fastoci.spec.annotations import IMAGE_NAME
from fastoci.spec.imagename import ImageName, is_ref_name
from fastoci.spec.reference import Reference, is_tag
from fastoci.store.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastoci.registry.options import RegistryOptions

__all__ = ["tag"]


def tag(
    image: str | ImageName, tags: Sequence[str], options: RegistryOptions | None = None, sink: Sink = discard
) -> list[str]:
    """Give an image more tags in its repository or layout; a tag that another image has moves to this one.

    Args:
        image: The image.
        tags: Its new tags.
        options: How the registry is reached.
        sink: Given the events of the work.

    Returns:
        For each tag the image's name with it, in a form that fastoci reads.

    Raises:
        UsageError: A tag is none, or the image is in an archive.
        ImageNotFoundError: The image is not there.
        RegistryError: The registry could not be reached, or does not take the tag.
    """
    with open_image(image, options, sink) as source:
        is_name = is_tag if isinstance(source, RegistryImage) else is_ref_name
        for text in tags:
            if not is_name(text):
                raise UsageError(
                    f"not a tag: {text!r}",
                    cause="a tag names an image where it stands",
                    hint=f"fastoci copy {image} {text}" if "/" in text or ":" in text else None,
                )
        descriptor = source.resolve()
        names = []
        if isinstance(source, RegistryImage):
            data = source.read_manifest(descriptor)
            for text in tags:
                source.client.put_manifest(source.reference.repository, text, descriptor.media_type, data)
                names.append(f"{source.reference.with_tag(text)}@{descriptor.digest}")
        elif isinstance(source, StoredImage) and isinstance(source.store, Layout):
            known = descriptor.annotation(IMAGE_NAME)
            repository = None if known is None else Reference.parse(known)
            for text in tags:
                named = text if repository is None or not is_tag(text) else str(repository.with_tag(text))
                source.store.put_manifest(descriptor, [named])
                names.append(str(ImageName("oci", source.path, text, descriptor.digest)))
        else:
            raise UsageError(
                f"{source.name} is in an archive",
                cause="an archive is written once",
                hint="fastoci copy it to a layout",
            )
        for name in names:
            sink(Tagged(name, str(descriptor.digest), None))
    return names
