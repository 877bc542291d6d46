"""Whether an image is what trees give: its layers are made again, written nowhere, and compared.

Where a layer differs, its entries are read beside those that the tree gives, and the first that differ are named.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from typing import TYPE_CHECKING

from fastoci.building.plan import BuildPlan
from fastoci.checks.findings import Finding, Findings
from fastoci.ending import Ending
from fastoci.errors import UsageError
from fastoci.events import Sink, discard
from fastoci.images.layerfiles import BaseLayerFiles
from fastoci.images.layerstream import ImageLayer, LayerStream
from fastoci.images.source import open_image
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import PackedLayer, PlannedLayer, plan_tree
from fastoci.layer.tarball import plan_tar
from fastoci.parallel import StoppedError
from fastoci.registry.options import RegistryOptions
from fastoci.rootfs.limits import Limits, Usage
from fastoci.tar.reader import TarEntry, TarReader, shown
from fastoci.threads import Crew, empty
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import STDIN, TreeSource, is_tree
from fastoci.unpack import layers_of, telling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastoci.images.source import ImageSource
    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform

__all__ = ["rebuild"]

_NAMED = 10  # differences of one layer that are told one by one
_AHEAD = 4

Facts = tuple[str, ...]


def rebuild(
    image: str | ImageName,
    sources: Sequence[str],
    options: RegistryOptions | None = None,
    *,
    policy: TreePolicy | None = None,
    layer: LayerOptions | None = None,
    source_date_epoch: int | None = None,
    platform: Platform | None = None,
    sink: Sink = discard,
) -> tuple[Finding, ...]:
    """Compare the topmost layers of an image with those that a build would make of sources.

    Args:
        image: Its name, of any transport.
        sources: `SRC[:/DEST]`, one for each of the topmost layers, the lowest first, as `build` was given them.
        options: How a registry is reached.
        policy: What the build was told to make of what it finds.
        layer: How it made layers; the compression is the image's own.
        source_date_epoch: As the build had it.
        platform: Which member of an index; None is this machine's.
        sink: Told how it goes on.

    Returns:
        What differs; nothing where the image is what the trees give.

    Raises:
        UsageError: There are more sources than layers, or one is standard input.
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
    BuildPlan(trees, [], []).check(policy)
    findings = Findings()
    with open_image(image, options or RegistryOptions(), sink) as source:
        _, layers = layers_of(source, platform)
        lower = len(layers) - len(trees)
        if lower < 0:
            raise UsageError(f"{len(trees)} sources, and {source.name} has {len(layers)} layers")
        earlier = [_known(source, one, sink) for one in layers[:lower]]
        for number, (one, tree) in enumerate(zip(layers[lower:], trees, strict=True), lower):
            path = f"layers/{number}"
            matching = replace(making, compression=one.compression)
            with _plan(tree, policy, matching, sink, earlier) as planned:
                made = planned.pack(_Nowhere())
            earlier.append(made)
            if made.diff_id != one.diff_id:
                with _plan(tree, policy, replace(matching, compression="none"), sink, earlier[:-1]) as planned:
                    _compare(source, one, planned, tree, path, findings, sink)
            elif made.descriptor.digest != one.descriptor.digest:
                findings.add(
                    "error",
                    path,
                    f"{tree.path} gives the same tar, and another blob of it: {made.descriptor.digest}; it was "
                    "compressed at another level, or by another version",
                    one.descriptor.digest,
                )
    return findings.all()


def _plan(
    tree: TreeSource, policy: TreePolicy, options: LayerOptions, sink: Sink, earlier: Sequence[PackedLayer]
) -> AbstractContextManager[PlannedLayer]:
    return plan_tree(tree, policy, options, sink, earlier) if is_tree(tree) else plan_tar(tree, options, sink)


