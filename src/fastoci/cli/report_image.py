"""`fastoci report`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

import os
from typing import Annotated

import typer

from fastoci.cli.console import write_document
from fastoci.cli.options import (
    ImageArgument,
    MemberOption,
    OutputFlags,
    RegistryFlags,
    parse_platform,
    refuse_json_on_stdout,
)

__all__ = ["run"]


def run(
    image: ImageArgument,
    *,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="The page to write; - is stdout.")],
    platform: MemberOption = None,
    registry: RegistryFlags,
    output_flags: OutputFlags,
) -> None:
    """Write a page of HTML about an image: what is in its layers, and how large."""
    from fastoci.cli.reportpage import page
    from fastoci.report import make_report
    from fastoci.store.wholefile import WholeFile

    refuse_json_on_stdout(output_flags, on_stdout=output == "-")
    wanted = parse_platform(platform)
    options = registry.options()
    with output_flags.console() as console:
        data = page(make_report(image, options, platform=wanted, sink=console.sink)).encode()
        if output != "-":
            with WholeFile(output) as file:
                file.write(data)
                file.appear()
    if output == "-":
        write_document(data)
    else:
        console.result([output], {"path": os.path.abspath(output)})
