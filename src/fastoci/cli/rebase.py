"""`fastoci rebase`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import Annotated

import typer

from fastoci.cli.options import OutputFlags, UploadFlags

__all__ = ["run"]


def run(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="HOST/REPOSITORY[:TAG][@DIGEST], oci:DIR[:TAG], or a path.")
    ],
    *,
    new_base: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="The base it gets.  [default: its own by name, as that is now]"),
    ] = None,
    old_base: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="The base it has.  [default: what its annotations say]")
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option("-t", "--tag", metavar="TAG", help="The new image's tag.  [default: the old one's, which moves]"),
    ] = None,
    registry: UploadFlags,
    output: OutputFlags,
) -> None:
    """Put the layers of an image on another base, without building it again."""
    from fastoci.rebase import rebase

    options = registry.options()
    with output.console() as console:
        moved = rebase(image, new_base, options, old_base=old_base, tag=tag, sink=console.sink)
    console.result([moved.name], {"name": moved.name, "digest": str(moved.digest)})
