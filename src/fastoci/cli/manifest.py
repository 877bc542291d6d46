"""`fastoci manifest`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from fastoci.cli.console import write_document
from fastoci.cli.options import ImageArgument, MemberOption, OutputFlags, RegistryFlags

__all__ = ["run"]


def run(
    image: ImageArgument,
    *,
    platform: MemberOption = None,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Show the manifest of an image, or its index, byte for byte."""
    from fastoci.inspect import read_manifest
    from fastoci.spec.platform import Platform

    wanted = None if platform is None else Platform.parse(platform)
    options = registry.options()
    with output.console() as console:
        data = read_manifest(image, options, platform=wanted, sink=console.sink)
    write_document(data)
