"""Packing: from one source to one layer blob and its descriptor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from fastoci.ending import ending_context
from fastoci.events import LayerPacked, LayerProgress, LayerScanned, Sink, Throttle, Warned
from fastoci.layer.blocks import BlockSource, SourceFacts
from fastoci.layer.compression import compressor_for, differs_from_golden
from fastoci.layer.cpus import available_cpus
from fastoci.layer.fingerprint import Fingerprint, fingerprint_of_tree, place_of
from fastoci.layer.options import LayerOptions
from fastoci.layer.pipeline import run_pipeline
from fastoci.layer.treeblocks import TreeBlocks
from fastoci.layer.workforce import Workforce
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.tree.ancestors import DirectoryLookup
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import SCAN_THREADS, start_scan
from fastoci.tree.source import TreeSource

__all__ = ["BlobSink", "PackedLayer", "PlannedLayer", "pack_tree", "plan_tree"]


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
    with plan_tree(source, policy, options, sink, earlier) as planned:
        return planned.pack(writer)


@ending_context
def plan_tree(
    source: TreeSource, policy: TreePolicy, options: LayerOptions, sink: Sink, earlier: Sequence[PackedLayer] = ()
) -> Iterator[PlannedLayer]:
    """Begin to scan and plan a directory's layer, which can be packed until the context ends. See `pack_tree`."""
    started, wall = time.perf_counter(), time.time_ns()
    with (
        start_scan(source, policy, SCAN_THREADS, [layer.directories for layer in earlier]) as scan,
        closing(scan.table),
        TreeBlocks(scan, policy, source) as blocks,
    ):
        yield PlannedLayer(
            blocks,
            source.title,
            options,
            sink,
            started,
            locate=lambda: place_of(source, policy, options),
            identify=lambda: fingerprint_of_tree(blocks.plan, policy, options, wall),
        )


class PlannedLayer:
    """A layer whose tar stream is known, or is becoming so, and of which nothing has been made yet.

    Args:
        blocks: The tar stream.
        title: What to call it on screen.
        options: How the layer is made.
        sink: Told of the progress.
        started: When the work on it began, by `time.perf_counter`.
        locate: Says where it comes from and how it is made; see `place_of`.
        identify: Makes its fingerprint once the plan is complete.
        workforce: Whose workers make it: it is one part of a source that has been announced as a whole. None: its own.
    """

    def __init__(
        self,
        blocks: BlockSource,
        title: str,
        options: LayerOptions,
        sink: Sink,
        started: float,
        *,
        locate: Callable[[], str],
        identify: Callable[[], Fingerprint],
        workforce: Workforce | None = None,
    ) -> None:
        self.blocks = blocks
        self.title = title
        self.threads = (options.threads or available_cpus()) // (1 if workforce is None else workforce.at_once) or 1
        self.compressor = compressor_for(options)
        self._options = options
        self._sink = sink
        self._started = started
        self._locate = locate
        self._identify = identify
        self._workforce = workforce
        self._place: str | None = None
        self._fingerprint: Fingerprint | None = None

    def pack(self, writer: BlobSink) -> PackedLayer:
        """Run the blocks through the pipeline, and commit the blob. See `pack_tree`."""
        return pack_blocks(self.blocks, self.title, self._options, writer, self._sink, self._started, self._workforce)

    @property
    def place(self) -> str:
        """Where this layer comes from and how it is made, known from the start; see `place_of`."""
        if self._place is None:
            self._place = self._locate()
        return self._place

    def fingerprint(self) -> Fingerprint:
        """Wait for the end of the plan, and return what this layer is known by before it is made.

        Raises:
            TreeError: See `pack_tree`.
        """
        if self._fingerprint is None:
            self.blocks.complete()
            self._fingerprint = self._identify()
        return self._fingerprint

    def packed_before(self, descriptor: Descriptor, diff_id: Digest) -> PackedLayer:
        """Return what this layer is, where it is known without making it.

        Args:
            descriptor: Of its blob.
            diff_id: The digest of its tar stream.
        """
        facts = _Announcement(
            self.blocks, self.title, self._sink, self._started, made=self._workforce is not None
        ).facts()
        return PackedLayer(
            descriptor,
            diff_id,
            self.blocks.tar_size,
            facts.entries,
            facts.newest_mtime,
            facts.owner,
            facts.directories,
            {**facts.timings, "total": time.perf_counter() - self._started},
        )


def warn_of_compressor(options: LayerOptions, sink: Sink) -> None:
    """Warn where layers become other bytes here than on other machines."""
    if options.compression == "gzip" and differs_from_golden(options.level):
        sink(
            Warned(
                "isal compresses to other bytes here than fastoci's format has them",
                "layers are valid, but their digests are not those of other machines: install an isal in the range "
                "that fastoci asks for, on a CPU with SSE4.2",
            )
        )
    if options.compression == "zstd":
        from fastoci.layer import zstd

        if zstd.differs_from_golden(options.level):
            sink(
                Warned(
                    f"libzstd {zstd.zstd_version()} compresses to other bytes than 1.5.7, of which digests are "
                    "promised",
                    "layers are valid, but their digests are not those of other machines",
                )
            )


def pack_blocks(
    blocks: BlockSource,
    title: str,
    options: LayerOptions,
    writer: BlobSink,
    sink: Sink,
    started: float,
    workforce: Workforce | None = None,
) -> PackedLayer:
    """Run blocks through the pipeline, and commit the blob. See `pack_tree`."""
    if workforce is None:
        warn_of_compressor(options, sink)
    announcement = _Announcement(blocks, title, sink, started, made=workforce is not None)
    announcement.make()
    throttle = Throttle()

    def progress(done: int, written: int) -> None:
        if announcement.make() and (done == blocks.tar_size or throttle.due()):
            sink(LayerProgress(title, done, blocks.tar_size, written))

    compressor = compressor_for(options)
    result = run_pipeline(blocks, compressor, options.threads or available_cpus(), writer.write, progress, workforce)
    digest = Digest("sha256", result.digest)
    committing = time.perf_counter()
    writer.commit(digest)
    finished = time.perf_counter()
    facts = announcement.facts()
    packed = PackedLayer(
        Descriptor(compressor.media_type, digest, result.size),
        Digest("sha256", result.diff_id),
        result.tar_size,
        facts.entries,
        facts.newest_mtime,
        facts.owner,
        facts.directories,
        {**facts.timings, **result.seconds, "commit": finished - committing, "total": finished - started},
    )
    sink(LayerPacked(title, str(packed.diff_id), str(digest), packed.tar_size, result.size, packed.timings["total"]))
    return packed


class _Announcement:
    """Says once what a source holds, as soon as it is known: the packing may have begun long before."""

    def __init__(self, blocks: BlockSource, title: str, sink: Sink, started: float, *, made: bool) -> None:
        self._blocks = blocks
        self._title = title
        self._sink = sink
        self._started = started
        self._made = made

    def make(self) -> bool:
        """Say it if it is known, and return whether it has been said."""
        if self._made or (facts := self._blocks.facts()) is None:
            return self._made
        self._made = True
        for warning in facts.warnings:
            self._sink(Warned(warning))
        self._sink(LayerScanned(self._title, facts.entries, self._blocks.tar_size, facts.known_at - self._started))
        return True

    def facts(self) -> SourceFacts:
        """Return what the source holds, when all of its blocks have been read."""
        self.make()
        facts = self._blocks.facts()
        assert facts is not None, "the end of the source was read"  # noqa: S101 - says what the caller promises
        return facts
