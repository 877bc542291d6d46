"""`fastoci inspect`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

import sys
from typing import Annotated

import typer

from fastoci.cli.options import OutputFlags, RegistryFlags

__all__ = ["run"]


def run(
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, or a reference."),
    ],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes of the manifest, or of the index.")] = False,
    config: Annotated[bool, typer.Option("--config", help="The bytes of the config.")] = False,
    platform: Annotated[str | None, typer.Option(metavar="OS/ARCH[/VARIANT]", help="Which image of an index.")] = None,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Show what an image is: platform, config, and layers with sizes and digests."""
    from fastoci.cli.picture import picture
    from fastoci.inspect import inspect, read_config, read_manifest
    from fastoci.spec.platform import Platform

    wanted = None if platform is None else Platform.parse(platform)
    options = registry.options()
    with output.console() as console:
        if raw or config:
            read = read_config if config else read_manifest
            data = read(image, options, platform=wanted, sink=console.sink)
        else:
            found = inspect(image, options, platform=wanted, sink=console.sink)
    if raw or config:
        _write(data)
    else:
        console.result(picture(found), found.to_json())


def _write(data: bytes) -> None:
    """Write a document to stdout: byte for byte, so that it has its digest, unless that is a terminal."""
    from fastoci.cli.console import write_stdout

    if sys.stdout.isatty():
        write_stdout([data.decode(errors="surrogateescape")])
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
