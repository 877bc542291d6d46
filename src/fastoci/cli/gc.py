"""`fastoci gc`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import TYPE_CHECKING, Annotated

import typer

from fastoci.cli.options import OutputFlags

if TYPE_CHECKING:
    from fastoci.gc import Collected

__all__ = ["run"]


def run(
    layout: Annotated[str, typer.Argument(metavar="LAYOUT", help="oci:DIR, or a path.")],
    *,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would go, and leave it.")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Also what interrupted pulls have left, and would go on with.")
    ] = False,
    output: OutputFlags,
) -> None:
    """Remove from a layout what none of its images needs."""
    from fastoci.gc import collect_garbage

    with output.console() as console:
        collected = collect_garbage(layout, dry_run=dry_run, partial=partial)
    console.result(_lines(collected), collected.to_json())


def _lines(collected: "Collected") -> list[str]:
    from fastoci.units import format_size

    names = [str(digest) for digest, _ in collected.blobs] + [path for path, _ in collected.files]
    count = len(names)
    verb = "would remove" if collected.dry_run else "removed"
    what = f"{count:,} file{'' if count == 1 else 's'}, {format_size(collected.size)}" if count else "nothing"
    return [*names, f"oci:{collected.path}: {verb} {what}"]
