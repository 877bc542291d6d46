"""`fastoci push`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from typing import Annotated

import typer

from fastoci.cli.options import EveryMemberOption, OutputFlags, UploadFlags, parse_platform

__all__ = ["run"]


def run(
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE, or a path."),
    ],
    references: Annotated[
        list[str] | None,
        typer.Argument(metavar="REF...", help="HOST/REPOSITORY[:TAG].  [default: the names that the image has]"),
    ] = None,
    *,
    by_digest: Annotated[bool, typer.Option("--by-digest", help="Give it no tag.")] = False,
    mount_from: Annotated[
        str | None, typer.Option(metavar="REPO", help="A repository at the registry that may have some of the blobs.")
    ] = None,
    platform: EveryMemberOption = None,
    registry: UploadFlags,
    output: OutputFlags,
) -> None:
    """Push an image on disk to registries."""
    from fastoci.push import push

    wanted = parse_platform(platform)
    options = registry.options()
    with output.console() as console:
        console.headline(f"jobs={options.jobs}")
        pushed = push(
            image,
            references or (),
            options,
            console.sink,
            by_digest=by_digest,
            platform=wanted,
            mount_from=mount_from,
        )
    console.result(
        [image.name for image in pushed],
        [{"name": image.name, "reference": str(image.reference), "digest": str(image.digest)} for image in pushed],
    )
