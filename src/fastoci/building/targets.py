"""Where a build writes: layouts and archives that the image appears in whole, or not at all.

The first of them takes the layers while they are packed; the others are given copies.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from fastoci.building.output import STDOUT, check_outside
from fastoci.ending import Ending, ending_context
from fastoci.errors import StoreError, UsageError
from fastoci.store.layout import Layout
from fastoci.temporary import TMPDIR_HINT, TemporaryDirectory, large_tmp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack

    from fastoci.building.output import Output
    from fastoci.spec.descriptor import Descriptor
    from fastoci.store.blobs import BlobWriter
    from fastoci.tree.source import TreeSource

__all__ = [
    "ArchiveTarget",
    "Discarding",
    "LayoutTarget",
    "NewImage",
    "Target",
    "copy_layers",
    "layout_of",
    "open_targets",
]

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


def open_targets(
    outputs: Sequence[Output], sources: Sequence[TreeSource], stack: ExitStack, stdout: BinaryIO | None
) -> list[tuple[Output | None, Target]]:
    """Open every layout and archive, so that what cannot be written fails before anything is read.

    The first one is written while the layers are packed, and is a layout wherever a copy has to be made of it: a
    private one, which belongs to no output, if none was asked for.

    Args:
        outputs: Where the image goes; those that are no place on disk only have copies made for them.
        sources: What is packed, and must not be written into.
        stack: Whose end throws away what was not finished.
        stdout: Where the output `-` goes; None is this process's stdout.

    Raises:
        UsageError: The archive would go to a terminal, or temporary files into a source.
        StoreError: One of them cannot be written.
    """
    local = [output for output in outputs if output.path is not None]
    local.sort(key=lambda output: output.is_archive)
    wants_copies = len(local) != len(outputs) or len(local) > 1
    targets: list[tuple[Output | None, Target]] = []
    if wants_copies and not (local and local[0].kind == "oci"):
        targets.append((None, _open_private(sources, stack)))
    for output in local:
        if not output.is_archive:
            targets.append((output, LayoutTarget(str(output.path), stack)))
        elif output.path == STDOUT:
            targets.append((output, ArchiveTarget(stdout or _binary_stdout(), stack)))
        else:
            targets.append((output, ArchiveTarget(str(output.path), stack)))
    return targets


def layout_of(target: Target) -> Layout:
    """Return the layout that a target is, which `open_targets` made it wherever copies are made of it."""
    if not isinstance(target, LayoutTarget):
        raise TypeError(target)
    return target.layout


def _open_private(sources: Sequence[TreeSource], stack: ExitStack) -> LayoutTarget:
    base = large_tmp()
    check_outside(base, f"the directory for temporary files, {base},", sources, hint=TMPDIR_HINT)
    return LayoutTarget(os.path.join(stack.enter_context(_temporary_directory(base)), "image"), stack)


@ending_context
def _temporary_directory(base: str) -> Iterator[str]:
    """Make a directory for layers that only pass through; an error in it says how to have it elsewhere."""
    with TemporaryDirectory(base) as made:
        try:
            yield made.path
        except StoreError as error:
            if error.path.startswith(made.path):
                error.hint = TMPDIR_HINT
            raise


def _binary_stdout() -> BinaryIO:
    if sys.stdout.isatty():
        raise UsageError(
            "an archive is not for a terminal", hint="pipe stdout into a program or a file, or name a file"
        )
    return sys.stdout.buffer
