"""The image that a build starts from: `--from`, wherever it is.

Its layers are used as they are, unread where nobody has to read them: a registry that has them mounts them, and what
must be had here comes from a registry once, into the cache. Docker's schema 2 is taken, too; the new image is OCI's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fastoci.building.config import inherited
from fastoci.errors import InvalidImageError
from fastoci.events import Notice, Sink, Warned
from fastoci.images.cache import CachedImage, open_cache
from fastoci.images.documents import read_document, select_manifest
from fastoci.images.layerfiles import BaseLayerFiles
from fastoci.images.source import ImageSource, StoredImage, open_image, options_for
from fastoci.layer.pack import PackedLayer
from fastoci.spec import mediatypes
from fastoci.spec.annotations import BASE_DIGEST, BASE_NAME, IMAGE_NAME
from fastoci.spec.config import ImageConfig
from fastoci.spec.index import Index
from fastoci.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import ExitStack

    from fastoci.registry.options import RegistryOptions
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.manifest import Manifest
    from fastoci.spec.platform import Platform

__all__ = ["BaseImage", "open_base"]


@dataclass(frozen=True, slots=True)
class BaseImage:
    """An image to build on, for one platform.

    Attributes:
        source: Where its layers are; what comes from a registry is fetched when it is opened.
        config: What is inherited of its config.
        layers: Its layers by OCI's media types, lowest first.
        packed: The same as what later layers ask for the directories above them.
        annotations: What the new image says of its base (image-spec annotations.md).
    """

    source: ImageSource
    config: ImageConfig
    layers: tuple[Descriptor, ...]
    packed: tuple[PackedLayer, ...]
    annotations: dict[str, str]

    def is_here(self, layer: Descriptor) -> bool:
        """Return whether a layer is to be had: one that may not be distributed may be at its `urls` alone."""
        return not (layer.media_type in mediatypes.NONDISTRIBUTABLE and layer.urls) or self.source.has_blob(
            layer.digest
        )


def open_base(
    image: str | ImageName,
    platform: Platform | None,
    options: RegistryOptions,
    sink: Sink,
    stack: ExitStack,
    *,
    login_hosts: Collection[str] = (),
) -> BaseImage:
    """Read the documents of a base image.

    Args:
        image: Its name.
        platform: What the new image is for; None takes the base's, and of an index the member for this host.
        options: How a registry is reached.
        sink: Told of what is odd about it.
        stack: Whose end closes it.
        login_hosts: The hosts that credentials of the options are meant for; none at all means any.

    Raises:
        UsageError: It is no name of an image.
        ImageNotFoundError: It is not there, or not for the platform.
        InvalidImageError: It is not valid, or no image that runs.
        RegistryError: The registry does not give it.
    """
    source = stack.enter_context(open_image(image, options_for(image, options, login_hosts), sink))
    found = source.resolve()
    chosen = select_manifest(source, found, platform)
    manifest = read_document(source, chosen)
    if isinstance(manifest, Index):  # select_manifest returns no index
        raise TypeError(manifest)
    config = _config(source, manifest)
    if platform is not None and not platform.matches(config.platform):
        sink(Warned(f"the base {source.name} is for {config.platform}, and the image becomes one for {platform}"))
    if triggers := config.config_extra.get("OnBuild"):
        count = len(triggers) if isinstance(triggers, list) else 1
        sink(Warned(f"{count} ONBUILD of the base {source.name} not run: fastoci runs nothing"))
    layers = tuple(replace(layer, media_type=mediatypes.oci_layer(layer.media_type)) for layer in manifest.layers)
    annotations = {BASE_DIGEST: str(found.digest)}
    if name := _name(source, found):
        annotations[BASE_NAME] = name
    sink(Notice(f"base {source.name}: {chosen.digest}, {config.platform}, {len(layers)} layers"))
    if source.place == "registry":
        source = CachedImage(source, open_cache(stack, sink), sink)
    packed = tuple(
        PackedLayer(layer, diff_id, 0, 0, None, None, BaseLayerFiles(source, layer, sink))
        for layer, diff_id in zip(layers, config.diff_ids, strict=True)
    )
    return BaseImage(source, inherited(config), layers, packed, annotations)


def _config(source: ImageSource, manifest: Manifest) -> ImageConfig:
    descriptor = manifest.config
    if descriptor.media_type not in mediatypes.CONFIGS:
        raise InvalidImageError(
            f"{source.name} is no image to build on", cause=f"its config is {descriptor.media_type[:100]!r}"
        )
    what = f"the config {descriptor.digest} of {source.name}"
    config = ImageConfig.from_bytes(source.read_blob(descriptor), what)
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidImageError(
            f"{source.name} is not valid",
            cause=f"its config has {len(config.diff_ids)} diff_ids, its manifest {len(manifest.layers)} layers",
            digest=str(descriptor.digest),
        )
    for layer in manifest.layers:
        if layer.media_type not in mediatypes.LAYERS:
            raise InvalidImageError(
                f"{source.name} is no image to build on", cause=f"one of its layers is {layer.media_type[:100]!r}"
            )
    return config


def _name(source: ImageSource, found: Descriptor) -> str | None:
    """Return what the base is called at a registry, None where nobody says so."""
    name = found.annotation(IMAGE_NAME) if isinstance(source, StoredImage) else source.name
    if name is None:
        return None
    reference = Reference.parse(name)
    return str(reference if reference.tag is None else reference.with_tag(reference.tag))
