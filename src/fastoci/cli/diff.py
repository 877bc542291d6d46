"""`fastoci diff`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from fastoci.cli.options import MemberOption, OutputFlags, RegistryFlags, parse_platform
from fastoci.errors import InvalidImageError, UsageError

if TYPE_CHECKING:
    from fastoci.diff import Difference, FileChange

__all__ = ["run"]

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def run(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A reference, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE, or a path."
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The image to compare it with.")],
    *,
    platform: MemberOption = None,
    files: Annotated[
        bool, typer.Option("--files/--no-files", help="Read the layers, and compare what is in them.")
    ] = True,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="FACT", help="What does not matter in files: content, mode, owner, mtime or xattrs."),
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 3 where they differ.")] = False,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Show what differs between two images: config, layers and files."""
    from fastoci.diff import FACTS, diff

    ignored = [fact for fact in FACTS if fact in (ignore or ())]
    if unknown := set(ignore or ()) - set(FACTS):
        raise UsageError(f"--ignore {min(unknown)}: files have no such thing", hint=f"one of {', '.join(FACTS[1:])}")
    wanted = parse_platform(platform)
    options = registry.options()
    with output.console() as console:
        found = diff(a, b, options, platform=wanted, files=files, ignore=ignored, sink=console.sink)
    console.result(_lines(found), found.to_json())
    if found and exit_code:
        raise typer.Exit(InvalidImageError.exit_code)


def _lines(found: "Difference") -> list[str]:
    from fastoci.cli.console import printable

    return [printable(line) for line in _changes(found)] if found else []


def _changes(found: "Difference") -> Iterator[str]:
    from fastoci.units import format_size

    yield f"--- {found.before.name}  {found.before.descriptor.digest}"
    yield f"+++ {found.after.name}  {found.after.descriptor.digest}"
    for change in found.fields:
        yield f"{change.field}: {_value(change.before)} → {_value(change.after)}"
    layers = [layer.descriptor for image in (found.before, found.after) for layer in image.layers]
    sizes = {layer.digest: layer.size for layer in layers}
    both, removed, added = found.layers
    if removed or added:
        yield f"layers: {len(both)} in both"
    for sign, digests in (("-", removed), ("+", added)):
        for digest in digests:
            yield f"{sign} {digest}  {format_size(sizes[digest])}"
    if found.files:
        yield f"files: {len(found.files):,}"
    for file in found.files or ():
        yield f"{_SIGNS[file.how]} /{file.path}{_what(file)}"


def _value(value: object) -> str:
    import json

    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)


def _what(file: "FileChange") -> str:
    before, after = file.before, file.after
    if before is None or after is None:
        return ""
    said = {
        "kind": f"{before.kind} → {after.kind}",
        "mode": f"{before.mode:04o} → {after.mode:04o}",
        "owner": f"{before.owner[0]}:{before.owner[1]} → {after.owner[0]}:{after.owner[1]}",
    }
    return "  " + ", ".join(said.get(fact, fact) for fact in file.facts)
