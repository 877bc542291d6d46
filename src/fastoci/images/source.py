"""Opening an image wherever it is: a layout, an archive or a registry, all with one face.

A name without a transport is a path where an image stands there, and a registry's reference otherwise; one that begins
with `/`, `./` or `../` is always a path.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, Self

from fastoci.errors import InvalidImageError
from fastoci.events import Sink, discard
from fastoci.spec.canonical import DOCUMENT_LIMIT
from fastoci.spec.imagename import ImageName
from fastoci.spec.reference import Reference
from fastoci.store.layout import Layout
from fastoci.store.verified import open_verified

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType

    from fastoci.registry.client import RegistryClient
    from fastoci.registry.options import RegistryOptions
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.store.archive_reader import Archive
    from fastoci.store.verified import Hasher, VerifiedStream

__all__ = [
    "ImageSource",
    "RegistryImage",
    "StoredImage",
    "locate_image",
    "named_hosts",
    "open_image",
    "options_for",
]

_KEPT = 16 << 20  # bytes of documents from a registry that are not asked for again
_OCI_LAYOUT = "oci-layout"
_TAR_MAGIC = (257, b"ustar")  # POSIX pax, "ustar Interchange Format"
# What compresses a tar: an archive in it is refused, with a word on how to unpack it, and not looked for at a registry.
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")


class ImageSource(Protocol):
    """An image to be read; a context manager. Several threads may read at once."""

    @property
    def name(self) -> str:
        """What the user called it."""

    @property
    def place(self) -> Literal["layout", "archive", "registry"]:
        """Where it is kept."""

    def resolve(self) -> Descriptor:
        """Return the descriptor of the manifest or index that the name means.

        Raises:
            ImageNotFoundError: There is none, in a layout or archive; the cause lists the tags that are there.
            ManifestNotFoundError: There is none, at a registry.
        """

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a manifest or index, which have its digest and size."""

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a small blob (at most 4 MiB), which have its digest and size."""

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return a stream of a blob. Whether it has its digest is for the reader to find out."""

    def open_verified(self, descriptor: Descriptor, offset: int = 0, hasher: Hasher | None = None) -> VerifiedStream:
        """Return a stream of a blob from an offset on, which raises at its end where the bytes have not its digest.

        Args:
            descriptor: The blob's.
            offset: The first byte that is wanted.
            hasher: What has taken the bytes before it. None where that is 0; with another offset it means that the
                digest is somebody else's to check.

        Raises:
            InvalidImageError: Its digest's algorithm is not known here; or, while it is read, its bytes are wrong.
            BlobMismatchError: The same of a blob at a registry.
        """

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is there, and of that size where one is given; it is not read."""

    def origin(self, digest: Digest) -> Reference | None:
        """Return the repository at a registry that a blob comes from, None where it comes from no registry."""

    @property
    def mended(self) -> int:
        """How often, so far, a stream of a blob broke off and was gone on with."""

    def cancel(self) -> None:
        """Have whoever waits for a registry, in any thread, wait no longer; nothing can be read after it."""

    def close(self) -> None:
        """Let go of files and connections."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Source:
    """What image sources have in common: a context manager that closes, and nothing to cancel."""

    def origin(self, digest: Digest) -> Reference | None:  # noqa: ARG002 - others have more than one place for blobs
        """A disk is no registry."""
        return None

    @property
    def mended(self) -> int:
        """Nothing breaks off on a disk."""
        return 0

    def cancel(self) -> None:
        """Nobody waits long for a disk."""

    def close(self) -> None:
        """Let go of files and connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class StoredImage(Source):
    """An image in a layout or an archive.

    Args:
        store: The layout or archive.
        image: Its name; its tag and digest say which of the images there.
    """

    def __init__(self, store: Layout | Archive, image: ImageName) -> None:
        self.store = store
        self.image = image

    @classmethod
    def of(cls, layout: Layout) -> Self:
        """Return what a layout holds, whichever image of it."""
        return cls(layout, ImageName("oci", layout.path))

    @property
    def name(self) -> str:
        """What the user called it."""
        return str(self.image)

    @property
    def place(self) -> Literal["layout", "archive", "registry"]:
        """Where it is kept."""
        return "layout" if isinstance(self.store, Layout) else "archive"

    @property
    def path(self) -> str:
        """The directory or file."""
        return self.image.location

    @property
    def names_one(self) -> bool:
        """Whether the name says which of the images there."""
        return self.image.tag is not None or self.image.digest is not None

    def resolve(self) -> Descriptor:
        """Return the descriptor of the manifest or index that the name means."""
        return self.store.resolve(self.image.tag, self.image.digest)

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a manifest or index."""
        return self.store.read_blob(descriptor)

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a small blob."""
        return self.store.read_blob(descriptor)

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return a stream of a blob; it can seek."""
        return self.store.open_blob(descriptor)

    def open_verified(self, descriptor: Descriptor, offset: int = 0, hasher: Hasher | None = None) -> VerifiedStream:
        """Return a stream of a blob from an offset on; the end of one of wrong bytes is an error."""
        return open_verified(self.store.open_blob(descriptor), descriptor, self.path, offset, hasher)

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is there, and of that size where one is given."""
        return self.store.has_blob(digest, size)

    def close(self) -> None:
        """Let go of the archive's file."""
        if not isinstance(self.store, Layout):
            self.store.close()


