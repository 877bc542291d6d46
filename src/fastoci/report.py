"""Report: what is in an image, and what its layers cost, counted from the layers themselves."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastoci.events import CheckProgress, Sink, Throttle, discard
from fastoci.images.documents import select_manifest
from fastoci.images.files import FileFacts, FileTree, LayerEntry, read_layer
from fastoci.images.source import open_image
from fastoci.inspect import Inspection, Layer, describe
from fastoci.registry.options import RegistryOptions
from fastoci.rootfs.limits import Limits, Usage
from fastoci.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform

__all__ = ["LayerReport", "Report", "make_report"]


@dataclass(frozen=True, slots=True)
class LayerReport:
    """What is in one layer.

    Attributes:
        layer: The layer, as `inspect` has it.
        kinds: How many entries of each kind it has; `whiteout` and `opaque` are two of them.
        size: Bytes of its files, each hard link's once.
        hidden: Bytes of them that the image does not show, for layers above have put something else there, or nothing.
    """

    layer: Layer
    kinds: Mapping[str, int]
    size: int
    hidden: int


@dataclass(frozen=True, slots=True)
class Report:
    """What is in an image.

    Attributes:
        image: What it says of itself.
        layers: What is in each layer, lowest first.
        kinds: How many entries of each kind the image shows.
        size: Bytes of the files that it shows, each hard link's once.
        directories: Bytes and files beneath each directory, by path; the root is the empty path.
        files: The largest files: path and bytes, the largest first.
    """

    image: Inspection
    layers: tuple[LayerReport, ...]
    kinds: Mapping[str, int]
    size: int
    directories: Mapping[str, tuple[int, int]]
    files: tuple[tuple[str, int], ...]


def make_report(
    image: str | ImageName,
    options: RegistryOptions | None = None,
    *,
    platform: Platform | None = None,
    files: int = 100,
    sink: Sink = discard,
) -> Report:
    """Read an image through, and say what is in it.

    Args:
        image: Its name, of any transport.
        options: How a registry is reached.
        platform: Which member of an index; None is this machine's.
        files: How many of the largest files to name.
        sink: Told how far the reading is; given the registry client's events.

    Raises:
        UsageError: It is no name of an image.
        ImageNotFoundError: It is not there, or not for the platform.
        InvalidImageError: It is not valid.
        RegistryError: The registry could not be reached, or does not give it out.
    """
    with open_image(image, options or RegistryOptions(), sink) as source:
        found = describe(source, select_manifest(source, source.resolve(), platform), platform)
        layers = [layer for layer in found.layers if layer.descriptor.media_type in mediatypes.LAYERS]
        total, done, throttle = sum(layer.descriptor.size for layer in layers), 0, Throttle()

        def advance(size: int) -> None:
            nonlocal done
            done += size
            if done == total or throttle.due():
                sink(CheckProgress(source.name, done, total))

        tree, usage = FileTree(), Usage(Limits(), adjustable=False)
        contents = []
        for layer in layers:
            entries = read_layer(source, layer.descriptor, advance, usage, contents=False)
            tree.apply(entries)
            contents.append((layer, entries))
    shown = dict(tree.walk())
    kinds = Counter("directory" if facts is None else facts.kind for facts in shown.values())
    sizes = [(os.fsdecode(path), facts.size) for path, facts in _once(shown) if facts.kind == "file"]
    return Report(
        found,
        tuple(_layer(layer, entries, shown) for layer, entries in contents),
        kinds,
        sum(size for _, size in sizes),
        _directories(shown),
        tuple(sorted(sizes, key=lambda item: (-item[1], item[0]))[:files]),
    )


def _layer(layer: Layer, entries: Sequence[LayerEntry], shown: Mapping[bytes, FileFacts | None]) -> LayerReport:
    kinds: Counter[str] = Counter()
    # A file has one set of facts, however many names.
    files: dict[int, FileFacts] = {}
    visible: set[int] = set()
    for entry in entries:
        if entry.is_opaque:
            kinds["opaque"] += 1
        elif entry.facts is None and entry.link is None:
            kinds["whiteout"] += 1
        else:
            kinds["file" if entry.facts is None else entry.facts.kind] += 1
        if entry.facts is not None and entry.facts.kind == "file":
            files[id(entry.facts)] = entry.facts
            if shown.get(entry.path) is entry.facts:
                visible.add(id(entry.facts))
    size = sum(facts.size for facts in files.values())
    hidden = sum(facts.size for key, facts in files.items() if key not in visible)
    return LayerReport(layer, kinds, size, hidden)


def _once(shown: Mapping[bytes, FileFacts | None]) -> list[tuple[bytes, FileFacts]]:
    """Return what stands at each path, a file of several names at the first of them alone."""
    first: dict[int, tuple[bytes, FileFacts]] = {}
    for path, facts in shown.items():
        if facts is not None:
            first.setdefault(id(facts), (path, facts))
    return list(first.values())


def _directories(shown: Mapping[bytes, FileFacts | None]) -> dict[str, tuple[int, int]]:
    found: dict[bytes, tuple[int, int]] = {b"": (0, 0)}
    found |= {path: (0, 0) for path, facts in shown.items() if facts is None or facts.kind == "directory"}
    for path, facts in _once(shown):
        if facts.kind == "directory":
            continue
        while path:
            path = path.rpartition(b"/")[0]
            size, count = found.get(path, (0, 0))
            found[path] = size + facts.size, count + 1
    return {os.fsdecode(path): counted for path, counted in found.items()}
