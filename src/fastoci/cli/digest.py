"""`fastoci digest`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from fastoci.cli.options import DocumentOption, ImageArgument, OutputFlags, RegistryFlags, parse_platform

__all__ = ["run"]


def run(
    image: ImageArgument,
    *,
    platform: DocumentOption = None,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Show the digest of an image."""
    from fastoci.inspect import read_digest

    wanted = parse_platform(platform)
    options = registry.options()
    with output.console() as console:
        digest = read_digest(image, options, platform=wanted, sink=console.sink)
    console.result([str(digest)], {"digest": str(digest)})
