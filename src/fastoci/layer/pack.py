"""Packing: from one source to one layer blob and its descriptor."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastoci._engine import EngineFault
from fastoci._engine.plan import Plan
from fastoci._engine.table import EntryTable
from fastoci.events import LayerPacked, LayerProgress, LayerScanned, Sink, Throttle, Warned
from fastoci.layer.blocks import BlockSource, PlannedBlocks
from fastoci.layer.compression import compressor_for, differs_from_golden
from fastoci.layer.cpus import available_cpus
from fastoci.layer.options import BLOCK_SIZE, LayerOptions
from fastoci.layer.pipeline import run_pipeline
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.tree.ancestors import DirectoryLookup, Found
from fastoci.tree.faults import explain
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import scan_tree
from fastoci.tree.source import TreeSource

__all__ = ["BlobSink", "PackedLayer", "pack_blocks", "pack_tree"]


class BlobSink(Protocol):
    """Where a blob goes: nothing of it is seen before `commit`."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""

    def commit(self, digest: Digest) -> object:
        """Make the blob whole, under its digest."""


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """A layer that was made.

    Args:
        descriptor: Media type, digest and size of the blob.
        diff_id: The digest of the tar stream (image-spec config.md, "Layer DiffID").
        tar_size: The bytes of the tar stream.
        entries: How many entries it has, the ancestors of its destination included.
        newest_mtime: The newest modification time of what was found, seconds since the epoch, after the policy; None:
            there is nothing but directories above the destination.
        owner: The one (uid, gid) to whom everything found belongs, before the policy; None where owners differ.
        directories: What the layer has at a path, for the layers above it.
        timings: Seconds that each stage took, summed over its threads; `total` by the clock on the wall.
    """

    descriptor: Descriptor
    diff_id: Digest
    tar_size: int
    entries: int
    newest_mtime: int | None
    owner: tuple[int, int] | None
    directories: DirectoryLookup
    timings: Mapping[str, float] = field(default_factory=dict)


def pack_tree(
    source: TreeSource,
    policy: TreePolicy,
    options: LayerOptions,
    writer: BlobSink,
    sink: Sink,
    earlier: Sequence[PackedLayer] = (),
) -> PackedLayer:
    """Pack a directory into a layer.

    The same tree, policy and options (but for `threads`) give the same bytes, everywhere on one CPU architecture.

    Args:
        source: The directory, and its place in the layer.
        policy: What becomes of what is found.
        options: How the layer is made.
        writer: Takes the blob; it is committed here, and left alone if anything fails.
        sink: Told of the progress.
        earlier: The layers below, first to last: ancestors of the destination are as they have them.

    Raises:
        TreeError: The tree cannot be packed, or changed while it was packed.
        UsageError: A pattern or the destination has no meaning.
    """
    started = time.perf_counter()
    threads = options.threads or available_cpus()
    table = scan_tree(source, policy, threads, [layer.directories for layer in earlier])
    try:
        scanned = time.perf_counter()
        plan = _plan(table, policy, source)
        planned = time.perf_counter()
        if table.sockets:
            _warn_of_sockets(table, sink)
        packed = pack_blocks(
            PlannedBlocks(plan, source.path),
            source.title,
            options,
            writer,
            sink,
            entries=len(table),
            newest_mtime=plan.newest_mtime,
            owner=plan.owner,
            directories=_TableLookup(table, policy),
            started=started,
            timings={"scan": scanned - started, "plan": planned - scanned},
        )
    finally:
        table.close()
    return packed


def pack_blocks(
    blocks: BlockSource,
    title: str,
    options: LayerOptions,
    writer: BlobSink,
    sink: Sink,
    *,
    entries: int,
    newest_mtime: int | None,
    owner: tuple[int, int] | None,
    directories: DirectoryLookup,
    started: float,
    timings: Mapping[str, float],
) -> PackedLayer:
    """Run the blocks of a known tar stream through the pipeline, and commit the blob. See `pack_tree`."""
    sink(LayerScanned(title, entries, blocks.tar_size, time.perf_counter() - started))
    if options.compression == "gzip" and differs_from_golden(options.level):
        sink(
            Warned(
                "this version of isal compresses to other bytes than fastoci's format has them",
                "layers are valid, but their digests are not those of other machines: install an isal in the range "
                "that fastoci asks for",
            )
        )
    throttle = Throttle()

    def progress(done: int, written: int) -> None:
        if done == blocks.tar_size or throttle.due():
            sink(LayerProgress(title, done, blocks.tar_size, written))

    compressor = compressor_for(options)
    result = run_pipeline(blocks, compressor, options.threads or available_cpus(), writer.write, progress)
    digest = Digest("sha256", result.digest)
    committing = time.perf_counter()
    writer.commit(digest)
    finished = time.perf_counter()
    packed = PackedLayer(
        Descriptor(compressor.media_type, digest, result.size),
        Digest("sha256", result.diff_id),
        result.tar_size,
        entries,
        newest_mtime,
        owner,
        directories,
        {**timings, **result.seconds, "commit": finished - committing, "total": finished - started},
    )
    sink(LayerPacked(title, str(packed.diff_id), str(digest), packed.tar_size, result.size, packed.timings["total"]))
    return packed


def _plan(table: EntryTable, policy: TreePolicy, source: TreeSource) -> Plan:
    try:
        return Plan(
            table,
            block_size=BLOCK_SIZE,
            uid=-1 if policy.uid is None else policy.uid,
            gid=-1 if policy.gid is None else policy.gid,
            mtime_limit=policy.mtime_limit,
        )
    except EngineFault as fault:
        raise explain(fault, source.path) from fault


def _warn_of_sockets(table: EntryTable, sink: Sink) -> None:
    first = os.fsdecode(table.first_socket or b"")
    others = f" and {table.sockets - 1:,} more" if table.sockets > 1 else ""
    sink(Warned(f"skipped the socket {first}{others}: a layer cannot hold sockets"))


class _TableLookup:
    """A packed tree, asked for one path."""

    def __init__(self, table: EntryTable, policy: TreePolicy) -> None:
        self._table = table
        self._policy = policy

    def find(self, path: bytes) -> Found | None:
        """Return what stands at `path`, as the layer has it."""
        answer = self._table.find(path)
        if answer is None:
            return None
        kind, facts = answer
        if kind == "hardlink":
            # What the first of the file's names is: it may be a symbolic link.
            return self.find(facts["link"])
        return Found(
            kind,
            facts["mode"],
            self._owner(self._policy.uid, facts, "uid"),
            self._owner(self._policy.gid, facts, "gid"),
            facts["mtime"] if self._policy.mtime_limit is None else min(facts["mtime"], self._policy.mtime_limit),
            facts["xattrs"],
            facts["link"] if kind == "symlink" else b"",
        )

    @staticmethod
    def _owner(wanted: int | None, facts: Mapping[str, Any], which: str) -> int:
        found: int = facts[which]
        return found if wanted is None or facts["synthetic"] else wanted
