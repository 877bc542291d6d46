"""`fastoci unpack`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from fastoci.cli.options import ImageArgument, MemberOption, OutputFlags, RegistryFlags, parse_platform, parse_size
from fastoci.errors import UsageError

if TYPE_CHECKING:
    from fastoci.rootfs.limits import Limits
    from fastoci.rootfs.owners import Owners

__all__ = ["run"]


@dataclass(frozen=True, kw_only=True)
class OwnerFlags:
    """Whose the files become."""

    title: ClassVar[str] = "Owners"

    same_owner: Annotated[
        bool | None,
        typer.Option(
            "--same-owner/--no-same-owner",
            help="Give files to their owners, or keep them all.  [default: to their owners, as root]",
            show_default=False,
        ),
    ] = None
    uid_map: Annotated[
        list[str] | None, typer.Option(metavar="IMAGE:HOST[:COUNT]", help="Map owners from IMAGE on to HOST on.")
    ] = None
    gid_map: Annotated[list[str] | None, typer.Option(metavar="IMAGE:HOST[:COUNT]", help="The same of groups.")] = None

    def owners(self) -> "Owners":
        """Return these as the value that `unpack` takes.

        Raises:
            UsageError: A mapping is none, or there are mappings and nothing to be given away.
        """
        from fastoci.rootfs.owners import Owners, parse_mapping

        uids = [parse_mapping(text, "--uid-map") for text in self.uid_map or ()]
        gids = [parse_mapping(text, "--gid-map") for text in self.gid_map or ()]
        if self.same_owner is False and (uids or gids):
            raise UsageError("--no-same-owner and mappings exclude each other")
        # Whoever maps owners wants them, and hears of it where the kernel does not let him.
        keep = self.same_owner if self.same_owner is not None else bool(uids or gids) or os.geteuid() == 0
        return Owners(keep, uids, gids)


@dataclass(frozen=True, kw_only=True)
class LimitFlags:
    """The most that is unpacked."""

    title: ClassVar[str] = "Limits"

    max_entries: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Refuse more entries.  [default: 10,000,000]")
    ] = None
    max_size: Annotated[str | None, typer.Option(metavar="SIZE", help="Refuse more bytes.  [default: 1024G]")] = None
    max_ratio: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Refuse layers over 1G that grow more than N times.  [default: 250]"),
    ] = None

    def limits(self) -> "Limits":
        """Return these as the value that `unpack` takes.

        Raises:
            UsageError: The size is none.
        """
        from fastoci.rootfs.limits import Limits

        given = {
            "entries": self.max_entries,
            "size": None if self.max_size is None else parse_size(self.max_size, "--max-size"),
            "ratio": self.max_ratio,
        }
        return Limits(**{name: value for name, value in given.items() if value is not None})


def run(
    image: ImageArgument,
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Where to; it is made, or is empty, or there is --merge.")
    ],
    *,
    platform: MemberOption = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Apply the layers to what is in DIR already; whiteouts remove of it.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(
            "-T",
            "--threads",
            min=1,
            max=1024,
            metavar="N",
            help="Threads that make files.  [default: the CPUs, up to 8]",
        ),
    ] = None,
    owner: OwnerFlags,
    limit: LimitFlags,
    registry: RegistryFlags,
    output: OutputFlags,
) -> None:
    """Unpack an image's layers beneath a directory."""
    from fastoci.unpack import unpack

    wanted = parse_platform(platform)
    owners, limits, options = owner.owners(), limit.limits(), registry.options()
    with output.console() as console:
        done = unpack(
            image,
            directory,
            options,
            platform=wanted,
            merge=merge,
            owners=owners,
            limits=limits,
            threads=threads,
            sink=console.sink,
        )
    console.result(
        [done.path],
        {
            "path": done.path,
            "name": done.name,
            "digest": str(done.digest),
            "layers": done.layers,
            "entries": done.entries,
            "size": done.size,
            "leftOut": done.left_out,
        },
    )
