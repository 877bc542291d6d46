"""`fastoci tag`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import Annotated

import typer

from fastoci.cli.options import OutputFlags, PlacedImageArgument, RegistryFlags

__all__ = ["run"]


def run(
    image: PlacedImageArgument,
    tags: Annotated[
        list[str], typer.Argument(metavar="TAG...", help="Its new tags, in the same repository or layout.")
    ],
    *,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Give an image more tags, where it stands."""
    from fastoci.tag import tag

    options = registry.options()
    with output.console() as console:
        names = tag(image, tags, options, console.sink)
    console.result(names)
