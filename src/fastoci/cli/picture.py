"""An image as text: a few lines about it, then its layers, or the members of its index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fastoci.cli.console import printable
from fastoci.spec import mediatypes
from fastoci.spec.index import Index
from fastoci.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fastoci.inspect import Inspection
    from fastoci.spec.config import ImageConfig

__all__ = ["picture"]

_LABEL_WIDTH = 12
_SIZE_WIDTH = 10

_SHORT_TYPES = (
    "application/vnd.oci.image.layer.v1.",
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
    "application/vnd.oci.image.",
    "application/vnd.docker.distribution.",
)


def picture(found: Inspection) -> list[str]:
    """Return the lines that show an image. They hold nothing that a terminal would obey."""
    return [printable(line).rstrip() for line in _lines(found)]


def _lines(found: Inspection) -> Iterator[str]:
    yield _field("image", found.name)
    yield _field("digest", str(found.descriptor.digest))
    yield _field("type", found.descriptor.media_type)
    if isinstance(found.document, Index):
        yield from _fields("annotation", _pairs(found.document.annotations))
        yield ""
        yield from _members(found.document)
        return
    if found.config is not None:
        yield from _config(found.config)
    else:
        yield _field("artifact", found.document.artifact_type or found.document.config.media_type)
    yield from _fields("annotation", _pairs(found.document.annotations))
    config = found.document.config
    yield _field("config", f"{config.digest}  {format_size(config.size)}")
    yield ""
    yield from _layers(found)


def _config(config: ImageConfig) -> Iterator[str]:
    yield _field("platform", str(config.platform))
    singles = {
        "created": config.created,
        "author": config.author,
        "entrypoint": _words(config.entrypoint),
        "cmd": _words(config.cmd),
        "workdir": config.working_dir,
        "user": config.user,
        "stop signal": config.stop_signal,
    }
    for label, value in singles.items():
        if value:
            yield _field(label, value)
    yield from _fields("env", config.env)
    yield from _fields("port", config.exposed_ports)
    yield from _fields("volume", config.volumes)
    yield from _fields("label", _pairs(config.labels))


def _layers(found: Inspection) -> Iterator[str]:
    count = len(found.layers)
    yield f"{count} layer{'' if count == 1 else 's'}, {format_size(found.size)}"
    for number, layer in enumerate(found.layers, 1):
        descriptor = layer.descriptor
        size = f"{format_size(descriptor.size):>{_SIZE_WIDTH}}"
        yield f"{number:>3}  {descriptor.digest}{size}  {_short(descriptor.media_type)}"
        if layer.diff_id is not None and layer.diff_id != descriptor.digest:
            yield f"     diff_id {layer.diff_id}"
        if layer.created_by:
            yield f"     {layer.created_by}"


def _members(index: Index) -> Iterator[str]:
    count = len(index.manifests)
    yield f"{count} member{'' if count == 1 else 's'}"
    for number, entry in enumerate(index.manifests, 1):
        # Docker's builder keeps attestations beside the images that they are about.
        kind = entry.annotation("vnd.docker.reference.type") or entry.artifact_type
        if kind is None and entry.media_type not in mediatypes.MANIFESTS:
            kind = _short(entry.media_type)
        platform = "no platform" if entry.platform is None else str(entry.platform)
        size = f"{format_size(entry.size):>{_SIZE_WIDTH}}"
        yield f"{number:>3}  {entry.digest}{size}  {platform}" + ("" if kind is None else f"  {kind}")


def _field(label: str, value: str) -> str:
    return f"{label:<{_LABEL_WIDTH}}{value}"


def _fields(label: str, values: Iterable[str]) -> Iterator[str]:
    for number, value in enumerate(values):
        yield _field("" if number else label, value)


def _pairs(values: Mapping[str, str] | None) -> list[str]:
    return [f"{name}={value}" for name, value in sorted((values or {}).items())]


def _words(words: tuple[str, ...] | None) -> str | None:
    return json.dumps(list(words), ensure_ascii=False) if words else None


def _short(media_type: str) -> str:
    for prefix in _SHORT_TYPES:
        if media_type.startswith(prefix):
            return media_type.removeprefix(prefix)
    return media_type
