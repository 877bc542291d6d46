"""`fastoci layer pack`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from dataclasses import replace
from typing import Annotated

import typer

from fastoci.cli.build import TreeFlags
from fastoci.cli.options import OutputFlags, UploadFlags

__all__ = ["run"]


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC[:/DEST]", help="A directory, a tar archive, or a file with a /DEST; - is a tar on stdin."
        ),
    ],
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DEST",
            help="A file, whose document is FILE.json; a directory; or docker://HOST/REPOSITORY.  [default: .]",
        ),
    ] = None,
    diff: Annotated[
        str | None, typer.Option(metavar="BASE", help="Pack what SRC changes of the tree BASE, to stand above that.")
    ] = None,
    tree: TreeFlags,
    registry: UploadFlags,
    output_flags: OutputFlags,
) -> None:
    """Make one layer of a directory tree, a file or a tar archive, for a build elsewhere."""
    from fastoci.building.packedlayer import document_text
    from fastoci.packlayer import pack_layer

    with output_flags.console() as console:
        document = pack_layer(
            source,
            output,
            policy=replace(tree.policy(), mtime_limit=tree.epoch()),
            layer=tree.layer(),
            diff=diff,
            registry=registry.options(),
            sink=console.sink,
        )
    console.result([document_text(document)], document)
