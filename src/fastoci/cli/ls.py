"""`fastoci ls`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import Annotated

import typer

from fastoci.cli.options import OutputFlags, RegistryFlags

__all__ = ["run"]


def run(
    place: Annotated[
        str, typer.Argument(metavar="PLACE", help="HOST/REPOSITORY, oci:DIR, oci-archive:FILE, or a path.")
    ],
    *,
    full_ref: Annotated[bool, typer.Option("--full-ref", help="Whole names, which other commands take.")] = False,
    referrers: Annotated[
        bool, typer.Option("--referrers", help="PLACE is an image: the manifests that speak about it.")
    ] = False,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """List the tags of a repository, or the images of a layout or archive."""
    from fastoci.listing import list_images, list_referrers

    options = registry.options()
    with output.console() as console:
        listed = (list_referrers if referrers else list_images)(place, options, console.sink)
    console.result([one.name if full_ref else one.tag for one in listed], [one.to_json() for one in listed])
