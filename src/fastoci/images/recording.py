"""The layers of an image read into a tree that is known by them alone."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from fastoci.images.layerfiles import digest_entry, entry_path, layer_entries, layer_name
from fastoci.rootfs.limits import Limits, Usage
from fastoci.spec import whiteouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.tar.reader import TarEntry, TarReader
    from fastoci.tree.recorded import RecordedTree

__all__ = ["put_entry", "record_layer"]

_NS = 10**9


def record_layer(
    tree: RecordedTree, source: ImageSource, descriptor: Descriptor, advance: Callable[[int], None]
) -> None:
    """Put a layer over what is in a tree.

    Args:
        tree: What the layers below come to.
        source: Where the layer is.
        descriptor: The layer's.
        advance: Told how many more bytes of its blob were read.

    Raises:
        InvalidImageError: It is no valid layer, has not its digest, or goes beyond a limit.
        RegistryError: The registry does not give it.
        FastociError: Nothing here inflates it.
    """
    usage, what = Usage(Limits(), adjustable=False), layer_name(source, descriptor)

    def take(piece: bytes, at: int) -> int:
        end, count = tree.take(piece, at, usage.entries_left)
        usage.add_entry(what, count)
        return end

    tree.begin()
    with closing(layer_entries(source, descriptor, usage, advance, take)) as entries:
        for reader, entry in entries:
            put_entry(tree, reader, entry)


def put_entry(tree: RecordedTree, reader: TarReader, entry: TarEntry) -> None:
    """Put the entry that a reader has given last into a tree; see `record_layer`."""
    path = entry_path(entry.path)
    parent, slash, name = path.rpartition(b"/")
    if name == whiteouts.OPAQUE:
        tree.hide_names(parent)
    elif name.startswith(whiteouts.PREFIX):
        if hidden := name[len(whiteouts.PREFIX) :]:
            tree.hide(parent + slash + hidden)
    elif entry.kind == "hardlink":
        tree.link(path, entry_path(entry.target))
    elif not path and entry.kind != "directory":
        raise reader.fail("the root can only be a directory")
    else:
        content = digest_entry(reader, entry).digest() if entry.kind == "file" else entry.target
        tree.put(
            path,
            entry.kind,
            entry.mode,
            (entry.uid, entry.gid),
            entry.mtime // _NS,
            size=entry.size,
            content=content,
            device=entry.device,
            xattrs=entry.xattrs,
        )
