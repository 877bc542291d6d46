"""Where a build writes: a layout or an archive that the image appears in whole, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from fastoci.ending import Ending
from fastoci.store.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from fastoci.spec.descriptor import Descriptor
    from fastoci.store.blobs import BlobWriter

__all__ = ["ArchiveTarget", "Discarding", "LayoutTarget", "NewImage", "Target", "copy_layers"]

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image whose layers are written and whose documents are not yet.

    Attributes:
        manifest: The manifest's descriptor.
        layers: The layers' descriptors.
        documents: The config and the manifest, each with its descriptor.
    """

    manifest: Descriptor
    layers: tuple[Descriptor, ...]
    documents: tuple[tuple[Descriptor, bytes], ...]


class BlobReader(Protocol):
    """Something that has blobs: a layout, an archive, a registry."""

    def open_verified(self, descriptor: Descriptor) -> BinaryIO:
        """Return a blob's bytes; the end of a stream of wrong ones is an error."""


class Target(Protocol):
    """A place that takes one image: its layers, then all the rest at once.

    Attributes:
        at_once: Whether several layers can be written at once.
    """

    at_once: bool

    def blob(self) -> BlobWriter:
        """Return a writer for one layer; one at a time, unless it says otherwise."""

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Return whether a layer is there."""

    def copy(self, descriptor: Descriptor, source: BinaryIO) -> None:
        """Copy a layer that exists elsewhere."""

    def finish(self, image: NewImage, names: Sequence[str]) -> None:
        """Write the config and the manifest, and let the image appear under its names."""


class LayoutTarget:
    """A layout directory.

    Args:
        path: Where it stands, or is to stand.
        stack: Whose end throws away what was not finished.

    Raises:
        StoreError: Something else stands there, or it cannot be written.
    """

    at_once = True

    def __init__(self, path: str, stack: ExitStack) -> None:
        self.layout = Layout.create(path)
        stack.enter_context(Discarding(self.layout))

    def blob(self) -> BlobWriter:
        """Return a writer for one layer."""
        return self.layout.blob_writer()

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Return whether a layer is there."""
        return self.layout.has_blob(descriptor.digest, descriptor.size)

    def copy(self, descriptor: Descriptor, source: BinaryIO) -> None:
        """Copy a layer that exists elsewhere."""
        with self.layout.blob_writer() as blob:
            while piece := source.read(_PIECE):
                blob.write(piece)
            blob.commit(descriptor.digest)

    def finish(self, image: NewImage, names: Sequence[str]) -> None:
        """Write the config and the manifest, and let the image appear under its names."""
        for descriptor, data in image.documents:
            self.layout.put_blob(data, descriptor.media_type)
        self.layout.put_manifest(image.manifest, names)


class Discarding(Ending):
    """Has a layout give up what is not in its index in the end: once the image is, there is nothing to take away.

    Args:
        layout: Which was created to be added to.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def end(self) -> None:
        """Let the layout take back what it was given."""
        self._layout.discard()


class ArchiveTarget:
    """An archive, in a file or on a stream.

    It has one place to write at, its end. Layers that were written at once would have to wait in temporary files, and
    which came first would be chance: the same image is the same archive.

    Args:
        target: The file's path, or the stream.
        stack: Whose end throws away what was not finished.

    Raises:
        StoreError: It cannot be written.
    """

    at_once = False

    def __init__(self, target: str | BinaryIO, stack: ExitStack) -> None:
        from fastoci.store.archive import ArchiveWriter  # not at the top: a layout needs no tar

        self._writer = stack.enter_context(ArchiveWriter(target))

    def blob(self) -> BlobWriter:
        """Return a writer for one layer."""
        return self._writer.blob_writer()

    def has_blob(self, descriptor: Descriptor) -> bool:
        """Return whether a layer is there."""
        return self._writer.has_blob(descriptor.digest, descriptor.size)

    def copy(self, descriptor: Descriptor, source: BinaryIO) -> None:
        """Copy a layer that exists elsewhere."""
        self._writer.copy_blob(descriptor, source)

    def finish(self, image: NewImage, names: Sequence[str]) -> None:
        """Write the config and the manifest, and let the archive appear."""
        for descriptor, data in image.documents:
            self._writer.put_blob(data, descriptor.media_type)
        self._writer.put_manifest(image.manifest, names)
        self._writer.finish(names)


def copy_layers(source: BlobReader, target: Target, layers: Sequence[Descriptor]) -> None:
    """Copy layer blobs into another target.

    Args:
        source: Where they are.
        target: Where they go.
        layers: Which.
    """
    for descriptor in layers:
        if target.has_blob(descriptor):
            continue
        with source.open_verified(descriptor) as blob:
            target.copy(descriptor, blob)
