"""Inspect: what an image is, from its documents alone; no layer is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastoci.errors import ImageNotFoundError, InvalidImageError
from fastoci.events import Sink, discard
from fastoci.images.documents import read_document, select_manifest
from fastoci.images.source import open_image
from fastoci.registry.options import RegistryOptions
from fastoci.spec import mediatypes
from fastoci.spec.config import ImageConfig
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform

__all__ = ["Inspection", "Layer", "describe", "inspect", "read_config", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of an image.

    Attributes:
        descriptor: Of its blob.
        diff_id: Of its tar stream, as the config says; None in an artifact.
        created_by: What made it, as the config says; None where it does not.
    """

    descriptor: Descriptor
    diff_id: Digest | None = None
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an image is.

    Attributes:
        name: What the user called it.
        descriptor: Of its manifest or index.
        document: The manifest or index.
        config: What a container of it does; None for an index and an artifact.
        layers: Lowest first; none for an index.
    """

    name: str
    descriptor: Descriptor
    document: Manifest | Index
    config: ImageConfig | None = None
    layers: tuple[Layer, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all layers as they are stored and sent."""
        return sum(layer.descriptor.size for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON object; what is not there is null or empty."""
        common = {
            "name": self.name,
            "digest": str(self.descriptor.digest),
            "mediaType": self.descriptor.media_type,
            "size": self.descriptor.size,
            "annotations": dict(self.document.annotations or {}),
        }
        if isinstance(self.document, Index):
            return {**common, "manifests": [entry.to_json() for entry in self.document.manifests]}
        config = self.config
        return {
            **common,
            "platform": None if config is None else str(config.platform),
            "created": None if config is None else config.created,
            "config": self.document.config.to_json(),
            "layersSize": self.size,
            "layers": [
                {
                    **layer.descriptor.to_json(),
                    "diffId": None if layer.diff_id is None else str(layer.diff_id),
                    "createdBy": layer.created_by,
                }
                for layer in self.layers
            ],
            "image": None if config is None else config.to_json(),
        }


def inspect(
    image: str | ImageName,
    options: RegistryOptions | None = None,
    *,
    platform: Platform | None = None,
    sink: Sink = discard,
) -> Inspection:
    """Return what an image is.

    Args:
        image: Its name, of any transport.
        options: How a registry is reached.
        platform: Which member of an index; None means the index itself.
        sink: Given the registry client's events.

    Raises:
        UsageError: It is no name of an image.
        ImageNotFoundError: It is not there, or not for this platform.
        InvalidImageError: One of its documents is not valid.
        RegistryError: The registry could not be reached, or does not give it out.
    """
    with open_image(image, options or RegistryOptions(), sink) as source:
        return describe(source, _choose(source, platform), platform)


def describe(source: ImageSource, descriptor: Descriptor, platform: Platform | None = None) -> Inspection:
    """Return what an image is that can be read.

    Args:
        source: Where it is.
        descriptor: Of its manifest or index there.
        platform: What it has to be for, None being any.

    Raises:
        FastociError: See `inspect`.
    """
    document = read_document(source, descriptor)
    if isinstance(document, Index):
        return Inspection(source.name, descriptor, document)
    if document.config.media_type not in mediatypes.CONFIGS:
        return Inspection(source.name, descriptor, document, None, tuple(map(Layer, document.layers)))
    what = f"the config {document.config.digest} of {source.name}"
    config = ImageConfig.from_bytes(source.read_blob(document.config), what)
    if platform is not None and descriptor == source.resolve() and not platform.matches(config.platform):
        # There was no index to choose from.
        raise ImageNotFoundError(
            f"{source.name} is not for {platform}", path=source.name, cause=f"it is for {config.platform}"
        )
    return Inspection(source.name, descriptor, document, config, tuple(_layers(document, config)))


def read_digest(
    image: str | ImageName,
    options: RegistryOptions | None = None,
    *,
    platform: Platform | None = None,
    sink: Sink = discard,
) -> Digest:
    """Return the digest of an image's manifest, or of its index where no platform is named; see `inspect`."""
    with open_image(image, options or RegistryOptions(), sink) as source:
        return _choose(source, platform).digest


def read_manifest(
    image: str | ImageName,
    options: RegistryOptions | None = None,
    *,
    platform: Platform | None = None,
    sink: Sink = discard,
) -> bytes:
    """Return the bytes of an image's manifest, or of its index where no platform is named; see `inspect`."""
    with open_image(image, options or RegistryOptions(), sink) as source:
        return source.read_manifest(_choose(source, platform))


def read_config(
    image: str | ImageName,
    options: RegistryOptions | None = None,
    *,
    platform: Platform | None = None,
    sink: Sink = discard,
) -> bytes:
    """Return the bytes of an image's config; of an index that of the member for `platform`, None being this machine's.

    See `inspect`.
    """
    with open_image(image, options or RegistryOptions(), sink) as source:
        document = read_document(source, select_manifest(source, source.resolve(), platform))
        if isinstance(document, Index):  # select_manifest returns no index
            raise TypeError(document)
        return source.read_blob(document.config)


def _choose(source: ImageSource, platform: Platform | None) -> Descriptor:
    descriptor = source.resolve()
    return descriptor if platform is None else select_manifest(source, descriptor, platform)


def _layers(manifest: Manifest, config: ImageConfig) -> Iterator[Layer]:
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidImageError(
            "config and manifest do not belong together",
            cause=f"{len(config.diff_ids)} diff_ids, {len(manifest.layers)} layers",
            digest=str(manifest.config.digest),
        )
    # config.md, "history": the steps that are not marked as empty made the layers, in the same order.
    steps = [step.created_by for step in config.history if not step.empty_layer]
    if len(steps) != len(manifest.layers):
        steps = [None] * len(manifest.layers)
    for descriptor, diff_id, step in zip(manifest.layers, config.diff_ids, steps, strict=True):
        yield Layer(descriptor, diff_id, step)
