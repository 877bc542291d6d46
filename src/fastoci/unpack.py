"""Unpack: the layers of an image applied in order beneath a directory.

Three threads share the work on a layer: one reads, hashes and inflates the blob, the second hashes the tar stream, and
the calling one makes the files. Digests and diff_ids are compared while the layers are read, so that no image of wrong
bytes is ever unpacked to its end.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from fastoci.counted import CountedReader
from fastoci.documents import read_document, select_manifest
from fastoci.errors import FastociError, ImageNotFoundError, InvalidImageError
from fastoci.events import LayerUnpacked, LayerUnpacking, Sink, Throttle, Warned, discard
from fastoci.image import open_image
from fastoci.registry.options import RegistryOptions
from fastoci.rootfs.changeset import Rootfs
from fastoci.rootfs.limits import Limits, Usage
from fastoci.rootfs.owners import Owners
from fastoci.rootfs.target import Target
from fastoci.spec import mediatypes
from fastoci.spec.config import ImageConfig
from fastoci.spec.manifest import Manifest
from fastoci.spec.mediatypes import Compression
from fastoci.tarstream import Ahead, BrokenStreamError, inflate, zstd_reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastoci.image import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform

__all__ = ["ImageLayer", "Limits", "Owners", "TarStream", "Unpacked", "layers_of", "unpack"]

_TITLE_DIGITS = 8


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
        manifest, layers = layers_of(source, platform)
        target = Target(path, merge=merge)
        try:
            with target:
                entries, left_out = _fill(source, target, layers, owners, usage, sink)
        except BaseException:
            if target.is_left:
                sink(Warned(f"{target.place} holds what was unpacked before it failed"))
            raise
        for what, count in sorted(left_out.items()):
            sink(Warned(f"left out of {path}: {count:,} {what}"))
        return Unpacked(path, source.name, manifest, len(layers), entries, usage.size, left_out)


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """A layer of an image.

    Attributes:
        descriptor: Of its blob.
        diff_id: Of its tar stream, as the config says.
        compression: How the blob is compressed.
        what: What to call it in errors.
    """

    descriptor: Descriptor
    diff_id: Digest
    compression: Compression
    what: str

    @property
    def title(self) -> str:
        """What to call it on screen."""
        return self.descriptor.digest.hex[:_TITLE_DIGITS]


def _fill(
    source: ImageSource, target: Target, layers: list[ImageLayer], owners: Owners, usage: Usage, sink: Sink
) -> tuple[int, dict[str, int]]:
    total = 0
    rootfs = Rootfs(target.fd, target.path, owners, usage, occupied=target.is_occupied, is_new=target.is_new)
    with closing(rootfs):
        for layer in layers:
            started = time.monotonic()
            before = usage.size
            stream = TarStream(source, layer, usage, sink)
            with closing(stream):
                entries = rootfs.apply(iter(stream), layer.what)
            total += entries
            digest = str(layer.descriptor.digest)
            sink(LayerUnpacked(layer.title, digest, entries, usage.size - before, time.monotonic() - started))
        rootfs.finish()
    return total, rootfs.refused


class TarStream:
    """A layer's tar stream, compared with its digests and held against the limits as it passes.

    Args:
        source: Where the layer is.
        layer: The layer.
        usage: Counts its bytes.
        sink: Told how it goes on.
    """

    def __init__(self, source: ImageSource, layer: ImageLayer, usage: Usage, sink: Sink) -> None:
        self._layer = layer
        self._usage = usage
        self._sink = sink
        self._diff = hashlib.new(layer.diff_id.algorithm)
        self._stream = source.open_verified(layer.descriptor)
        self._blob = CountedReader(self._stream)
        self._inflated = Ahead(lambda: inflate(cast("BinaryIO", self._blob), layer.compression))
        self._hashed = Ahead(self._hash, "fastoci-diff-id")

    def close(self) -> None:
        """Stop the threads, and close the blob."""
        # The one that takes from the other goes first, or it would wait for what was taken away.
        self._hashed.close()
        self._inflated.close()
        self._stream.close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the stream.

        Raises:
            InvalidImageError: It is not what its digests say, or grows beyond a limit.
        """
        layer, total = self._layer, self._layer.descriptor.size
        throttle = Throttle()
        done = 0
        self._sink(LayerUnpacking(layer.title, 0, total))
        try:
            for piece in self._hashed:
                done += len(piece)
                self._usage.add_bytes(layer.what, len(piece))
                self._usage.check_ratio(layer.what, done, self._blob.size)
                if throttle.due():
                    self._sink(LayerUnpacking(layer.title, self._blob.size, total))
                yield piece
            # A decompressor may stop before the blob's end, where its digest is compared.
            while self._blob.read(1 << 20):
                pass
        except BrokenStreamError as error:
            raise InvalidImageError(
                f"{layer.what} cannot be unpacked",
                cause=f"the {layer.compression} stream is broken: {error}",
                digest=str(layer.descriptor.digest),
            ) from error
        if self._diff.hexdigest() != layer.diff_id.hex:
            raise InvalidImageError(
                f"{layer.what} is not what the config says",
                cause=f"its tar has the diff_id {layer.diff_id.algorithm}:{self._diff.hexdigest()}, "
                f"and the config says {layer.diff_id}",
                digest=str(layer.descriptor.digest),
            )

    def _hash(self) -> Iterator[bytes]:
        for piece in self._inflated:
            self._diff.update(piece)
            yield piece


def layers_of(source: ImageSource, platform: Platform | None) -> tuple[Digest, list[ImageLayer]]:
    """Return the digest of an image's manifest, and its layers, the lowest first.

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
    return descriptor.digest, [_layer(source, layer, diff_id) for layer, diff_id in pairs]


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
