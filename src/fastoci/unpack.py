"""Unpack: the layers of an image applied in order beneath a directory.

Digests and diff_ids are compared while the layers are read, so that no image of wrong bytes is ever unpacked to its
end.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastoci.errors import FastociError, ImageNotFoundError, InvalidImageError
from fastoci.events import LayerUnpacked, LayerUnpacking, Sink, Throttle, Warned, discard
from fastoci.images.documents import read_document, select_manifest
from fastoci.images.layerstream import ImageLayer, LayerStream
from fastoci.images.source import StoredImage, open_image
from fastoci.images.tarstream import zstd_reader
from fastoci.layer.cpus import available_cpus
from fastoci.registry.options import RegistryOptions
from fastoci.rootfs.changeset import Rootfs
from fastoci.rootfs.limits import Limits, Usage
from fastoci.rootfs.owners import Owners
from fastoci.rootfs.target import Target
from fastoci.spec import mediatypes
from fastoci.spec.config import ImageConfig
from fastoci.spec.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform

__all__ = ["Limits", "Owners", "Unpacked", "layers_of", "telling", "unpack"]

_WRITERS = 8
"""Threads that write files, where nobody says how many: more of them wait for each other in the file system."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was unpacked.

    Attributes:
        path: The directory, as the caller named it.
        name: What the user called the image.
        digest: Of its manifest.
        layers: How many it has.
        entries: Of all its layers together.
        size: Bytes of all their tar streams.
        left_out: How many things could not be made or given, by what they are.
    """

    path: str
    name: str
    digest: Digest
    layers: int
    entries: int
    size: int
    left_out: dict[str, int]


def unpack(
    image: str | ImageName,
    path: str,
    options: RegistryOptions | None = None,
    *,
    platform: Platform | None = None,
    merge: bool = False,
    owners: Owners | None = None,
    limits: Limits | None = None,
    threads: int | None = None,
    sink: Sink = discard,
) -> Unpacked:
    """Unpack an image beneath a directory.

    Args:
        image: Its name, of any transport.
        path: The directory. There is none yet, or it is empty; its parent is there.
        options: How a registry is reached.
        platform: Which member of an index; None is this machine's.
        merge: Whether there may be something in the directory, to which the layers are applied as to a lower layer.
        owners: Whose the files become; None is: the layers' owners where the caller is root, else the caller.
        limits: The most that is unpacked; None means the defaults.
        threads: How many make files, at least 1; reading, inflating and each of the digests have one of their own. None
            is one for each CPU that this process may use, and no more than 8.
        sink: Told how it goes on, and what was left out; given the registry client's events.

    Returns:
        What was unpacked.

    Raises:
        UsageError: It is no name of an image.
        ImageNotFoundError: It is not there, or not for this platform.
        InvalidImageError: It is no image, has not the digests that it should have, reaches beyond the directory, or
            goes beyond a limit.
        StoreError: The directory is not empty, or the disk does not take it.
        RegistryError: The registry could not be reached, or does not give it out.
    """
    owners = owners or Owners(keep=os.geteuid() == 0)
    usage = Usage(limits or Limits())
    with open_image(image, options or RegistryOptions(), sink) as source:
        manifest, _, layers = layers_of(source, platform)
        target = Target(path, merge=merge)
        try:
            with target:
                entries, left_out = _fill(source, target, layers, owners, usage, threads, sink)
        except BaseException:
            if target.is_left:
                sink(Warned(f"{target.place} holds what was unpacked before it failed"))
            raise
        for what, count in sorted(left_out.items()):
            sink(Warned(f"left out of {path}: {count:,} {what}"))
        return Unpacked(path, source.name, manifest, len(layers), entries, usage.size, left_out)


def _fill(
    source: ImageSource,
    target: Target,
    layers: list[ImageLayer],
    owners: Owners,
    usage: Usage,
    threads: int | None,
    sink: Sink,
) -> tuple[int, dict[str, int]]:
    total = 0
    rootfs = Rootfs(
        target.fd,
        target.path,
        owners,
        usage,
        occupied=target.is_occupied,
        is_new=target.is_new,
        threads=threads or min(available_cpus(), _WRITERS),
    )
    with closing(rootfs), closing(_streams(source, layers, usage)) as streams:
        for layer, stream in streams:
            started = time.monotonic()
            before = usage.size
            entries = rootfs.apply(stream.pieces(telling(layer, sink)), layer.what)
            total += entries
            digest = str(layer.descriptor.digest)
            sink(LayerUnpacked(layer.title, digest, entries, usage.size - before, time.monotonic() - started))
        rootfs.finish()
    return total, rootfs.refused


def _streams(
    source: ImageSource, layers: list[ImageLayer], usage: Usage
) -> Generator[tuple[ImageLayer, LayerStream], None, None]:
    """Yield the layers with their streams; the next one's is inflated already, as far as it has room."""
    following: LayerStream | None = None
    try:
        for number, layer in enumerate(layers, 1):
            stream, following = following or LayerStream(source, layer, usage), None
            with closing(stream):
                # A registry's connection would lie idle until its server gives it up.
                if number < len(layers) and isinstance(source, StoredImage):
                    following = LayerStream(source, layers[number], usage)
                yield layer, stream
    finally:
        if following is not None:
            following.close()