class RegistryImage(Source):
    """An image at a registry.

    Args:
        client: Of its host; closed with the image.
        reference: Its name.
    """

    def __init__(self, client: RegistryClient, reference: Reference) -> None:
        self.client = client
        self.reference = reference
        self._found: tuple[Descriptor, bytes] | None = None
        self._documents: dict[Digest, bytes] = {}

    @property
    def name(self) -> str:
        """What the user called it, whole."""
        return str(self.reference)

    @property
    def place(self) -> Literal["layout", "archive", "registry"]:
        """Where it is kept."""
        return "registry"

    def resolve(self) -> Descriptor:
        """Return the descriptor of the manifest or index that the name means."""
        if self._found is None:
            wanted = self.reference.digest or self.reference.tag
            self._found = self.client.get_manifest(self.reference.repository, str(wanted))
        return self._found[0]

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a manifest or index."""
        if self._found is not None and self._found[0].digest == descriptor.digest:
            return self._found[1]
        # Whoever copies an index reads its members twice: to see what belongs to them, and to write them.
        if (known := self._documents.get(descriptor.digest)) is not None:
            return known
        found, data = self.client.get_manifest(self.reference.repository, str(descriptor.digest))
        if found.size != descriptor.size:
            raise InvalidImageError(
                f"the manifest {descriptor.digest} of {self.name} has not the size that is said of it",
                cause=f"{found.size:,} bytes; its descriptor says {descriptor.size:,}",
                digest=str(descriptor.digest),
            )
        if sum(map(len, self._documents.values())) + len(data) <= _KEPT:
            self._documents[descriptor.digest] = data
        return data

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a small blob."""
        if descriptor.size > DOCUMENT_LIMIT:
            raise InvalidImageError(
                f"{descriptor.digest} in {self.name} is too large",
                cause=f"{descriptor.size:,} bytes; {DOCUMENT_LIMIT:,} is the most",
                digest=str(descriptor.digest),
            )
        with self.open_blob(descriptor) as stream:
            return stream.read()

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return a stream of a blob, which raises at its end where the bytes have not its digest."""
        return self.client.open_blob(self.reference.repository, descriptor)

    def open_verified(self, descriptor: Descriptor, offset: int = 0, hasher: Hasher | None = None) -> VerifiedStream:
        """Return a stream of a blob from an offset on; the end of one of wrong bytes is an error."""
        return self.client.open_blob(self.reference.repository, descriptor, offset=offset, hasher=hasher)

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is there, and of that size where one is given."""
        found = self.client.blob_size(self.reference.repository, digest)
        return found is not None and size in (None, found)

    def origin(self, digest: Digest) -> Reference | None:  # noqa: ARG002 - all of an image's blobs are in its repository
        """Return the repository."""
        return self.reference

    @property
    def mended(self) -> int:
        """How often, so far, a stream of a blob broke off and was gone on with."""
        return self.client.mended

    def cancel(self) -> None:
        """Have whoever waits for the registry wait no longer."""
        self.client.cancel()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def locate_image(name: str | ImageName) -> ImageName:
    """Return the name with its transport, after a look at the disk where it does not say one.

    Args:
        name: See `open_image`.

    Returns:
        `oci`, `oci-archive` or `docker-archive` with a path, or `docker` with a reference.

    Raises:
        UsageError: It is no name of an image.
    """
    image = ImageName.parse(name) if isinstance(name, str) else name
    if image.transport == "docker":
        return image
    found = image.located(_is_image if image.transport is None else os.path.lexists)
    if found is None:
        return replace(image, transport=image.transport or "docker")
    if found.transport in (None, "oci"):
        # A path without a transport is read as a layout's, and may be that of an archive.
        return replace(found, transport="oci-archive" if os.path.isfile(found.location) else "oci")
    return found


