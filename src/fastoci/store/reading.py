"""What reading a blob is, wherever it is stored: bounded before, and compared with its descriptor after."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from fastoci.ending import OpenFile
from fastoci.errors import ImageNotFoundError, InvalidImageError
from fastoci.spec import canonical, mediatypes
from fastoci.spec.descriptor import Descriptor

if TYPE_CHECKING:
    from pathlib import Path

    from fastoci.spec.digest import Digest
    from fastoci.spec.index import Index

__all__ = ["find_by_digest", "missing_blob", "open_regular", "read_verified", "sniff_document", "wrong_size"]


def open_regular(path: Path) -> BinaryIO:
    """Return a regular file, opened for reading.

    Raises:
        OSError: It cannot be opened, or is something else; a FIFO is never waited for.
    """
    with OpenFile(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as file:
        mode = os.fstat(file.fd).st_mode
        if stat.S_ISREG(mode):
            return file.stream()
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def missing_blob(digest: Digest, path: str) -> ImageNotFoundError:
    """Return the error for a blob that is not there."""
    return ImageNotFoundError(f"there is no blob {digest} in {path}", path=path)


def wrong_size(digest: Digest, path: str, size: int, expected: int) -> InvalidImageError:
    """Return the error for a blob that has `size` bytes where `expected` are said."""
    return InvalidImageError(
        f"the blob {digest} in {path} is not what it should be",
        cause=f"it has {size:,} bytes, and its descriptor says {expected:,}",
        digest=str(digest),
    )


def read_verified(stream: BinaryIO, descriptor: Descriptor, path: str, limit: int) -> bytes:
    """Return all of a stream, which must be what its descriptor says.

    Args:
        stream: At its start.
        descriptor: Of the blob.
        path: Of the store, for messages.
        limit: The most bytes that are read.

    Raises:
        InvalidImageError: It is larger than `limit`, or has another size or digest.
    """
    if descriptor.size > limit:
        raise InvalidImageError(
            f"the blob {descriptor.digest} in {path} is too large for what it is to be",
            cause=f"it has {descriptor.size:,} bytes; {limit:,} is the most",
            digest=str(descriptor.digest),
        )
    data = stream.read(descriptor.size + 1)
    if len(data) != descriptor.size:
        raise wrong_size(descriptor.digest, path, len(data), descriptor.size)
    if not descriptor.digest.matches(data):
        raise InvalidImageError(
            f"the blob {descriptor.digest} in {path} is not what it should be",
            cause="its content has another digest",
            hint="the file is damaged: build or copy the image again",
            digest=str(descriptor.digest),
        )
    return data


def find_by_digest(index: Index, tag: str | None, digest: Digest) -> Descriptor | None:
    """Return the entry of a digest, of several the one that has the tag; None where there is none."""
    entries = [entry for entry in index.manifests if entry.digest == digest]
    named = [entry for entry in entries if tag is not None and tag in (entry.annotations or {}).values()]
    return next(iter(named or entries), None)


def sniff_document(data: bytes, digest: Digest) -> Descriptor:
    """Return the descriptor of a manifest or index that no index names.

    Args:
        data: The blob.
        digest: Its digest.

    Raises:
        InvalidImageError: It is neither.
    """
    what = f"the blob {digest}"
    obj = canonical.loads(data, what)
    known = mediatypes.MANIFESTS | mediatypes.INDEXES
    media_type = obj.get("mediaType")
    if media_type is None:
        # manifest.md: mediaType "SHOULD be used", so it may be missing.
        if "manifests" in obj and not {"config", "layers"} & obj.keys():
            media_type = mediatypes.OCI_INDEX
        elif "layers" in obj and "manifests" not in obj:
            media_type = mediatypes.OCI_MANIFEST
    if media_type not in known:
        raise InvalidImageError(f"{what} is neither a manifest nor an index", digest=str(digest))
    return Descriptor(media_type, digest, len(data))