def telling(layer: ImageLayer, sink: Sink) -> Callable[[int], None]:
    """Return what tells a sink how far a layer is."""
    throttle, done, total = Throttle(), 0, layer.descriptor.size
    sink(LayerUnpacking(layer.title, done, total))

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if throttle.due():
            sink(LayerUnpacking(layer.title, done, total))

    return advance


def layers_of(source: ImageSource, platform: Platform | None) -> tuple[Digest, ImageConfig, list[ImageLayer]]:
    """Return the digest of an image's manifest, its config, and its layers, the lowest first.

    Args:
        source: Where the image is.
        platform: Which member of an index; None is this machine's.

    Raises:
        ImageNotFoundError: It is not there, or not for this platform.
        InvalidImageError: It is no image of a root filesystem, or one of its documents is not valid.
        FastociError: Nothing here inflates one of its layers.
    """
    descriptor = select_manifest(source, source.resolve(), platform)
    manifest = read_document(source, descriptor)
    if not isinstance(manifest, Manifest):  # select_manifest returns no index
        raise TypeError(manifest)
    if manifest.config.media_type not in mediatypes.CONFIGS:
        raise InvalidImageError(
            f"{source.name} is no image of a root filesystem",
            cause=f"it is an artifact: {manifest.artifact_type or manifest.config.media_type}",
            digest=str(descriptor.digest),
        )
    what = f"the config {manifest.config.digest} of {source.name}"
    config = ImageConfig.from_bytes(source.read_blob(manifest.config), what)
    if platform is not None and not platform.matches(config.platform):
        raise ImageNotFoundError(
            f"{source.name} is not for {platform}", path=source.name, cause=f"it is for {config.platform}"
        )
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidImageError(
            "config and manifest do not belong together",
            cause=f"{len(config.diff_ids)} diff_ids, {len(manifest.layers)} layers",
            digest=str(manifest.config.digest),
        )
    pairs = zip(manifest.layers, config.diff_ids, strict=True)
    return descriptor.digest, config, [_layer(source, layer, diff_id) for layer, diff_id in pairs]


def _layer(source: ImageSource, descriptor: Descriptor, diff_id: Digest) -> ImageLayer:
    what = f"the layer {descriptor.digest} of {source.name}"
    compression = mediatypes.compression_of(descriptor.media_type)
    if compression is None:
        raise InvalidImageError(
            f"{what} cannot be unpacked", cause=f"its media type is {descriptor.media_type[:100]!r}, which is no tar"
        )
    if compression == "zstd" and zstd_reader() is None:
        raise FastociError(
            f"{what} cannot be unpacked",
            cause="nothing here inflates zstd",
            hint="pip install 'fastoci[zstd]', or use Python 3.14, which has it",
        )
    if not diff_id.is_supported:
        raise InvalidImageError(f"{what} cannot be unpacked", cause=f"its diff_id is {diff_id.algorithm}")
    return ImageLayer(descriptor, diff_id, compression, what)