def open_image(name: str | ImageName, options: RegistryOptions | None = None, sink: Sink = discard) -> ImageSource:
    """Open the image of that name; whether it is there shows when it is resolved.

    Args:
        name: As in `oci:PATH:TAG`, `oci-archive:FILE`, `docker-archive:FILE`, `docker://REF`, a path or a reference;
            a result line of fastoci is one, too.
        options: How a registry is reached; None means the defaults.
        sink: Given the registry client's events.

    Raises:
        UsageError: It is no name of an image.
        ImageNotFoundError: There is nothing at its path.
        StoreError: What is there is neither a layout nor an archive.
    """
    image = locate_image(name)
    path = image.location
    if image.transport == "oci":
        return StoredImage(Layout.open(path), image)
    if image.transport != "docker":
        from fastoci.store.archive_reader import Archive  # not at the top: a layout needs no tar

        return StoredImage(Archive.open(path), image)
    reference = Reference.parse(image.target)

    from fastoci.registry.client import RegistryClient  # not at the top: a layout needs no HTTP

    return RegistryImage(RegistryClient(reference.host, options, sink), reference)


def options_for(image: str | ImageName, options: RegistryOptions, hosts: Collection[str]) -> RegistryOptions:
    """Return the options for an image that is read besides the one that the options were given for.

    Args:
        image: Its name.
        options: As the caller gave them.
        hosts: What a password of the command line is meant for, which no other host gets to see; none means any.
    """
    located = locate_image(image)
    if located.transport == "docker" and hosts and Reference.parse(located.target).host not in hosts:
        return replace(options, credentials=None)
    return options


def named_hosts(*names: str | ImageName | None) -> set[str]:
    """Return the registries among names that the user wrote, for `options_for`; never empty, and so never any host.

    What a document says of other registries was not written by whoever gave the password.
    """
    located = [locate_image(name) for name in names if name is not None]
    return {"", *(Reference.parse(image.target).host for image in located if image.transport == "docker")}


def _is_image(path: str) -> bool:
    """Return whether an image stands at a path, so that a directory of a repository's name hides no registry."""
    if os.path.isdir(path):
        return os.path.isfile(os.path.join(path, _OCI_LAYOUT))
    if not os.path.isfile(path):
        return False
    offset, magic = _TAR_MAGIC
    try:
        with open(path, "rb") as file:
            start = file.read(offset + len(magic))
    except OSError:
        # It is there and cannot be read, which is what the user should hear.
        return True
    return start[offset:] == magic or start.startswith(_COMPRESSED)
