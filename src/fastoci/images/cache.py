"""The layers of base images, each fetched once: a layout in the user's cache directory, and images read through it.

`$FASTOCI_CACHE_DIR`, else `$XDG_CACHE_HOME/fastoci`, else `~/.cache/fastoci`. Losing any of it costs time. What nobody
has asked for in thirty days goes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fastoci.errors import StoreError
from fastoci.events import Sink, Warned
from fastoci.images.fetch import fetch_blob
from fastoci.images.source import Source
from fastoci.store.layout import Layout
from fastoci.store.locks import open_directory, try_lock_alone
from fastoci.store.partial import PARTIAL
from fastoci.store.verified import open_verified

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack
    from typing import Literal

    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.reference import Reference
    from fastoci.store.verified import Hasher, VerifiedStream

__all__ = ["CachedImage", "cache_path", "open_cache"]

_LIFE = 30 * 86400.0  # seconds


def cache_path() -> str:
    """Return the cache directory that the environment names."""
    if path := os.environ.get("FASTOCI_CACHE_DIR"):
        return path
    base = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path there is to be ignored (XDG Base Directory Specification).
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "fastoci")


def open_cache(stack: ExitStack, sink: Sink, path: str | None = None) -> Layout:
    """Return the cache, or where that cannot be written a temporary one.

    Args:
        stack: Whose end removes a temporary one.
        sink: Told if the cache cannot be written.
        path: The cache directory; None is the one that the environment names.

    Raises:
        StoreError: There is no place for temporary files, either.
    """
    path = path or cache_path()
    _sweep(Path(path), time.time() - _LIFE)
    try:
        return Layout.create(path)
    except StoreError as error:
        sink(Warned(f"no cache for base layers: {error}", "FASTOCI_CACHE_DIR names another directory"))
    try:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastoci-", ignore_cleanup_errors=True))
    except OSError as error:
        raise StoreError.from_os(
            error,
            "no room for the layers of the base image",
            path=tempfile.gettempdir(),
            hint="set FASTOCI_CACHE_DIR or TMPDIR to a place with room",
        ) from error
    return Layout.create(temporary)


class CachedImage(Source):
    """An image whose blobs are fetched into a cache when they are first read, and read there.

    Args:
        source: The image, at a registry; closed with this one.
        cache: Where its blobs go.
        sink: Told how the fetching goes on.
    """

    def __init__(self, source: ImageSource, cache: Layout, sink: Sink) -> None:
        self._source = source
        self._cache = cache
        self._sink = sink
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._locks: defaultdict[Digest, threading.Lock] = defaultdict(threading.Lock)

    @property
    def name(self) -> str:
        """What the user called it."""
        return self._source.name

    @property
    def place(self) -> Literal["layout", "archive", "registry"]:
        """Where it is kept."""
        return self._source.place

    def resolve(self) -> Descriptor:
        """Return the descriptor of the manifest or index that the name means."""
        return self._source.resolve()

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a manifest or index."""
        return self._source.read_manifest(descriptor)

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a small blob."""
        return self._source.read_blob(descriptor)

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return a stream of a blob, which is fetched whole before."""
        with self._lock:
            lock = self._locks[descriptor.digest]
        with lock:
            fetch_blob(
                self._source,
                descriptor,
                self._cache,
                title=f"base {descriptor.digest.short}",
                sink=self._sink,
                stop=self._stop,
            )
        stream = self._cache.open_blob(descriptor)
        with contextlib.suppress(OSError):
            os.utime(stream.fileno())  # it was of use
        return stream

    def open_verified(self, descriptor: Descriptor, offset: int = 0, hasher: Hasher | None = None) -> VerifiedStream:
        """Return a stream of a blob from an offset on; the end of one of wrong bytes is an error."""
        return open_verified(self.open_blob(descriptor), descriptor, self._cache.path, offset, hasher)

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob is there, and of that size where one is given."""
        return self._cache.has_blob(digest, size) or self._source.has_blob(digest, size)

    @property
    def mended(self) -> int:
        """How often, so far, a stream of a blob broke off and was gone on with."""
        return self._source.mended

    def origin(self, digest: Digest) -> Reference | None:
        """Return the repository at a registry that a blob comes from."""
        return self._source.origin(digest)

    def cancel(self) -> None:
        """Stop what is being fetched."""
        self._stop.set()
        self._source.cancel()

    def close(self) -> None:
        """Let go of connections."""
        self._source.close()


def _sweep(root: Path, limit: float) -> None:
    """Remove what was last used before `limit`, unless somebody is at work in the cache."""
    with contextlib.suppress(OSError), open_directory(root / "blobs") as blobs:
        if try_lock_alone(blobs.fd):
            for file in _files(root):
                if file.stat().st_mtime < limit:
                    file.unlink()


def _files(root: Path) -> Iterator[Path]:
    yield from (root / "blobs").glob("*/*")
    yield from (root / PARTIAL).glob("*")
