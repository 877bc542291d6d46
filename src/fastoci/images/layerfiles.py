"""What the layers of a base image have at a path, for the directories above the destinations of a build.

A layer is read only when it is asked, and once.
"""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

from fastoci.errors import FastociError
from fastoci.events import Sink, Warned
from fastoci.images.layerstream import ImageLayer, LayerStream
from fastoci.images.tarstream import decompressor
from fastoci.rootfs.limits import Limits, Usage
from fastoci.spec import mediatypes
from fastoci.tar.reader import TarReader, entry_path
from fastoci.tree.ancestors import Found
from fastoci.tree.filedigest import FileDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.tar.reader import TarEntry

__all__ = ["BaseLayerFiles", "digest_entry", "entry_path", "layer_entries", "layer_name"]

_VERDICT = "is not valid"
_NS = 10**9
_OTHERS = {kind: Found(kind, 0, 0, 0, 0) for kind in ("file", "character", "block", "fifo")}  # only that they are there


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
        if compression is None or decompressor(compression) is None:
            self._sink(
                Warned(
                    f"cannot look into the layer {self._descriptor.digest} of {self._source.name}: nothing here "
                    f"inflates {compression or self._descriptor.media_type}",
                    "directories above a destination become 0755, owned by root, where only that layer has them",
                )
            )
            return
        links: dict[bytes, Found] = {}
        with closing(layer_entries(self._source, self._descriptor)) as entries:
            for _, entry in entries:
                path, found = entry_path(entry.path), _describe(entry)
                if entry.kind == "hardlink":
                    found = links.get(entry_path(entry.target), found)
                if found.kind == "symlink":
                    links[path] = found
                yield path, found


def layer_entries(
    source: ImageSource,
    descriptor: Descriptor,
    usage: Usage | None = None,
    advance: Callable[[int], None] = lambda _: None,
    take: Callable[[bytes, int], int] | None = None,
) -> Generator[tuple[TarReader, TarEntry], None, None]:
    """Yield the entries of a layer, and the reader to take their data from before the next one is asked for.

    Args:
        source: Where the layer is.
        descriptor: The layer's.
        usage: Holds it against limits, with other layers; None: alone against the defaults.
        advance: Told how many more bytes of its blob were read.
        take: May take entries itself; see `TarReader.entries`.

    Raises:
        InvalidImageError: It is no valid layer, has not its digest, or goes beyond a limit.
        RegistryError: The registry does not give it.
        FastociError: Nothing here inflates it.
    """
    compression = mediatypes.compression_of(descriptor.media_type)
    what = layer_name(source, descriptor)
    if compression is None or decompressor(compression) is None:
        raise FastociError(
            f"cannot read {what}", cause=f"nothing here inflates {compression or descriptor.media_type[:100]}"
        )
    usage = usage or Usage(Limits(), adjustable=False)
    layer = ImageLayer(descriptor, None, compression, what, _VERDICT)
    with closing(LayerStream(source, layer, usage)) as stream:
        reader = TarReader(stream.pieces(advance), what, usage, _VERDICT)
        for entry in reader.entries(take):
            yield reader, entry


def layer_name(source: ImageSource, descriptor: Descriptor) -> str:
    """Return what to call a layer in errors."""
    return f"the layer {descriptor.digest} of {source.name}"


def digest_entry(reader: TarReader, entry: TarEntry, *, exact: bool = False) -> FileDigest:
    """Read the bytes of a file, which is the entry that was given last, and return what they are known by.

    Args:
        reader: Of the layer.
        entry: The file.
        exact: Whether the SHA-256 of all bytes is wanted, too.
    """
    digest = FileDigest(exact=exact)
    for part in reader.parts(entry):
        if isinstance(part, int):
            digest.skip(part)
        else:
            digest.update(part)
    return digest


def _describe(entry: TarEntry) -> Found:
    if entry.kind not in ("directory", "symlink"):
        return _OTHERS["file" if entry.kind == "hardlink" else entry.kind]
    return Found(entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime // _NS, entry.xattrs, entry.target)
