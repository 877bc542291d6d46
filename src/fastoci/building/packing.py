"""Packing: the sources of a build become its layers, on disk or on their way to registries while they are made.

Sources come one after the other; the layers of one that is split are packed at once.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, BinaryIO

from fastoci.building.plan import BuildPlan
from fastoci.building.steps import Step
from fastoci.building.targets import Target
from fastoci.ending import EndingStack
from fastoci.events import Sink, Warned
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import PackedLayer, pack_tree, plan_tree
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import STDIN, TreeSource, is_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from fastoci.building.onepass import LayerUploads
    from fastoci.building.removals import Removals
    from fastoci.layer.options import Split
    from fastoci.layer.pack import PlannedLayer
    from fastoci.layer.split import Part
    from fastoci.tree.changes import DiffBase

__all__ = ["Packing"]


class Packing:
    """The packing of one build.

    Args:
        plan: What the build is asked to do.
        policy: What becomes of what the trees hold.
        layer: How layers are made.
        target: Takes the layers that somebody wants on disk.
        uploads: Sends them to registries while they are packed; None where nothing is pushed.
        stdin: Where `-` is read from; None is this process's stdin.
        sink: Given the events of the work.
        diff: What the one source is compared with: its layer is what it changes of that. None: it is all of it.
        split: How each tree is spread over several layers; None: each is one.
    """

    def __init__(
        self,
        plan: BuildPlan,
        policy: TreePolicy,
        layer: LayerOptions,
        target: Target,
        uploads: LayerUploads | None,
        stdin: BinaryIO | None,
        sink: Sink,
        *,
        diff: DiffBase | None = None,
        split: Split | None = None,
    ) -> None:
        self._plan = plan
        self._policy = policy
        self._layer = layer
        self._target = target
        self._uploads = uploads
        self._stdin = stdin
        self._sink = sink
        self._diff = diff
        self._split = split

    def run(self, below: Sequence[PackedLayer], removals: Removals | None) -> Iterator[tuple[str, PackedLayer]]:
        """Pack one source after the other, and give each layer when it is done, after how it came to be.

        Args:
            below: The layers beneath, first to last: a destination's ancestors are as these have them.
            removals: What is taken away from these, in a layer of its own beneath those of the sources.

        Raises:
            TreeError: A source cannot be packed.
            StoreError: The target does not take a layer.
            RegistryError: A registry does not.
        """
        below = list(below)
        if removals:
            with removals.archive([layer.directories for layer in below], self._policy.mtime_limit) as source:
                below.append(self._pack(source, below))
            yield removals.step, below[-1]
        for source in self._plan.sources:
            if self._split is None:
                made = [(str(Step(source.dest, diff=self._diff is not None)), self._pack(source, below))]
                entries = made[0][1].entries
            else:
                entries, made = self._pack_split(source, self._split, below)
            if is_tree(source):
                self._warn_of_owner(source, entries, {packed.owner for _, packed in made})
            below += [packed for _, packed in made]
            yield from made

    def _pack(self, source: TreeSource, below: Sequence[PackedLayer]) -> PackedLayer:
        if self._uploads is None:
            return self._pack_to_disk(source, below)
        if is_tree(source):
            planned = self._uploads.open(self._plan_tree(source, below))
        else:
            from fastoci.layer.tarball import plan_tar

            planned = self._uploads.open(plan_tar(source, self._layer, self._sink, self._stream_of(source)))
        return self._send(planned, self._uploads)

    def _pack_to_disk(self, source: TreeSource, below: Sequence[PackedLayer]) -> PackedLayer:
        with self._target.blob() as blob:
            if self._diff is not None:
                with self._plan_tree(source, below) as planned:
                    return planned.pack(blob)
            if is_tree(source):
                return pack_tree(source, self._policy, self._layer, blob, self._sink, below)
            from fastoci.layer.tarball import pack_tar

            return pack_tar(source, self._layer, blob, self._sink, self._stream_of(source))

    def _send(self, planned: PlannedLayer, uploads: LayerUploads, *, patient: bool = False) -> PackedLayer:
        """Pack a layer that goes to registries meanwhile, and to disk only where somebody wants it there."""
        if self._is_stored:
            with self._target.blob() as blob:
                return uploads.pack(planned, blob, patient=patient)
        return uploads.pack(planned, None, patient=patient)

    @property
    def _is_stored(self) -> bool:
        return any(output.kind != "registry" for output in self._plan.outputs)

    def _pack_split(
        self, source: TreeSource, split: Split, below: Sequence[PackedLayer]
    ) -> tuple[int, list[tuple[str, PackedLayer]]]:
        """Pack the layers of one tree at once; return how many entries it has, and the layers, lowest first."""
        from fastoci.building.splitting import pack_parts
        from fastoci.layer.split import plan_split

        uploads = self._uploads
        at_once = None if uploads is None else uploads.at_once
        if self._is_stored and not self._target.at_once:
            at_once = 1
        planning = plan_split(source, self._policy, self._layer, split, self._sink, below, at_once=at_once)

        def pack(part: Part) -> PackedLayer:
            if uploads is not None:
                return self._send(uploads.open(tree.planned(part)), uploads, patient=True)
            with tree.planned(part) as planned, self._target.blob() as blob:
                return planned.pack(blob)

        with EndingStack() as stack:
            tree = stack.enter_context(planning) if uploads is None else uploads.open(planning)
            packed = pack_parts(tree, pack, (lambda: None) if uploads is None else uploads.stop)
        return tree.entries, [
            (str(_step_of(part, split)), layer) for part, layer in zip(tree.parts, packed, strict=True)
        ]

    def _plan_tree(self, source: TreeSource, below: Sequence[PackedLayer]) -> AbstractContextManager[PlannedLayer]:
        """Begin with a layer of a tree, or of what it changes of its base."""
        if self._diff is None:
            return plan_tree(source, self._policy, self._layer, self._sink, below)
        from fastoci.layer.changes import plan_changes

        return plan_changes(source, self._diff, self._policy, self._layer, self._sink, below)

    def _stream_of(self, source: TreeSource) -> BinaryIO | None:
        """Return what a tar archive is read from where it is no file."""
        return self._stdin or sys.stdin.buffer if source.path == STDIN else None

    def _warn_of_owner(self, source: TreeSource, entries: int, owners: set[tuple[int, int] | None]) -> None:
        """Warn of a tree that belongs to whoever made it, which is seldom who it shall belong to in a container."""
        owner = owners.pop() if len(owners) == 1 else None
        if owner is None or self._policy.uid is not None or owner[0] != os.geteuid() or not owner[0]:
            return
        name = f"{owner[0]}:{owner[1]}"
        if os.path.isfile(source.path):
            self._sink(Warned(f"{source.title} belongs to {name}", hint="--chown 0:0 makes it root's"))
            return
        of_which = f" of {source.title}" if len(self._plan.sources) > 1 else ""
        self._sink(Warned(f"all {entries:,} entries{of_which} belong to {name}", hint="--chown 0:0 makes them root's"))


def _step_of(part: Part, split: Split) -> Step:
    if part.count == 1:
        return Step(part.source.dest)
    return Step(part.source.dest, split=split, number=part.number, count=part.count)
