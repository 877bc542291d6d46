"""What `-o` may say: where a build's image goes, read into values. Opens nothing and writes nothing.

The short form is a transport or a path (`oci:PATH[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE`, `docker://REF`,
`PATH`, `-`); the long one is buildx's (`type=oci,dest=FILE,tar=true`). Both mean the same five things.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fastoci.errors import UsageError
from fastoci.spec.imagename import ImageName
from fastoci.spec.reference import is_tag
from fastoci.tree.source import ARCHIVE_SUFFIXES, STDIN, TreeSource

__all__ = ["STDOUT", "Output", "OutputKind", "check_outside", "default_output"]

STDOUT = "-"

OutputKind = Literal["oci", "oci-archive", "docker-archive", "registry", "load"]

_BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_TRANSPORTS = ("oci:", "oci-archive:", "docker-archive:", "docker://")
_HINT = "-o oci:DIR, oci-archive:FILE, docker-archive:FILE, DIR, - or type=oci,dest=FILE"


@dataclass(frozen=True, slots=True)
class Output:
    """One destination of a build.

    Attributes:
        kind: A layout, an archive (either kind is a tar that is both), a registry, or the engine on this machine.
        path: Of the layout or archive, `-` for stdout; None for a registry and an engine.
        tag: The tag that the image gets there; None gives it the tags of the build.
        name: A reference to push to besides the tags of the build; None for none.
        by_digest: Whether what is pushed gets no tag (buildx's `push-by-digest`).
    """

    kind: OutputKind
    path: str | None = None
    tag: str | None = None
    name: str | None = None
    by_digest: bool = False

    @property
    def is_archive(self) -> bool:
        """Whether it is one tar."""
        return self.kind in {"oci-archive", "docker-archive"}

    @classmethod
    def parse(cls, text: str) -> Output:
        """Return what the value of `-o` means.

        Raises:
            UsageError: It is none of the forms.
        """
        if not text:
            raise UsageError("-o names no output", hint=_HINT)
        if "type=" in text:
            import csv

            fields = next(csv.reader([text]), [])
            if any(field.startswith("type=") for field in fields):
                return _from_fields(text, fields)
        if text == STDOUT:
            return cls("oci-archive", STDOUT)
        return _from_name(text)


def _from_name(text: str) -> Output:
    if not text.startswith(_TRANSPORTS):
        if text.endswith(ARCHIVE_SUFFIXES):
            raise UsageError(
                f"-o {text}: a path without a transport is a layout, which is a directory",
                hint=f"-o oci-archive:{text}, or -o oci:{text} where a directory is meant",
            )
        return Output("oci", text)
    name = ImageName.parse(text)
    if name.transport is None or name.transport == "docker":
        return Output("registry", name=text.removeprefix("docker://"))
    if name.digest is not None:
        raise UsageError(f"-o {text}: the digest of an image is not known before it is built", hint=_HINT)
    if name.tag is not None and not is_tag(name.tag):
        raise UsageError(f"-o {text}: {name.tag!r} is not a tag", hint="whole names are for -t")
    return Output(name.transport, name.location, name.tag)


def _from_fields(text: str, fields: list[str]) -> Output:
    values: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        if not equals or key in values:
            raise UsageError(f"-o {text}: {field!r} is not a key=value of its own", hint=_HINT)
        values[key] = value
    kind = values.pop("type")
    output = _from_type(text, kind, values)
    if values:
        raise UsageError(f"-o {text}: type={kind} takes no {next(iter(values))!r}", hint=_HINT)
    return output


def _from_type(text: str, kind: str, values: dict[str, str]) -> Output:
    """Return the output of buildx's exporter `kind`; takes the keys that it knows out of `values`."""
    match kind:
        case "oci":
            as_tar = _boolean(text, values.pop("tar", "true"))
            path = _dest(text, values)
            if not as_tar and path == STDOUT:
                raise UsageError(f"-o {text}: a layout is a directory, and stdout is none", hint=_HINT)
            return Output("oci-archive" if as_tar else "oci", path)
        case "docker":
            if not _boolean(text, values.pop("tar", "true")):
                raise UsageError(f"-o {text}: a docker archive is always a tar", hint=_HINT)
            return Output("docker-archive", _dest(text, values)) if "dest" in values else Output("load")
        case "registry":
            return _registry(text, values)
        case "image" if _boolean(text, values.pop("push", "false")):
            return _registry(text, values)
    raise UsageError(f"-o {text}: no output of type {kind!r}", hint="type=oci, type=docker or type=registry")


def _registry(text: str, values: dict[str, str]) -> Output:
    # What is said of a pushed image always has its digest (buildx's `name-canonical`).
    _boolean(text, values.pop("name-canonical", "true"))
    by_digest = _boolean(text, values.pop("push-by-digest", "false"))
    return Output("registry", name=values.pop("name", None), by_digest=by_digest)


def _boolean(text: str, value: str) -> bool:
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise UsageError(f"-o {text}: {value!r} is neither true nor false") from None


def _dest(text: str, values: dict[str, str]) -> str:
    path = values.pop("dest", STDOUT)
    if not path:
        raise UsageError(f"-o {text}: dest is empty", hint=_HINT)
    return path


def default_output(sources: Sequence[TreeSource]) -> Output:
    """Return `./NAME.oci`, a layout named after the first source.

    Raises:
        UsageError: The source is stdin or the root directory, and so has no name.
    """
    path = sources[0].path
    name = "" if path == STDIN else os.path.basename(path.rstrip("/"))
    if path != STDIN and name in {"", ".", ".."}:
        name = os.path.basename(os.path.realpath(path))
    for suffix in ARCHIVE_SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix) and not os.path.isdir(path):
            name = name.removesuffix(suffix)
            break
    if not name:
        raise UsageError(
            f"no name for the output: the source is {'stdin' if path == STDIN else path}", hint="name one: -o oci:DIR"
        )
    return Output("oci", f"./{name}.oci")


def check_outside(path: str, what: str, sources: Sequence[TreeSource], *, hint: str | None = None) -> None:
    """Refuse a path to be written that lies inside a tree to be read, which would change while it is packed, or is it.

    Args:
        path: What is going to be written.
        what: What to call it, as in `the output ./x.oci`.
        sources: The trees, files and archives.
        hint: What to do instead; None proposes an output beside the tree.

    Raises:
        UsageError: It lies inside one of them, or is one.
    """
    real = os.path.realpath(path)
    for source in sources:
        if source.path == STDIN:
            continue
        tree = os.path.realpath(source.path)
        if not os.path.isdir(tree):
            if real == tree:
                raise UsageError(f"{what} is the source {source.path} itself", hint=hint or "name another output")
            continue
        if os.path.commonpath([real, tree]) == tree:
            raise UsageError(
                f"{what} lies inside the source {source.path}",
                cause="it would change the tree while that is packed",
                hint=hint or f"-o oci:{os.path.join(os.path.dirname(tree), os.path.basename(real))}",
            )
