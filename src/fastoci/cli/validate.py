"""`fastoci validate`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from fastoci.cli.build import TreeFlags
from fastoci.cli.options import MemberOption, OutputFlags, RegistryFlags, parse_platform
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
            help="Compare with what a build makes of it, one for each of the topmost layers; "
            "the options of the trees are those of that build.",
        ),
    ] = None,
    platform: MemberOption = None,
    tree: TreeFlags,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Check every digest, size, diff_id, media type and reference of an image."""
    from fastoci.validate import validate

    if platform is not None and not rebuild:
        raise UsageError("--platform is for --rebuild: all that an index lists is checked")
    options = registry.options()
    with output.console() as console:
        found = validate(image, options, fast=fast, sink=console.sink)
        if rebuild:
            found = replace(
                found, findings=(*found.findings, *_compared(image, rebuild, options, platform, tree, console))
            )
    console.result([*_findings(found), _summary(found)], found.to_json())
    if not found.is_valid:
        raise typer.Exit(InvalidImageError.exit_code)


def _compared(
    image: str,
    sources: list[str],
    options: "RegistryOptions",
    platform: str | None,
    tree: TreeFlags,
    console: "Console",
) -> "tuple[Finding, ...]":
    from fastoci.checks.rebuild import rebuild

    return rebuild(
        image,
        sources,
        options,
        policy=tree.policy(),
        layer=tree.layer(),
        source_date_epoch=tree.epoch(),
        platform=parse_platform(platform),
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
