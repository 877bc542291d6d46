"""Where a build writes: a layout or an archive that the image appears in whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from fastoci.errors import StoreError
from fastoci.store.archive import ArchiveWriter
from fastoci.store.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager, ExitStack

    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.store.blobs import BlobWriter

__all__ = ["ArchiveTarget", "LayoutTarget", "NewImage", "Target", "copy_layers"]

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


class LayerBlob(Protocol):
    """A blob that is being written."""

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""

    def commit(self, digest: Digest) -> None:
        """End the blob, whose bytes have this digest."""


class BlobReader(Protocol):
    """Something that has blobs: a layout, an archive, a registry."""

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return a blob's bytes."""


class Target(Protocol):
    """A place that takes one image: its layers, then all the rest at once."""

    def blob(self) -> AbstractContextManager[LayerBlob]:
        """Return a blob to be written; one at a time."""

    def finish(self, image: NewImage, names: Sequence[str]) -> None:
        """Write the config and the manifest, and let the image appear under its names."""


class LayoutTarget:
    """A layout directory. A new one is made beside its place and renamed; in an old one blobs are linked at the end.

    Args:
        path: Where it stands, or is to stand.
        stack: Whose end throws away what was not finished.

    Raises:
        StoreError: Something else stands there, or it cannot be written.
    """

    def __init__(self, path: str, stack: ExitStack) -> None:
        self.path = path
        self._stack = stack
        self._held: list[_HeldBlob] = []
        self._staging = None if os.path.lexists(path) else _make_beside(path, stack)
        with self._final_name_in_errors():
            self._layout = Layout.create(self._staging or path)

    @contextlib.contextmanager
    def blob(self) -> Iterator[LayerBlob]:
        """Return a blob to be written; it appears when the target is finished."""
        with self._final_name_in_errors():
            held = _HeldBlob(self._stack.enter_context(self._layout.blob_writer()))
            yield held
            self._held.append(held)

    def finish(self, image: NewImage, names: Sequence[str]) -> None:
        """Write the config and the manifest, and let the image appear under its names."""
        with self._final_name_in_errors():
            for blob in self._held:
                blob.release()
            for descriptor, data in image.documents:
                self._layout.put_blob(data, descriptor.media_type)
            self._layout.put_manifest(image.manifest, names)
        if self._staging is None:
            return
        if not _move(self._staging, self.path):
            # Another process has made something there since: the image is added to it, if it is a layout.
            other = LayoutTarget(self.path, self._stack)
            copy_layers(self._layout, other, image.layers)
            other.finish(image, names)
        self._layout = Layout.open(self.path)

    @property
    def layout(self) -> Layout:
        """The layout, to read from once it is finished."""
        return self._layout

    @contextlib.contextmanager
    def _final_name_in_errors(self) -> Iterator[None]:
        """Let errors name the path that the user knows, and not the one that is about to vanish."""
        try:
            yield
        except StoreError as error:
            if self._staging is not None:
                error.what = error.what.replace(self._staging, self.path)
                error.path = error.path.replace(self._staging, self.path)
            raise


class _HeldBlob:
    """A blob that is written now and linked later."""

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer
        self._digest: Digest | None = None

    def write(self, data: bytes | memoryview) -> None:
        self._writer.write(data)

    def commit(self, digest: Digest) -> None:
        self._digest = digest

    def release(self) -> None:
        if self._digest is not None:
            self._writer.commit(self._digest)


class ArchiveTarget:
    """An archive, in a file or on stdout.

    Args:
        target: The file's path, or the stream.
        stack: Whose end throws away what was not finished.

    Raises:
        StoreError: It cannot be written.
    """

    def __init__(self, target: str | BinaryIO, stack: ExitStack) -> None:
        self._writer = stack.enter_context(ArchiveWriter(target))

    def blob(self) -> AbstractContextManager[LayerBlob]:
        """Return a blob to be written."""
        return self._writer.blob_writer()

    def finish(self, image: NewImage, names: Sequence[str]) -> None:
        """Write the config and the manifest, and let the archive appear."""
        for descriptor, data in image.documents:
            self._writer.put_blob(data, descriptor.media_type)
        self._writer.put_manifest(image.manifest, names)
        self._writer.finish(names)


def copy_layers(source: BlobReader, target: Target, layers: Sequence[Descriptor]) -> None:
    """Copy layer blobs into another target.

    Args:
        source: Where they are, which checks what it reads.
        target: Where they go.
        layers: Which.
    """
    for descriptor in layers:
        with source.open_blob(descriptor) as blob, target.blob() as copy:
            while piece := blob.read(_PIECE):
                copy.write(piece)
            copy.commit(descriptor.digest)


def _make_beside(path: str, stack: ExitStack) -> str:
    """Return the path for a directory beside `path`, and so on its file system, that is removed when the stack ends."""
    parent, name = os.path.split(path.rstrip("/"))
    try:
        staging = tempfile.mkdtemp(prefix=f".{name[:100]}.", dir=parent or ".")
    except OSError as error:
        raise StoreError(
            f"cannot make the layout {path}",
            path=path,
            cause=f"{parent or '.'}: {error.strerror}",
            hint=f"mkdir -p {parent}" if error.errno == errno.ENOENT else None,
            errno=error.errno,
        ) from error
    stack.callback(shutil.rmtree, staging, ignore_errors=True)
    # Inside, where the layout is made with the permissions that the caller's umask says; mkdtemp's are for itself.
    return os.path.join(staging, name)


def _move(staging: str, path: str) -> bool:
    """Give a finished directory its name; return False if something stands there."""
    parent = os.path.dirname(path.rstrip("/")) or "."
    try:
        os.rename(staging, path)
        directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
            return False
        raise StoreError(
            f"cannot make the layout {path}", path=path, cause=error.strerror, errno=error.errno
        ) from error
    return True
