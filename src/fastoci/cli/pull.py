"""`fastoci pull`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import Annotated

import typer

from fastoci.cli.options import OutputFlags, RegistryFlags, refuse_json_on_stdout

__all__ = ["run"]


def run(
    reference: Annotated[str, typer.Argument(metavar="REF", help="[HOST/]REPOSITORY[:TAG][@DIGEST].")],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[DEST]",
            help="oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE, DIR, or - for an archive on stdout.  "
            "[default: ./NAME.oci]",
        ),
    ] = None,
    *,
    platform: Annotated[
        str | None, typer.Option(metavar="OS/ARCH[/VARIANT]", help="One image of an index.  [default: all of them]")
    ] = None,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Pull an image from a registry into a layout or an archive."""
    from fastoci.copy import STDOUT, pull
    from fastoci.spec.platform import Platform

    refuse_json_on_stdout(output, on_stdout=target == STDOUT)
    wanted = None if platform is None else Platform.parse(platform)
    options = registry.options()
    with output.console() as console:
        console.headline(f"jobs={options.jobs}")
        pulled = pull(reference, target, options, platform=wanted, sink=console.sink)
    if target != STDOUT:
        console.result([pulled.name], {"name": pulled.name, "digest": str(pulled.digest)})
