"""`fastoci manifest`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from fastoci.cli.console import write_document
from fastoci.cli.options import DocumentOption, ImageArgument, OutputFlags, RegistryFlags, parse_platform

__all__ = ["run"]


def run(
    image: ImageArgument,
    *,
    platform: DocumentOption = None,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Show the manifest of an image, or its index, byte for byte."""
    from fastoci.inspect import read_manifest

    wanted = parse_platform(platform)
    options = registry.options()
    with output.console() as console:
        data = read_manifest(image, options, platform=wanted, sink=console.sink)
    write_document(data)
