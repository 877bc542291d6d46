"""What the layers of a base image have at a path, for the directories above the destinations of a build.

A layer is read only when it is asked, and once.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import tarfile
import threading
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from fastoci.counted import CountedReader
from fastoci.errors import FastociError, InvalidImageError
from fastoci.events import Sink, Warned
from fastoci.spec import mediatypes
from fastoci.tarstream import decompressor
from fastoci.tree.ancestors import Found
from fastoci.tree.policy import OWNER_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from fastoci.image import ImageSource
    from fastoci.spec.descriptor import Descriptor

__all__ = ["BaseLayerFiles", "layer_members", "member_kind", "member_path", "member_xattrs"]

_HEADER_LIMIT = 1 << 20  # bytes of an extended header
_PIECE = 1 << 20
_ENTRIES = 5_000_000  # of one layer
_TIME_LIMIT = 2**63
_KINDS = {
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "character",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}
_OTHERS = {kind: Found(kind, 0, 0, 0, 0) for kind in ("file", *_KINDS.values())}  # of these only that they are there
_XATTR = "SCHILY.xattr."


class BaseLayerFiles:
    """The files of one layer; a `DirectoryLookup`.

    Args:
        source: Where the layer is.
        descriptor: The layer's.
        sink: Told where a layer cannot be looked into.
    """

    def __init__(self, source: ImageSource, descriptor: Descriptor, sink: Sink) -> None:
        self._source = source
        self._descriptor = descriptor
        self._sink = sink
        self._lock = threading.Lock()
        self._found: dict[bytes, Found] | None = None

    def find(self, path: bytes) -> Found | None:
        """Return what the layer has at a path; of several entries of one path the last counts.

        Raises:
            InvalidImageError: It is no valid layer.
            RegistryError: The registry does not give it.
        """
        with self._lock:
            if self._found is None:
                self._found = dict(self._read())
            return self._found.get(path)

    def _read(self) -> Iterator[tuple[bytes, Found]]:
        compression = mediatypes.compression_of(self._descriptor.media_type)
        inflate = decompressor(compression)
        if inflate is None:
            self._sink(
                Warned(
                    f"cannot look into the layer {self._descriptor.digest} of {self._source.name}: nothing here "
                    f"inflates {compression or self._descriptor.media_type}",
                    "directories above a destination become 0755, owned by root, where only that layer has them",
                )
            )
            return
        with contextlib.closing(layer_members(self._source, self._descriptor)) as members:
            try:
                yield from _walk(members)
            except tarfile.TarError as error:
                what = f"the layer {self._descriptor.digest} of {self._source.name}"
                raise InvalidImageError(f"{what} is not valid", cause=str(error)) from error


def layer_members(
    source: ImageSource, descriptor: Descriptor, advance: Callable[[int], None] = lambda _: None
) -> Generator[tuple[tarfile.TarFile, tarfile.TarInfo], None, None]:
    """Yield the members of a layer, and the tar to read their data from before the next one is asked for.

    Args:
        source: Where the layer is.
        descriptor: The layer's.
        advance: Told how many more bytes of its blob were read.

    Raises:
        InvalidImageError: It is no valid layer, or has not its digest.
        RegistryError: The registry does not give it.
        FastociError: Nothing here inflates it.
    """
    compression = mediatypes.compression_of(descriptor.media_type)
    inflate = decompressor(compression)
    what = f"the layer {descriptor.digest} of {source.name}"
    if inflate is None:
        raise FastociError(
            f"cannot read {what}", cause=f"nothing here inflates {compression or descriptor.media_type[:100]}"
        )
    with source.open_verified(descriptor) as blob:
        stream = cast("BinaryIO", CountedReader(blob, advance))
        try:
            yield from _members(inflate(stream))
            while stream.read(_PIECE):  # its end is where its digest is compared
                pass
        except FastociError:
            raise
        except Exception as error:
            # Each decompressor has its own classes, and tarfile many for headers that nobody means.
            raise InvalidImageError(f"{what} is not valid", cause=str(error) or type(error).__name__) from error


def _members(file: BinaryIO) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    headers: Any = _Headers(file)
    count = 0
    with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # or it keeps every member it has seen
            count += 1
            if count > _ENTRIES:
                raise tarfile.ReadError(f"over {_ENTRIES:,} entries")
            yield archive, member


def _walk(members: Iterable[tuple[tarfile.TarFile, tarfile.TarInfo]]) -> Iterator[tuple[bytes, Found]]:
    links: dict[bytes, Found] = {}
    for _, member in members:
        path = member_path(member.name)
        found = _describe(member)
        if member.islnk():
            found = links.get(member_path(member.linkname), found)
        if found.kind == "symlink":
            links[path] = found
        yield path, found


def _describe(member: tarfile.TarInfo) -> Found:
    kind = member_kind(member)
    if kind not in ("directory", "symlink"):
        return _OTHERS[kind]
    mtime = int(member.mtime // 1)
    if not (0 <= member.uid < OWNER_LIMIT and 0 <= member.gid < OWNER_LIMIT and abs(mtime) < _TIME_LIMIT):
        raise tarfile.ReadError(f"{member.name!r} has an owner or a time that no system has")
    return Found(
        kind, member.mode & 0o7777, member.uid, member.gid, mtime, member_xattrs(member), os.fsencode(member.linkname)
    )


class _Headers:
    """A tar as tarfile reads it, for headers alone: an extended header is read into memory whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> None:
        """Go on to a later position; what lies between is read, since the stream may be a compressed one."""
        if position < self._at:
            raise tarfile.ReadError("it leads backwards")
        while self._at < position:
            data = self._file.read(min(1 << 20, position - self._at))
            if not data:
                break
            self._at += len(data)

    def read(self, size: int) -> bytes:
        if size > _HEADER_LIMIT:
            raise tarfile.ReadError(f"an extended header of {size:,} bytes")
        data = self._file.read(size)
        self._at += len(data)
        return data


def member_kind(member: tarfile.TarInfo) -> str:
    """Return `file`, `directory`, `symlink`, `character`, `block` or `fifo`; a hard link is a file."""
    return _KINDS.get(member.type, "file")


def member_path(name: str) -> bytes:
    """Return a member's path as the image has it: no slash at either end, nothing above the root."""
    return os.fsencode(posixpath.normpath("/" + name).lstrip("/"))


def member_xattrs(member: tarfile.TarInfo) -> dict[bytes, bytes]:
    """Return a member's extended attributes."""
    return {
        os.fsencode(key.removeprefix(_XATTR)): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    }
