"""The files of an image: what its layers come to, one applied over the other, without anything being unpacked.

Layers are read through once each. What is known of a file is small, its content a digest; so an image of a hundred
thousand files takes some tens of megabytes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fastoci.errors import InvalidImageError
from fastoci.images.layerfiles import digest_entry, entry_path, layer_entries
from fastoci.spec import whiteouts

if TYPE_CHECKING:
    from fastoci.images.source import ImageSource
    from fastoci.rootfs.limits import Usage
    from fastoci.spec.descriptor import Descriptor
    from fastoci.tar.reader import TarEntry, TarReader

__all__ = ["FileFacts", "FileTree", "LayerEntry", "read_layer"]

_NODE = 256  # bytes that a name takes beside its path
_HELD = 1 << 30
"""The most bytes that the paths of a tree may take: of three million files, or of a few without end."""
_NS = 10**9


class FileFacts(NamedTuple):
    """What is known of one file. A hard link is known by what it is a link to.

    Attributes:
        kind: `file`, `directory`, `symlink`, `character`, `block` or `fifo`.
        mode: Its permissions.
        owner: uid and gid.
        mtime: In whole seconds since 1970.
        size: Bytes of a file.
        content: What a file's bytes are known by (`tree.filedigest`), if somebody has asked; a link's target; a
            device's numbers; nothing for others.
        xattrs: Names and values, by name.
        digest: The SHA-256 of a file's bytes; None where the archive says of holes in it how large they are, and nobody
            has read them.
    """

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    size: int
    content: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]
    digest: bytes | None = None


class LayerEntry(NamedTuple):
    """One entry of a layer.

    Attributes:
        path: Where, from the root; no slash at either end.
        facts: What stands there; None where `link` says it, and for whiteouts.
        link: The path that a hard link is another name of, where that is of a layer below.
        is_opaque: Whether what layers below have beneath the path is hidden.
    """

    path: bytes
    facts: FileFacts | None
    link: bytes | None = None
    is_opaque: bool = False


class _Node:
    """One name in the tree; without facts it is a directory that no layer has an entry for."""

    __slots__ = ("children", "facts")

    def __init__(self) -> None:
        self.facts: FileFacts | None = None
        self.children: dict[bytes, _Node] = {}

    @property
    def is_directory(self) -> bool:
        return self.facts is None or self.facts.kind == "directory"


class FileTree:
    """The files of an image."""

    def __init__(self) -> None:
        self._root = _Node()
        self._held = 0

    def apply(self, layer: Sequence[LayerEntry]) -> None:
        """Put a layer on top.

        What a layer hides is of the layers below alone, wherever in the layer it says so (layer.md, "Whiteouts").

        Raises:
            InvalidImageError: A hard link of it leads nowhere, or its paths take too much memory.
        """
        for entry in layer:
            if entry.is_opaque:
                if (node := self._find(entry.path)) is not None:
                    node.children.clear()
            elif entry.facts is None and entry.link is None:
                parent, _, name = entry.path.rpartition(b"/")
                if (node := self._find(parent)) is not None:
                    node.children.pop(name, None)
        for entry in layer:
            if entry.facts is not None:
                self._put(entry.path, entry.facts)
            elif entry.link is not None:
                target = self._find(entry.link)
                if target is None or target.facts is None:
                    raise InvalidImageError(
                        f"/{os.fsdecode(entry.path)} is a link to nothing", cause=f"/{os.fsdecode(entry.link)}"
                    )
                self._put(entry.path, target.facts)

    def walk(self) -> Iterator[tuple[bytes, FileFacts | None]]:
        """Yield every path with its facts, a directory before what is in it, names in the order of their bytes."""
        stack = [(b"", self._root)]
        while stack:
            path, node = stack.pop()
            if path:
                yield path, node.facts
            prefix = path + b"/" if path else b""
            stack += [(prefix + name, node.children[name]) for name in sorted(node.children, reverse=True)]

    def levels(
        self, top: bytes, keeps: Callable[[bytes], bool]
    ) -> Iterator[tuple[bytes, list[tuple[bytes, FileFacts | None]]]]:
        """Yield every directory beneath a path, that one first, with the names in it: breadth first.

        Names and directories come in the order of a layer, where a directory's ends in a slash.

        Args:
            top: The path. Where there is nothing, it is as an empty directory.
            keeps: Says of a path whether it is there.
        """
        waiting = deque([(top, self._find(top) or _Node())])
        while waiting:
            path, node = waiting.popleft()
            prefix = path + b"/" if path else b""
            found = [(name, child) for name, child in node.children.items() if keeps(prefix + name)]
            found.sort(key=lambda item: item[0] + b"/" if item[1].is_directory else item[0])
            waiting += [(prefix + name, child) for name, child in found if child.is_directory]
            yield path, [(name, child.facts) for name, child in found]

    def _find(self, path: bytes) -> _Node | None:
        node: _Node | None = self._root
        for name in path.split(b"/") if path else ():
            if node is None:
                return None
            node = node.children.get(name)
        return node

    def _put(self, path: bytes, facts: FileFacts) -> None:
        node = self._root
        names = path.split(b"/") if path else []
        size = 0
        for name in names:
            if node.facts is not None and node.facts.kind != "directory":
                node.facts = None  # a directory that no layer has an entry for took its place
            size += len(name) + 1
            child = node.children.get(name)
            if child is None:
                self._hold(size + _NODE)
                child = node.children[name] = _Node()
            node = child
        if facts.kind != "directory":
            node.children.clear()
        node.facts = facts

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > _HELD:
            raise InvalidImageError(
                "the image has directories without end", cause=f"their paths take over {_HELD:,} bytes"
            )


def read_layer(
    source: ImageSource,
    descriptor: Descriptor,
    advance: Callable[[int], None],
    usage: Usage | None = None,
    *,
    contents: bool = True,
) -> list[LayerEntry]:
    """Return what a layer says of files.

    Args:
        source: Where the layer is.
        descriptor: The layer's.
        advance: Told how many more bytes of its blob were read.
        usage: Holds it against limits, with the image's other layers; None: alone.
        contents: Whether anybody wants to know of the bytes of files.

    Raises:
        InvalidImageError: It is no valid layer, has not its digest, or goes beyond a limit.
        RegistryError: The registry does not give it.
        FastociError: Nothing here inflates it.
    """
    entries: list[LayerEntry] = []
    files: dict[bytes, FileFacts] = {}
    for reader, entry in layer_entries(source, descriptor, usage, advance):
        path = entry_path(entry.path)
        parent, _, name = path.rpartition(b"/")
        if name == whiteouts.OPAQUE:
            entries.append(LayerEntry(parent, None, is_opaque=True))
        elif name.startswith(whiteouts.PREFIX):
            entries.append(LayerEntry((parent + b"/" if parent else b"") + name[len(whiteouts.PREFIX) :], None))
        else:
            target = entry_path(entry.target) if entry.kind == "hardlink" else None
            facts = _facts(reader, entry, contents=contents) if target is None else files.get(target)
            if facts is not None:
                files[path] = facts
            entries.append(LayerEntry(path, facts, link=None if facts else target))
    return entries


def _facts(reader: TarReader, entry: TarEntry, *, contents: bool) -> FileFacts:
    content, digest = b"", None
    if entry.kind == "file" and contents:
        found = digest_entry(reader, entry, exact=True)
        content, digest = found.digest(), found.exact()
    elif entry.kind == "symlink":
        content = entry.target
    elif entry.kind in ("character", "block"):
        content = f"{entry.device[0]}, {entry.device[1]}".encode()
    return FileFacts(
        entry.kind,
        entry.mode,
        (entry.uid, entry.gid),
        entry.mtime // _NS,
        entry.size,
        content,
        tuple(sorted(entry.xattrs.items())),
        digest,
    )
