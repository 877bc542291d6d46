"""Packing into memory, and the pieces beneath it: scanning, planning and rendering by hand."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci._engine.scanner import Scanner
from fastoci._engine.table import EntryTable
from fastoci.events import Event, discard
from fastoci.layer.changes import plan_changes
from fastoci.layer.options import BLOCK_SIZE, LayerOptions
from fastoci.layer.pack import PackedLayer, pack_blocks, pack_tree
from fastoci.layer.treeblocks import TreeBlocks
from fastoci.layer.zstd import find_zstd
from fastoci.spec.digest import Digest
from fastoci.tree.changes import DiffBase, TreeBase
from fastoci.tree.patterns import compile_patterns
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import start_scan
from fastoci.tree.source import TreeSource


@dataclass
class MemorySink:
    """A blob sink that keeps what it is given."""

    data: bytearray = field(default_factory=bytearray)
    committed: Digest | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Keep the next bytes; the blob is not whole yet."""
        assert self.committed is None
        self.data += data

    def commit(self, digest: Digest) -> None:
        """Take the digest, which must be that of the bytes."""
        assert self.committed is None
        assert digest.hex == hashlib.sha256(self.data).hexdigest()
        self.committed = digest


@dataclass
class PiecesSink(MemorySink):
    """One that also keeps the pieces in which the blob came: the start, each block, and the end."""

    pieces: list[bytes] = field(default_factory=list)

    def write(self, data: bytes | memoryview) -> None:
        """Keep the next piece."""
        super().write(data)
        self.pieces.append(bytes(data))


@dataclass
class Packed:
    """A layer, its blob and what was said of it on the way."""

    layer: PackedLayer
    blob: bytes
    events: list[Event]

    @property
    def tar(self) -> bytes:
        """The tar stream."""
        if self.layer.descriptor.media_type.endswith("zstd"):
            module: Any = find_zstd()
            return bytes(module.decompress(self.blob))
        return gzip.decompress(self.blob) if self.layer.descriptor.media_type.endswith("gzip") else self.blob


def pack(
    path: str | os.PathLike[str],
    dest: str = "/",
    *,
    policy: TreePolicy | None = None,
    options: LayerOptions | None = None,
    earlier: Sequence[PackedLayer] = (),
) -> Packed:
    """Pack a tree, and hold the result against itself: digest, size, diff_id."""
    sink = MemorySink()
    events: list[Event] = []
    layer = pack_tree(
        TreeSource(os.fspath(path), dest),
        policy or TreePolicy(),
        options or LayerOptions(threads=2),
        sink,
        events.append,
        earlier,
    )
    packed = Packed(layer, bytes(sink.data), events)
    assert sink.committed == layer.descriptor.digest
    assert layer.descriptor.size == len(packed.blob)
    assert layer.diff_id.hex == hashlib.sha256(packed.tar).hexdigest()
    assert layer.tar_size == len(packed.tar)
    return packed


def pack_changes(
    path: str | os.PathLike[str],
    base: str | os.PathLike[str] | DiffBase,
    dest: str = "/",
    *,
    policy: TreePolicy | None = None,
    earlier: Sequence[PackedLayer] = (),
    change: Callable[[], object] = lambda: None,
) -> Packed:
    """Pack what a tree changes of a base; `change` is called between the comparison and the reading."""
    sink = MemorySink()
    events: list[Event] = []
    planning = plan_changes(
        TreeSource(os.fspath(path), dest),
        TreeBase(os.fspath(base)) if isinstance(base, str | os.PathLike) else base,
        policy or TreePolicy(),
        LayerOptions(threads=2, compression="none"),
        events.append,
        earlier,
    )
    with planning as planned:
        change()
        layer = planned.pack(sink)
    return Packed(layer, bytes(sink.data), events)


def pack_changed(
    path: str | os.PathLike[str],
    change: Callable[[], object],
    *,
    dest: str = "/",
    policy: TreePolicy | None = None,
    sink: MemorySink | None = None,
) -> PackedLayer:
    """Pack a tree that `change` changes when all of it has been scanned and nothing of it read."""
    source = TreeSource(os.fspath(path), dest)
    policy = policy or TreePolicy()
    with start_scan(source, policy, 2) as scan, TreeBlocks(scan, policy, source) as blocks:
        assert blocks.complete()
        change()
        return pack_blocks(blocks, source.title, LayerOptions(threads=2), sink or MemorySink(), discard, 0.0)


def scan(
    path: str | os.PathLike[str],
    *,
    patterns: Sequence[str] = (),
    xattrs: bool = True,
    whiteouts: bool = False,
    way: int = 0,
    threads: int = 1,
) -> EntryTable:
    """Return a scanned table, by threads of its own; a fault of the engine is raised as it is."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        table = EntryTable(os.fsencode(path), fd)
    finally:
        os.close(fd)
    scanner = Scanner(
        table, compile_patterns(tuple(patterns)), with_xattrs=xattrs, keep_whiteouts=whiteouts, xattr_way=way
    )
    workers = [threading.Thread(target=scanner.run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    scanner.finish()
    return table


def plan(path: str | os.PathLike[str], *, block_size: int = BLOCK_SIZE, threads: int = 1) -> Plan:
    """Return the plan of a tree."""
    return Plan(scan(path, threads=threads), block_size=block_size)


def render(planned: Plan, number: int, renderer: Renderer | None = None) -> bytes:
    """Return one block."""
    buffer = bytearray(planned.block_size)
    size = (renderer or Renderer(planned)).render(number, buffer)
    return bytes(buffer[:size])


def render_all(planned: Plan) -> bytes:
    """Return the whole stream, block by block."""
    renderer = Renderer(planned)
    return b"".join(render(planned, number, renderer) for number in range(planned.block_count))


def entries(table: EntryTable) -> list[tuple[object, ...]]:
    """Return what a planned table says of each of its entries."""
    return [table.describe(number) for number in range(len(table))]
