"""`fastoci rebase`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import Annotated

import typer

from fastoci.cli.options import NewTagOption, OutputFlags, PlacedImageArgument, UploadFlags

__all__ = ["run"]


def run(
    image: PlacedImageArgument,
    *,
    new_base: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="The base it gets.  [default: its own by name, as that is now]"),
    ] = None,
    old_base: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="The base it has.  [default: what its annotations say]")
    ] = None,
    tag: NewTagOption = None,
    registry: UploadFlags,
    output: OutputFlags,
) -> None:
    """Put the layers of an image on another base, without building it again."""
    from fastoci.rebase import rebase

    options = registry.options()
    with output.console() as console:
        moved = rebase(image, new_base, options, old_base=old_base, tag=tag, sink=console.sink)
    console.result([moved.name], {"name": moved.name, "digest": str(moved.digest)})
