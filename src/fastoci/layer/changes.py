"""The layer that makes a tree of a base: what differs of the tree, and whiteouts of what is gone."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from fastoci.ending import ending_context
from fastoci.events import Notice, Sink
from fastoci.layer.fingerprint import fingerprint_of_tree, place_of
from fastoci.layer.pack import PackedLayer, PlannedLayer
from fastoci.layer.plans import warnings_of
from fastoci.layer.selectedblocks import SelectedBlocks
from fastoci.tree.changes import DiffBase, find_changes
from fastoci.tree.scan import SCAN_THREADS, start_scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastoci.layer.options import LayerOptions
    from fastoci.tree.policy import TreePolicy
    from fastoci.tree.source import TreeSource

__all__ = ["plan_changes"]


@ending_context
def plan_changes(
    source: TreeSource,
    base: DiffBase,
    policy: TreePolicy,
    options: LayerOptions,
    sink: Sink,
    earlier: Sequence[PackedLayer] = (),
) -> Iterator[PlannedLayer]:
    """Compare a directory with its base, and plan the layer of what differs; see `plan_tree`.

    Args:
        source: The directory, and its place in the layer.
        base: What it is compared with.
        policy: What becomes of what is found in both.
        options: How the layer is made.
        sink: Told of the progress.
        earlier: The layers below, first to last.

    Raises:
        TreeError: One of the trees cannot be read, or changed meanwhile.
        UsageError: A pattern or the destination has no meaning.
        FastociError: The base cannot be read.
    """
    started, wall = time.perf_counter(), time.time_ns()
    lookups = [layer.directories for layer in earlier]
    with start_scan(source, policy, SCAN_THREADS, lookups) as scan, closing(scan.table):
        with base.open(source, policy, lookups) as opened:
            scan.finish()
            compared = time.perf_counter()
            selection = find_changes(scan.table, opened, policy, source.path)
        timings = {"scan": scan.seconds, "compare": time.perf_counter() - compared}
        warnings = warnings_of(scan.table)
        with SelectedBlocks(scan.table, selection, policy, source, warnings=warnings, timings=timings) as blocks:
            if not selection:
                sink(Notice(f"{source.title}: nothing differs from {base.name}, and the layer is empty"))
            yield PlannedLayer(
                blocks,
                source.title,
                options,
                sink,
                started,
                locate=lambda: place_of(source, policy, options, base.place),
                identify=lambda: fingerprint_of_tree(blocks.plan, policy, options, wall),
            )
