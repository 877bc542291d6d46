"""Splitting: one tree over several layers, which can be packed at once.

The tree is scanned to its end, and then divided (`_engine/division.pyx`). Each part is a layer with a plan of its own
over its own entries; the scan and its table are everybody's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from fastoci._engine.division import divide
from fastoci._engine.table import EntryTable
from fastoci.ending import ending_context
from fastoci.errors import UsageError
from fastoci.events import LayerScanned, Sink, Warned
from fastoci.layer.cpus import available_cpus
from fastoci.layer.fingerprint import fingerprint_of_tree, place_of
from fastoci.layer.options import LayerOptions, Split
from fastoci.layer.pack import PackedLayer, PlannedLayer, warn_of_compressor
from fastoci.layer.plans import warnings_of
from fastoci.layer.selectedblocks import SelectedBlocks
from fastoci.layer.workforce import Workforce
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import SCAN_THREADS, start_scan
from fastoci.tree.source import TreeSource

__all__ = ["Part", "SplitTree", "plan_split"]

# No image of more layers can be run by docker, whose overlay2 stacks so many directories.
_DOCKER_LAYERS = 127
_MOST_LAYERS = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a tree a layer is.

    Attributes:
        source: The tree.
        number: Which, from 1, lowest first.
        count: Of how many.
    """

    source: TreeSource
    number: int
    count: int

    @property
    def title(self) -> str:
        """What to call it on screen."""
        return self.source.title if self.count == 1 else f"{self.source.title} {self.number}/{self.count}"


class SplitTree:
    """A tree whose parts are planned.

    Attributes:
        parts: What they are, lowest first.
        entries: How many entries the tree has.
        workforce: The workers for all of them.

    Args:
        table: What was found, in order.
        source: Where.
        policy: What becomes of it.
        options: How the layers are made.
        sink: Told of the progress.
        divided: What `divide` made of the table.
        workforce: See above.
        begun: When the work began, by `time.perf_counter` and in nanoseconds since the epoch, and the seconds of CPU
            that the scan took.
    """

    def __init__(
        self,
        table: EntryTable,
        source: TreeSource,
        policy: TreePolicy,
        options: LayerOptions,
        sink: Sink,
        divided: Sequence[tuple[bytes, bytes]],
        workforce: Workforce,
        begun: tuple[float, int, float],
    ) -> None:
        started, self._wall, scanning = begun
        self._policy = policy
        self._options = options
        self._sink = sink
        self.workforce = workforce
        self.entries = len(table)
        self.parts = [Part(source, number, len(divided)) for number in range(1, len(divided) + 1)]
        self._begins = [path for path, _ in divided]
        self._blocks = [
            SelectedBlocks(table, numbers, policy, source, timings={} if number else {"scan": scanning})
            for number, (_, numbers) in enumerate(divided)
        ]
        size = sum(blocks.tar_size for blocks in self._blocks)
        warn_of_compressor(options, sink)
        for warning in warnings_of(table):
            sink(Warned(warning))
        sink(LayerScanned(source.title, self.entries, size, time.perf_counter() - started))

    def size(self, part: Part) -> int:
        """Return the bytes of a part's tar stream."""
        return self._blocks[part.number - 1].tar_size

    @ending_context
    def planned(self, part: Part) -> Iterator[PlannedLayer]:
        """Give the layer of a part, which can be packed until the context ends, others beside it."""
        begins = self._begins[part.number - 1]
        with self._blocks[part.number - 1] as blocks:
            yield PlannedLayer(
                blocks,
                part.title,
                self._options,
                self._sink,
                time.perf_counter(),
                locate=lambda: place_of(part.source, self._policy, self._options, ("part", begins.hex())),
                identify=lambda: fingerprint_of_tree(blocks.plan, self._policy, self._options, self._wall),
                workforce=self.workforce,
            )


@ending_context
def plan_split(
    source: TreeSource,
    policy: TreePolicy,
    options: LayerOptions,
    split: Split,
    sink: Sink,
    earlier: Sequence[PackedLayer] = (),
    *,
    at_once: int | None = None,
) -> Iterator[SplitTree]:
    """Scan a directory, divide it and plan its layers, which can be packed until the context ends. See `plan_tree`.

    Where the tree is cut depends on the paths and sizes in it, and on nothing else.

    Args:
        source: The directory, and its place in the layers.
        policy: What becomes of what is found.
        options: How the layers are made; `threads` is for all of them together.
        split: How large they are, or how many.
        sink: Told of the progress.
        earlier: The layers below, first to last: ancestors of the destination are as they have them.
        at_once: How many of them may be packed at once; None: as many as pay.

    Raises:
        TreeError: The tree cannot be packed.
        UsageError: A pattern or the destination has no meaning, or the layers would be too many.
    """
    started, wall = time.perf_counter(), time.time_ns()
    with (
        start_scan(source, policy, SCAN_THREADS, [layer.directories for layer in earlier]) as scan,
        closing(scan.table),
    ):
        scan.finish()
        limit = 0 if split.size is None else split.size + split.size // 2
        divided = divide(scan.table, limit=limit, count=split.count or 0)
        _check_count(len(divided), split, sink)
        workforce = Workforce(options.threads or available_cpus(), len(divided), at_once)
        yield SplitTree(scan.table, source, policy, options, sink, divided, workforce, (started, wall, scan.seconds))


def _check_count(count: int, split: Split, sink: Sink) -> None:
    if count > _MOST_LAYERS:
        wanted = f"a size of {split.size:,} bytes" if split.count is None else f"a number of {split.count:,}"
        raise UsageError(
            f"{wanted} splits the tree into {count:,} layers",
            cause=f"{_MOST_LAYERS:,} are the most",
            hint="a larger size, such as --split 512M",
        )
    if count > _DOCKER_LAYERS:
        sink(
            Warned(
                f"the tree is split into {count} layers, and docker runs no image of more than {_DOCKER_LAYERS}",
                hint="--split with a larger size, or a smaller number",
            )
        )
