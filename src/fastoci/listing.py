"""List: the tags of a repository, the images of a layout or archive, and what speaks about an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastoci.errors import UsageError
from fastoci.events import Sink, discard
from fastoci.images.source import RegistryImage, StoredImage, locate_image, open_image
from fastoci.spec.annotations import IMAGE_NAME, REF_NAME
from fastoci.spec.imagename import ImageName
from fastoci.spec.reference import Reference

if TYPE_CHECKING:
    from fastoci.registry.options import RegistryOptions
    from fastoci.spec.descriptor import Descriptor

__all__ = ["Listed", "list_images", "list_referrers"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list.

    Attributes:
        tag: What it is called there; its digest where it has no name.
        name: The same with its place, in a form that fastoci reads.
        descriptor: Of its manifest or index; None at a registry, which lists names alone.
    """

    tag: str
    name: str
    descriptor: Descriptor | None = None

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON object."""
        return {
            "tag": self.tag,
            "name": self.name,
            "descriptor": None if self.descriptor is None else self.descriptor.to_json(),
        }


def list_images(place: str | ImageName, options: RegistryOptions | None = None, sink: Sink = discard) -> list[Listed]:
    """Return the images of a repository, layout or archive.

    Args:
        place: A repository (`HOST/REPOSITORY`), a layout or an archive, without a tag.
        options: How the registry is reached.
        sink: Given the registry client's events.

    Raises:
        UsageError: It names an image, not a place.
        ImageNotFoundError: There is no such layout or archive.
        RegistryError: The registry could not be reached, or does not list them.
    """
    located = locate_image(place)
    if located.tag is not None or located.digest is not None:
        raise UsageError(f"{place} names one image", hint=f"leave out what follows {located.location}")
    if located.transport == "docker":
        from fastoci.registry.client import RegistryClient
        from fastoci.registry.tags import list_tags

        reference = Reference.parse(located.target, default_tag=None)
        with RegistryClient(reference.host, options, sink) as client:
            tags = list_tags(client, reference.repository)
        return [Listed(tag, str(reference.with_tag(tag))) for tag in tags]
    listed = []
    with open_image(located) as source:
        if not isinstance(source, StoredImage):
            raise TypeError(source)
        for entry in source.store.index().manifests:
            tag = entry.annotation(REF_NAME) or entry.annotation(IMAGE_NAME)
            name = ImageName(located.transport, located.location, tag, entry.digest)
            listed.append(Listed(tag or str(entry.digest), str(name), entry))
    return listed


def list_referrers(
    image: str | ImageName, options: RegistryOptions | None = None, sink: Sink = discard
) -> list[Listed]:
    """Return the manifests at a registry whose subject an image is, such as its signatures.

    Args:
        image: The image.
        options: How the registry is reached.
        sink: Given the registry client's events.

    Raises:
        UsageError: The image is not at a registry.
        RegistryError: The registry could not be reached, or does not list them.
    """
    from fastoci.registry.referrers import list_referrers as list_them

    with open_image(image, options, sink) as source:
        if not isinstance(source, RegistryImage):
            raise UsageError(f"{source.name} is not at a registry", cause="only a registry lists referrers")
        reference = source.reference
        digest = reference.digest or source.resolve().digest
        found = list_them(source.client, reference.repository, digest).manifests
    return [Listed(str(entry.digest), f"{reference.name}@{entry.digest}", entry) for entry in found]
