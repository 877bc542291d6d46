"""`fastoci index create`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import Annotated

import typer

from fastoci.cli import words
from fastoci.cli.options import OutputFlags, UploadFlags, refuse_json_on_stdout

__all__ = ["run"]


def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="HOST/REPOSITORY[:TAG], oci:DIR[:TAG], oci-archive:FILE[:TAG], a path or -."
        ),
    ],
    members: Annotated[
        list[str], typer.Argument(metavar="MEMBER...", help="Images and indexes, wherever they stand: tags or digests.")
    ],
    *,
    annotation: Annotated[list[str] | None, typer.Option(metavar="K=V", help="An annotation of the index.")] = None,
    registry: UploadFlags,
    output: OutputFlags,
) -> None:
    """Join images that stand already, each for its platform, into an index."""
    from fastoci.copy import STDOUT
    from fastoci.indexes import create_index

    refuse_json_on_stdout(output, on_stdout=target == STDOUT)
    annotations = words.parse_annotations(annotation or ())
    options = registry.options()
    with output.console() as console:
        created = create_index(target, members, options, annotations=annotations, sink=console.sink)
    if target != STDOUT:
        console.result([created.name], {"name": created.name, "digest": str(created.digest)})
