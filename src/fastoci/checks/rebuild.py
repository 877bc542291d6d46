"""Whether an image is what trees give: its layers are made again, written nowhere, and compared.

The image's history says which layers are of which source, since fastoci wrote there how it made them: of a source that
was split all, by the same `--split`. Where a layer differs, the entries of all that are of its source are read beside
those that the tree gives, and the first that differ are named.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fastoci.building.base import open_base
from fastoci.building.diffbase import check_diff, diff_base
from fastoci.building.plan import BuildPlan
from fastoci.building.splitting import pack_parts
from fastoci.building.steps import Step
from fastoci.checks.findings import Finding, Findings
from fastoci.checks.madeagain import Facts, Nowhere, difference, facts_in, facts_made
from fastoci.errors import FastociError, UsageError
from fastoci.events import Sink, discard
from fastoci.images.layerfiles import BaseLayerFiles
from fastoci.images.layerstream import ImageLayer, LayerStream
from fastoci.images.source import open_image
from fastoci.layer.changes import plan_changes
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import PackedLayer, PlannedLayer, plan_tree
from fastoci.layer.split import plan_split
from fastoci.layer.tarball import plan_tar
from fastoci.registry.options import RegistryOptions
from fastoci.rootfs.limits import Limits, Usage
from fastoci.tar.reader import TarReader, shown
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import STDIN, TreeSource, is_tree
from fastoci.unpack import layers_of, telling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastoci.images.source import ImageSource
    from fastoci.layer.options import Split
    from fastoci.layer.split import Part
    from fastoci.spec.config import ImageConfig
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform
    from fastoci.tree.changes import DiffBase

__all__ = ["rebuild"]

_NAMED = 10  # differences of one source that are told one by one


def rebuild(
    image: str | ImageName,
    sources: Sequence[str],
    options: RegistryOptions | None = None,
    *,
    policy: TreePolicy | None = None,
    layer: LayerOptions | None = None,
    source_date_epoch: int | None = None,
    base: str | ImageName | None = None,
    diff: str | Literal[True] | None = None,
    split: Split | None = None,
    platform: Platform | None = None,
    sink: Sink = discard,
) -> tuple[Finding, ...]:
    """Compare the topmost layers of an image with those that a build would make of sources.

    Args:
        image: Its name, of any transport.
        sources: `SRC[:/DEST]`, as `build` was given them, the lowest first: the last of them, or all. Each is a layer,
            or as many as the image's history says that it was split into.
        options: How a registry is reached.
        policy: What the build was told to make of what it finds.
        layer: How it made layers; the compression is the image's own.
        source_date_epoch: As the build had it.
        base: The image whose layers are to be beneath them. None: what is beneath is not looked at.
        diff: What the build compared the one source with: a directory, or True for the layers beneath.
        split: How the build split its sources, where that is not what the history says.
        platform: Which member of an index; None is this machine's.
        sink: Told how it goes on.

    Returns:
        What differs; nothing where the image is what the trees give.

    Raises:
        UsageError: There are more sources than layers, or one is standard input; or the history says that the layers
            were made otherwise than by these arguments.
        FastociError: The history does not say which layers are of one source.
        TreeError: A source cannot be read.
        InvalidImageError: The image is not valid.
        StoreError: The disk cannot be read.
        RegistryError: The registry could not be reached, or does not give it out.
    """
    trees = [TreeSource.parse(source) for source in sources]
    if any(tree.path == STDIN for tree in trees):
        raise UsageError("stdin is no tree to compare with")
    policy, making = policy or TreePolicy(), layer or LayerOptions()
    if source_date_epoch is not None:
        policy = replace(policy, mtime_limit=source_date_epoch)
    plan = BuildPlan(trees, [], [])
    plan.check(policy)
    if split is not None:
        plan.check_split(has_diff=diff is not None)
    options, findings = options or RegistryOptions(), Findings()
    with open_image(image, options, sink) as source:
        _, config, layers = layers_of(source, platform)
        groups = _grouped(source, trees, layers, _steps(config))
        lower = groups[0].first if groups else len(layers)
        if diff is not None:
            check_diff(diff, trees, policy, None, has_layers=lower > 0, sink=sink)
        for group in groups:
            _check_step(group, source.name, diff=diff is not None)
        if base is not None:
            _compare_base(base, layers[:lower], platform or config.platform, options, findings, sink)
        beneath = [(source, one.descriptor) for one in layers[:lower]]
        compared = None if diff is None else diff_base(diff, beneath, sink)
        work = _Rebuild(source, policy, making, compared, split, findings, sink)
        work.run([_known(source, one, sink) for one in layers[:lower]], groups)
    return findings.all()


@dataclass(frozen=True, slots=True)
class _Group:
    """The layers of one source.

    Attributes:
        tree: The source.
        first: Where in the image the lowest of them is, from 0.
        layers: The layers, lowest first; one, but where the source was split.
        step: How they came to be; None where no build of fastoci's says so.
    """

    tree: TreeSource
    first: int
    layers: list[ImageLayer]
    step: Step | None

    @property
    def path(self) -> str:
        """Where they are, for findings."""
        last = self.first + len(self.layers) - 1
        return f"layers/{self.first}" if last == self.first else f"layers/{self.first}-{last}"


def _steps(config: ImageConfig) -> list[Step | None]:
    """Return how each layer came to be, as far as the history says it of these layers."""
    made = [step.created_by or "" for step in config.history if not step.empty_layer]
    return [Step.parse(text) for text in made] if len(made) == len(config.diff_ids) else [None] * len(config.diff_ids)


def _grouped(
    source: ImageSource, trees: Sequence[TreeSource], layers: list[ImageLayer], steps: Sequence[Step | None]
) -> list[_Group]:
    """Return which layers are of which source, from the topmost down; the lowest first."""
    groups: list[_Group] = []
    end = len(layers)
    for tree in reversed(trees):
        step = steps[end - 1] if end else None
        first = end - (1 if step is None else step.count)
        if first < 0:
            raise UsageError(f"{len(trees)} sources, and {source.name} has {len(layers)} layers")
        if step is not None and list(steps[first:end]) != [
            replace(step, number=number) for number in range(1, step.count + 1)
        ]:
            raise FastociError(
                f"cannot tell which layers of {source.name} are of {tree.path}",
                cause=f"by its history layer {end - 1} is part {step.number} of {step.count}, and those beneath are "
                "not the others",
            )
        groups.append(_Group(tree, first, layers[first:end], step))
        end = first
    return groups[::-1]


def _check_step(group: _Group, name: str, *, diff: bool) -> None:
    """Refuse to compare a layer with what it is not, by its own history."""
    if group.step is None or group.step.diff == diff:
        return
    if diff:
        raise UsageError(f"{group.path} of {name} is all of a tree, by its history, and not what it changes of another")
    raise UsageError(
        f"{group.path} of {name} is what a tree changes of another, by its history",
        hint=f"--diff BASE --rebuild {group.tree.path}; or --diff {group.tree.path}, if BASE was the image beneath",
    )


def _compare_base(
    base: str | ImageName,
    beneath: Sequence[ImageLayer],
    platform: Platform,
    options: RegistryOptions,
    findings: Findings,
    sink: Sink,
) -> None:
    """Say which of the layers beneath are not those of a base."""
    with ExitStack() as stack:
        opened = open_base(base, platform, options, sink, stack)
        name = opened.source.name
        if len(opened.layers) > len(beneath):
            findings.add(
                "error",
                "layers",
                f"{len(beneath)} are beneath those of the sources, and {name} has {len(opened.layers)}",
            )
        for number, (there, wanted) in enumerate(zip(beneath, opened.layers, strict=False)):
            if there.descriptor.digest != wanted.digest:
                findings.add(
                    "error",
                    f"layers/{number}",
                    f"it is {there.descriptor.digest}, and that of {name} is {wanted.digest}",
                    there.descriptor.digest,
                )
        for number in range(len(opened.layers), len(beneath)):
            findings.add("unchecked", f"layers/{number}", f"it is neither of {name} nor of a source that was named")


def _known(source: ImageSource, layer: ImageLayer, sink: Sink) -> PackedLayer:
    """Return a layer that is not made again, for what those above it want to know of its directories."""
    if layer.diff_id is None:  # layers_of gives each one its own
        raise TypeError(layer)
    files = BaseLayerFiles(source, layer.descriptor, sink)
    return PackedLayer(layer.descriptor, layer.diff_id, 0, 0, None, None, files)


class _Rebuild:
    """The making of layers again, and their comparison with those of an image.

    Args:
        source: The image.
        policy: What becomes of what is found.
        options: How layers are made; the compression is the image's own.
        diff: What the one source is compared with; None: its layers are all of it.
        split: How sources are split; None: as the history says.
        findings: Takes what differs.
        sink: Told how it goes on.
    """

    def __init__(
        self,
        source: ImageSource,
        policy: TreePolicy,
        options: LayerOptions,
        diff: DiffBase | None,
        split: Split | None,
        findings: Findings,
        sink: Sink,
    ) -> None:
        self._source = source
        self._policy = policy
        self._options = options
        self._diff = diff
        self._split = split
        self._findings = findings
        self._sink = sink

    def run(self, earlier: list[PackedLayer], groups: Sequence[_Group]) -> None:
        """Make the layers of one source after the other.

        Args:
            earlier: The layers beneath the first, first to last.
            groups: The sources with their layers, lowest first.
        """
        for group in groups:
            made = self._make(group, earlier)
            if [one.diff_id for one in made] != [one.diff_id for one in group.layers]:
                self._compare(group, earlier, divided=len(made) > 1)
            else:
                self._compare_blobs(group, made)
            earlier += made

    def _make(self, group: _Group, earlier: Sequence[PackedLayer]) -> list[PackedLayer]:
        """Make the layers of a source as the build did."""
        tree, policy, sink = group.tree, self._policy, self._sink
        options = replace(self._options, compression=group.layers[0].compression)
        split = self._split or (None if group.step is None else group.step.split)
        if split is None:
            with self._plan(tree, options, earlier) as planned:
                return [planned.pack(Nowhere())]
        with plan_split(tree, policy, options, split, sink, earlier) as divided:

            def pack(part: Part) -> PackedLayer:
                with divided.planned(part) as planned:
                    return planned.pack(Nowhere())

            if group.step is None and len(divided.parts) > 1:
                raise FastociError(
                    f"cannot tell which layers of {self._source.name} are of {tree.path}",
                    cause=f"--split {split} makes {len(divided.parts)} of it, and the image's history says nothing",
                )
            return pack_parts(divided, pack)

    def _plan(
        self, tree: TreeSource, options: LayerOptions, earlier: Sequence[PackedLayer]
    ) -> AbstractContextManager[PlannedLayer]:
        """Begin with the layer of a source that is not split."""
        if self._diff is not None:
            return plan_changes(tree, self._diff, self._policy, options, self._sink, earlier)
        if is_tree(tree):
            return plan_tree(tree, self._policy, options, self._sink, earlier)
        return plan_tar(tree, options, self._sink)

    def _compare_blobs(self, group: _Group, made: Sequence[PackedLayer]) -> None:
        """Say which blobs are others although they hold the same tar."""
        for number, (one, there) in enumerate(zip(made, group.layers, strict=True), group.first):
            if one.descriptor.digest != there.descriptor.digest:
                self._findings.add(
                    "error",
                    f"layers/{number}",
                    f"{group.tree.path} gives the same tar, and another blob of it: {one.descriptor.digest}; it was "
                    "compressed at another level, or by another version",
                    there.descriptor.digest,
                )

    def _compare(self, group: _Group, earlier: Sequence[PackedLayer], *, divided: bool) -> None:
        """Say which entries differ: of a source that is split those of all its layers together."""
        tree, path, add = group.tree, group.path, self._findings.add
        with self._plan(tree, replace(self._options, compression="none"), earlier) as planned:
            here = facts_made(planned, f"the layer of {tree.path}")
        there, holder = self._held(group)
        different = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        for name in different[:_NAMED]:
            add("error", holder.get(name, path), f"{shown(name)}: {difference(there.get(name), here.get(name))}")
        if len(different) > _NAMED:
            add("error", path, f"{len(different) - _NAMED:,} more entries differ")
        if not different:
            how = "divided otherwise, or " if divided or len(group.layers) > 1 else ""
            add("error", path, f"the entries are those of {tree.path}, {how}written in other headers or another order")

    def _held(self, group: _Group) -> tuple[dict[bytes, Facts], dict[bytes, str]]:
        """Return what the layers of a source say of each path, the last one that has it, and which one that is."""
        there: dict[bytes, Facts] = {}
        holder: dict[bytes, str] = {}
        for number, layer in enumerate(group.layers, group.first):
            usage = Usage(Limits(), adjustable=False)
            with closing(LayerStream(self._source, layer, usage)) as stream:
                found = facts_in(TarReader(stream.pieces(telling(layer, self._sink)), layer.what, usage))
            there |= found
            holder |= dict.fromkeys(found, f"layers/{number}")
        return there, holder