def _known(source: ImageSource, layer: ImageLayer, sink: Sink) -> PackedLayer:
    """Return a layer that is not made again, for what those above it want to know of its directories."""
    if layer.diff_id is None:  # layers_of gives each one its own
        raise TypeError(layer)
    files = BaseLayerFiles(source, layer.descriptor, sink)
    return PackedLayer(layer.descriptor, layer.diff_id, 0, 0, None, None, files)


class _Nowhere:
    """A blob that is hashed and not kept."""

    def write(self, data: bytes | memoryview) -> None:
        """Let it go."""

    def commit(self, digest: Digest) -> None:
        """Nothing becomes of it."""


class _Made(Ending):
    """The tar stream that a plan gives, made in a thread of its own, a few pieces ahead of whoever takes them."""

    def __init__(self, planned: PlannedLayer) -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._crew = Crew(self._stop)
        try:
            self._crew.start("fastoci-rebuild", lambda: self._run(planned))
        except BaseException:
            self.close()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes, in the pipeline's own thread; its buffer is used again."""
        if self._closed.is_set():
            raise StoppedError
        self._queue.put(bytes(data))

    def commit(self, digest: Digest) -> None:
        """Nothing becomes of the blob."""

    def __iter__(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def end(self) -> None:
        """Stop the thread and wait for it."""
        self._crew.close()

    def _stop(self) -> None:
        self._closed.set()
        # Or the thread stays where it puts. It puts twice more at most, for which there is room.
        empty(self._queue)

    def _run(self, planned: PlannedLayer) -> None:
        end: BaseException | None = None
        try:
            planned.pack(self)
        except BaseException as error:  # raised where the pieces are taken
            end = error
        self._queue.put(end)


def _compare(
    source: ImageSource,
    layer: ImageLayer,
    planned: PlannedLayer,
    tree: TreeSource,
    path: str,
    findings: Findings,
    sink: Sink,
) -> None:
    """Say which entries differ."""
    usage = Usage(Limits(), adjustable=False)
    with closing(LayerStream(source, layer, usage)) as stream:
        there = _facts(TarReader(stream.pieces(telling(layer, sink)), layer.what, usage))
    with closing(_Made(planned)) as made:
        here = _facts(TarReader(iter(made), f"the layer of {tree.path}", Usage(Limits(), adjustable=False)))
    different = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    for name in different[:_NAMED]:
        findings.add("error", path, f"{shown(name)}: {_difference(there.get(name), here.get(name))}")
    if len(different) > _NAMED:
        findings.add("error", path, f"{len(different) - _NAMED:,} more entries differ")
    if not different:
        findings.add("error", path, f"the entries are those of {tree.path}, written in other headers or another order")


def _facts(reader: TarReader) -> dict[bytes, Facts]:
    """Return what an archive says of each path; the last entry of one counts."""
    return {entry.path: _of(entry, reader) for entry in reader.entries()}


_NAMES = ("kind", "mode", "owner", "time", "size", "target", "device", "extended attributes", "content")


def _of(entry: TarEntry, reader: TarReader) -> Facts:
    content = hashlib.sha256()
    for chunk in reader.data():
        content.update(chunk)
    return (
        entry.kind,
        f"{entry.mode:04o}",
        f"{entry.uid}:{entry.gid}",
        f"{entry.mtime / 10**9:.9f}".rstrip("0").rstrip("."),
        f"{entry.size:,}",
        shown(entry.target),
        f"{entry.device[0]}, {entry.device[1]}",
        ", ".join(f"{shown(key)}={shown(value)}" for key, value in sorted(entry.xattrs.items())) or "none",
        f"sha256:{content.hexdigest()}",
    )


def _difference(there: Facts | None, here: Facts | None) -> str:
    if there is None:
        return "only in the tree"
    if here is None:
        return "only in the image"
    told = [
        f"{name} {one} in the image, {other} in the tree"
        for name, one, other in zip(_NAMES, there, here, strict=True)
        if one != other
    ]
    return "; ".join(told)
