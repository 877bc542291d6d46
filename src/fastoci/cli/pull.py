"""`fastoci pull`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import Annotated

import typer

from fastoci.cli.options import EveryMemberOption, OutputFlags, RegistryFlags, parse_platform, refuse_json_on_stdout

__all__ = ["run"]


def run(
    reference: Annotated[str, typer.Argument(metavar="REF", help="[HOST/]REPOSITORY[:TAG][@DIGEST].")],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="DEST",
            help="oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE, DIR, or - for an archive on stdout.  "
            "[default: ./NAME.oci]",
        ),
    ] = None,
    *,
    platform: EveryMemberOption = None,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Pull an image from a registry into a layout or an archive."""
    from fastoci.copy import STDOUT, pull

    refuse_json_on_stdout(output, on_stdout=target == STDOUT)
    wanted = parse_platform(platform)
    options = registry.options()
    with output.console() as console:
        console.headline(f"jobs={options.jobs}")
        pulled = pull(reference, target, options, platform=wanted, sink=console.sink)
    if target != STDOUT:
        console.result([pulled.name], {"name": pulled.name, "digest": str(pulled.digest)})
