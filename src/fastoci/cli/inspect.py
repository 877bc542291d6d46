"""`fastoci inspect`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import Annotated

import typer

from fastoci.cli.console import write_document
from fastoci.cli.options import DocumentOption, ImageArgument, OutputFlags, RegistryFlags, parse_platform

__all__ = ["run"]


def run(
    image: ImageArgument,
    *,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes of the manifest, or of the index.")] = False,
    config: Annotated[bool, typer.Option("--config", help="The bytes of the config.")] = False,
    platform: DocumentOption = None,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Show what an image is: platform, config, and layers with sizes and digests."""
    from fastoci.cli.picture import picture
    from fastoci.inspect import inspect, read_config, read_manifest

    wanted = parse_platform(platform)
    options = registry.options()
    with output.console() as console:
        if raw or config:
            read = read_config if config else read_manifest
            data = read(image, options, platform=wanted, sink=console.sink)
        else:
            found = inspect(image, options, platform=wanted, sink=console.sink)
    if raw or config:
        write_document(data)
    else:
        console.result(picture(found), found.to_json())
