"""`fastoci config set`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

import os
from dataclasses import dataclass
from typing import Annotated

import typer

from fastoci.cli import words
from fastoci.cli.configflags import BuildOutputFlags, ConfigFlags
from fastoci.cli.options import NewTagOption, PlacedImageArgument, UploadFlags
from fastoci.events import Warned

__all__ = ["run"]


@dataclass(kw_only=True, eq=False, repr=False)
class ChangeFlags(ConfigFlags):
    """As for `build`, but what nothing is said of stays as it is."""

    created: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="When it was made, RFC 3339 or seconds since 1970.  [default: SOURCE_DATE_EPOCH, else as it is]",
        ),
    ] = None
    platform: Annotated[
        str | None, typer.Option(metavar="OS/ARCH[/VARIANT]", help="What it runs on.  [default: as it is]")
    ] = None


def run(
    image: PlacedImageArgument,
    *,
    tag: NewTagOption = None,
    config: ChangeFlags,
    registry: UploadFlags,
    output: BuildOutputFlags,
) -> None:
    """Give an image that stands already another config."""
    from fastoci.reconfigure import set_config

    options = registry.options()
    value = os.environ.get("SOURCE_DATE_EPOCH")
    epoch = words.parse_epoch(value, "SOURCE_DATE_EPOCH") if value else None
    with output.console() as console:
        changes = config.options(lambda message, hint: console.sink(Warned(message, hint)))
        changed = set_config(image, changes, options, tag=tag, source_date_epoch=epoch, sink=console.sink)
    console.result([changed.name], {"name": changed.name, "digest": str(changed.digest)})
