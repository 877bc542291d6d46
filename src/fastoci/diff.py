"""Diff: what differs between two images, in their documents, their layers and their files."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastoci.events import CheckProgress, Sink, Throttle, discard
from fastoci.images.documents import select_manifest
from fastoci.images.files import FileFacts, FileTree, LayerEntry, read_layer
from fastoci.images.source import ImageSource, open_image
from fastoci.inspect import Inspection, describe
from fastoci.registry.options import RegistryOptions
from fastoci.rootfs.limits import Limits, Usage
from fastoci.spec import mediatypes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from fastoci.spec.config import ImageConfig
    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform

__all__ = ["FACTS", "Difference", "FieldChange", "FileChange", "diff"]

Fact = Literal["kind", "content", "mode", "owner", "mtime", "xattrs"]

FACTS: tuple[Fact, ...] = ("kind", "content", "mode", "owner", "mtime", "xattrs")
"""What may differ in a file; `content` is its bytes, a link's target, or a device's numbers."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of a config or a manifest, with what one image says and what the other; None where it says nothing."""

    field: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON object."""
        return {"field": self.field, "a": self.before, "b": self.after}


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that is not the same in both images.

    Attributes:
        path: Without a slash at its beginning, as the file system has it.
        before: What it is in the first image; None where it is not there.
        after: The same of the second.
        facts: What differs in it, where both have it.
    """

    path: str
    before: FileFacts | None
    after: FileFacts | None
    facts: tuple[Fact, ...] = ()

    @property
    def how(self) -> Literal["added", "removed", "changed"]:
        """What became of it."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON object; bytes of a name that are not UTF-8 are escaped as in Python."""
        return {
            "path": _text(self.path),
            "change": self.how,
            "facts": list(self.facts),
            "a": _facts_json(self.before),
            "b": _facts_json(self.after),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two images. It is false where nothing does.

    Attributes:
        before: The first image.
        after: The second.
        fields: Of the configs and manifests.
        files: In the order of their paths; None where they were not looked at.
    """

    before: Inspection
    after: Inspection
    fields: tuple[FieldChange, ...]
    files: tuple[FileChange, ...] | None

    @property
    def layers(self) -> tuple[list[Digest], list[Digest], list[Digest]]:
        """The digests of the layers that both have, of the first one's own, and of the second one's own."""
        a = [layer.descriptor.digest for layer in self.before.layers]
        b = [layer.descriptor.digest for layer in self.after.layers]
        return (
            [digest for digest in a if digest in b],
            [digest for digest in a if digest not in b],
            [digest for digest in b if digest not in a],
        )

    def __bool__(self) -> bool:
        return self.before.descriptor.digest != self.after.descriptor.digest

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON object."""
        both, removed, added = self.layers
        return {
            "a": {"name": self.before.name, "digest": str(self.before.descriptor.digest)},
            "b": {"name": self.after.name, "digest": str(self.after.descriptor.digest)},
            "different": bool(self),
            "fields": [change.to_json() for change in self.fields],
            "layers": {"both": _texts(both), "a": _texts(removed), "b": _texts(added)},
            "files": None if self.files is None else [change.to_json() for change in self.files],
        }


def diff(
    before: str | ImageName,
    after: str | ImageName,
    options: RegistryOptions | None = None,
    *,
    platform: Platform | None = None,
    files: bool = True,
    ignore: Collection[Fact] = (),
    sink: Sink = discard,
) -> Difference:
    """Compare two images.

    Args:
        before: The first one.
        after: The second one.
        options: How registries are reached.
        platform: Which member of an index; None is this machine's.
        files: Whether to read the layers, where these differ, and compare what is in them.
        ignore: Facts of files that do not matter.
        sink: Told how far the reading is; given the registry client's events.

    Raises:
        UsageError: One is no name of an image.
        ImageNotFoundError: One is not there, or not for the platform.
        InvalidImageError: One is not valid.
        RegistryError: A registry could not be reached, or does not give it out.
    """
    options = options or RegistryOptions()
    with ExitStack() as stack:
        sources = [stack.enter_context(open_image(name, options, sink)) for name in (before, after)]
        a, b = (describe(source, select_manifest(source, source.resolve(), platform), platform) for source in sources)
        fields = tuple(_fields(a, b))
        compared: tuple[FileChange, ...] | None = None
        if files:
            compared = ()
            if [layer.diff_id for layer in a.layers] != [layer.diff_id for layer in b.layers]:
                reading = _Reading(sink)
                trees = reading.tree(sources[0], a), reading.tree(sources[1], b)
                compared = tuple(_files(*trees, frozenset(ignore)))
        return Difference(a, b, fields, compared)


class _Reading:
    """Reads the layers of two images, each that both have once."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._throttle = Throttle()
        self._usage = Usage(Limits(), adjustable=False)
        self._known: dict[Digest, list[LayerEntry]] = {}

    def tree(self, source: ImageSource, image: Inspection) -> FileTree:
        """Return the files of an image."""
        tree = FileTree()
        # The layers of an artifact are anything.
        layers = [layer for layer in image.layers if layer.descriptor.media_type in mediatypes.LAYERS]
        keys = [layer.diff_id or layer.descriptor.digest for layer in layers]
        total = sum(layer.descriptor.size for layer, key in zip(layers, keys, strict=True) if key not in self._known)
        done = 0

        def advance(size: int) -> None:
            nonlocal done
            done += size
            if done == total or self._throttle.due():
                self._sink(CheckProgress(source.name, done, total))

        for layer, key in zip(layers, keys, strict=True):
            if key not in self._known:
                self._known[key] = read_layer(source, layer.descriptor, advance, self._usage)
            tree.apply(self._known[key])
        return tree


def _files(before: FileTree, after: FileTree, ignore: frozenset[Fact]) -> Iterator[FileChange]:
    """Yield what differs, by walking both at once."""
    a, b = iter(before.walk()), iter(after.walk())
    mine, theirs = next(a, None), next(b, None)
    while mine is not None or theirs is not None:
        order = _order(mine, theirs)
        if order < 0 and mine is not None:
            yield FileChange(os.fsdecode(mine[0]), mine[1] or _IMPLIED, None)
        elif order > 0 and theirs is not None:
            yield FileChange(os.fsdecode(theirs[0]), None, theirs[1] or _IMPLIED)
        elif mine is not None and theirs is not None:
            one, other = mine[1] or _IMPLIED, theirs[1] or _IMPLIED
            facts = tuple(fact for fact in FACTS if fact not in ignore and getattr(one, fact) != getattr(other, fact))
            if facts:
                yield FileChange(os.fsdecode(mine[0]), one, other, facts)
        mine = next(a, None) if order <= 0 else mine
        theirs = next(b, None) if order >= 0 else theirs


_IMPLIED = FileFacts("directory", 0o755, (0, 0), 0, 0, b"", ())
"""What engines make of a directory that no layer has an entry for."""


def _order(mine: tuple[bytes, object] | None, theirs: tuple[bytes, object] | None) -> int:
    if mine is None:
        return 1
    if theirs is None:
        return -1
    one, other = mine[0].split(b"/"), theirs[0].split(b"/")
    return (one > other) - (one < other)


def _fields(a: Inspection, b: Inspection) -> Iterator[FieldChange]:
    if a.descriptor.media_type != b.descriptor.media_type:
        yield FieldChange("mediaType", a.descriptor.media_type, b.descriptor.media_type)
    yield from _changes("annotation ", dict(a.document.annotations or {}), dict(b.document.annotations or {}))
    yield from _changes("", _config_fields(a.config), _config_fields(b.config))


def _config_fields(config: ImageConfig | None) -> dict[str, Any]:
    """Return what a config says, by names that a reader of `inspect` knows; its layers are compared elsewhere."""
    if config is None:
        return {}
    document = config.to_json()
    inner: dict[str, Any] = document.pop("config")
    document.pop("rootfs")
    fields = {"platform": str(config.platform)}
    fields |= {name: value for name, value in document.items() if name not in config.platform.to_json()}
    for entry in inner.pop("Env", None) or ():
        name, _, value = entry.partition("=")
        fields[f"env {name}"] = value
    for key, value in (inner.pop("Labels", None) or {}).items():
        fields[f"label {key}"] = value
    for key in ("ExposedPorts", "Volumes"):
        if key in inner:
            inner[key] = sorted(inner[key])
    return {**fields, **inner}


def _changes(prefix: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[FieldChange]:
    for name in dict.fromkeys((*a, *b)):
        if a.get(name) != b.get(name):
            yield FieldChange(f"{prefix}{name}", a.get(name), b.get(name))


def _facts_json(facts: FileFacts | None) -> dict[str, Any] | None:
    if facts is None:
        return None
    content = _text(os.fsdecode(facts.content)) if facts.kind != "file" else ""
    if facts.digest is not None:
        content = f"sha256:{facts.digest.hex()}"
    return {
        "kind": facts.kind,
        "mode": f"{facts.mode:04o}",
        "uid": facts.owner[0],
        "gid": facts.owner[1],
        "mtime": facts.mtime,
        "size": facts.size,
        "content": content or None,
        "xattrs": {_text(os.fsdecode(name)): value.hex() for name, value in facts.xattrs},
    }


def _text(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _texts(digests: list[Digest]) -> list[str]:
    return [str(digest) for digest in digests]
