"""`fastoci validate`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fastoci.cli.build import TreeFlags
from fastoci.cli.options import MemberOption, OutputFlags, RegistryFlags, parse_platform, parse_split
from fastoci.errors import InvalidImageError, UsageError

if TYPE_CHECKING:
    from fastoci.checks.findings import Finding
    from fastoci.cli.console import Console
    from fastoci.registry.options import RegistryOptions
    from fastoci.validate import Validation

__all__ = ["run"]


def run(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, a path or a reference; "
            "a layout or archive without a tag is checked with all that is in it.",
        ),
    ],
    *,
    fast: Annotated[
        bool, typer.Option("--fast", help="Read documents only; look whether the blobs are there.")
    ] = False,
    rebuild: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SRC[:/DEST]",
            help="Compare the topmost layers with what a build makes of it, or of several, lowest first; "
            "the options of the trees are those of that build.",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--from", metavar="IMAGE", help="With --rebuild: the layers beneath are this image's.")
    ] = None,
    diff: Annotated[
        str | None,
        typer.Option(
            metavar="BASE",
            help="With --rebuild SRC: the layer is what SRC changes of the tree BASE.  Alone: what the tree named here "
            "changes of the layers beneath.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE|N", help="With --rebuild: as the build had it.  [default: what the image's history says]"
        ),
    ] = None,
    platform: MemberOption = None,
    tree: TreeFlags,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Check every digest, size, diff_id, media type and reference of an image."""
    from fastoci.validate import validate

    if not (rebuild or diff):
        for value, option in ((base, "--from"), (split, "--split"), (platform, "--platform")):
            if value is not None:
                raise UsageError(f"{option} is for --rebuild: all that is there is checked without it")
    options = registry.options()
    with output.console() as console:
        found = validate(image, options, fast=fast, sink=console.sink)
        if rebuild or diff:
            wanted = _Wanted(rebuild or [], base, diff, split, platform)
            found = replace(found, findings=(*found.findings, *_compared(image, wanted, options, tree, console)))
    console.result([*_findings(found), _summary(found)], found.to_json())
    if not found.is_valid:
        raise typer.Exit(InvalidImageError.exit_code)


@dataclass(frozen=True)
class _Wanted:
    """What an image is compared with, as it was written."""

    sources: list[str]
    base: str | None
    diff: str | None
    split: str | None
    platform: str | None


def _compared(
    image: str, wanted: _Wanted, options: "RegistryOptions", tree: TreeFlags, console: "Console"
) -> "tuple[Finding, ...]":
    from fastoci.checks.rebuild import rebuild

    # `--diff TREE` without a source: what the tree changes of the layers beneath.
    diff: str | Literal[True] | None = wanted.diff if wanted.sources else True
    return rebuild(
        image,
        wanted.sources or [str(wanted.diff)],
        options,
        policy=tree.policy(),
        layer=tree.layer(),
        source_date_epoch=tree.epoch(),
        base=wanted.base,
        diff=diff,
        split=None if wanted.split is None else parse_split(wanted.split),
        platform=parse_platform(wanted.platform),
        sink=console.sink,
    )


def _findings(found: "Validation") -> list[str]:
    from fastoci.cli.console import printable

    return [printable(str(finding)) for finding in found.findings]


def _summary(found: "Validation") -> str:
    from fastoci.units import format_size

    errors = sum(finding.severity == "error" for finding in found.findings)
    images = f"{found.images} image{'' if found.images == 1 else 's'}"
    if found.fast:
        read = "blobs not read"
    else:
        read = f"{found.blobs} blob{'' if found.blobs == 1 else 's'} read, {format_size(found.size)}"
    verdict = "valid" if found.is_valid else f"not valid: {errors} error{'' if errors == 1 else 's'}"
    unchecked = sum(finding.severity == "unchecked" for finding in found.findings)
    if unchecked:
        verdict += f", {unchecked} not checked"
    return f"{found.name}: {verdict} ({images}, {read})"
