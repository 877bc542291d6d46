"""What an image says of itself, as options: for `build` and `config set`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from fastoci.cli import words
from fastoci.cli.options import OutputFlags
from fastoci.errors import UsageError

if TYPE_CHECKING:
    from fastoci.building.config import ConfigOptions

__all__ = ["BuildOutputFlags", "ConfigFlags"]

_Many = list[str] | None


def _refuse(short: str, instead: str, why: str) -> Callable[[bool], None]:
    def refuse(given: bool) -> None:
        if given:
            raise UsageError(f"build has no {short}: {why}", hint=f"use {instead}")

    return refuse


@dataclass(kw_only=True, eq=False, repr=False)
class BuildOutputFlags(OutputFlags):
    """As everywhere, but `-v`, which docker's users take for a volume, is not `--verbose`."""

    verbose: Annotated[bool, typer.Option("--verbose", help="Tell details.")] = False
    no_volume: Annotated[
        bool,
        typer.Option("-v", hidden=True, callback=_refuse("-v", "--volume PATH", "an image can only name a volume")),
    ] = False
    no_publish: Annotated[
        bool, typer.Option("-p", hidden=True, callback=_refuse("-p", "--expose PORT", "an image publishes no port"))
    ] = False


@dataclass(kw_only=True, eq=False, repr=False)
class ConfigFlags:
    """What the image says of itself."""

    title: ClassVar[str] = "What the image says of itself"

    env: Annotated[
        _Many, typer.Option("-e", "--env", metavar="K=V", help="A variable; K alone takes this host's value.")
    ] = None
    entrypoint: Annotated[
        _Many, typer.Option(metavar="WORD", help="The program: a JSON array, or one word for each use.")
    ] = None
    cmd: Annotated[
        _Many, typer.Option(metavar="WORD", help="Its default arguments: a JSON array, or one word for each use.")
    ] = None
    workdir: Annotated[str | None, typer.Option("-w", "--workdir", metavar="DIR", help="Where it starts.")] = None
    user: Annotated[
        str | None, typer.Option("-u", "--user", metavar="USER[:GROUP]", help="Who it runs as, names or numbers.")
    ] = None
    expose: Annotated[_Many, typer.Option(metavar="PORT[/udp]", help="A port, or a range of ports.")] = None
    volume: Annotated[_Many, typer.Option(metavar="PATH", help="A mount point in the container.")] = None
    label: Annotated[_Many, typer.Option("-l", "--label", metavar="K=V", help="A label of the config.")] = None
    annotation: Annotated[_Many, typer.Option(metavar="K=V", help="An annotation of the manifest.")] = None
    stop_signal: Annotated[str | None, typer.Option(metavar="SIGNAL", help="What stops a container.")] = None
    author: Annotated[str | None, typer.Option(metavar="TEXT", help="Who is responsible.")] = None
    created: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="When it was made, RFC 3339 or seconds since 1970.  "
            "[default: SOURCE_DATE_EPOCH, else the newest mtime]",
        ),
    ] = None
    platform: Annotated[
        str | None,
        typer.Option(metavar="OS/ARCH[/VARIANT]", help="What it runs on.  [default: the base's, else this host's]"),
    ] = None

    def options(self, warn: Callable[[str, str], None]) -> "ConfigOptions":
        """Return these as the values that `build` takes."""
        from fastoci.building.config import ConfigOptions
        from fastoci.spec.platform import Platform

        return ConfigOptions(
            env=words.parse_env(self.env or (), os.environ),
            entrypoint=words.parse_command(self.entrypoint, "--entrypoint", warn),
            cmd=words.parse_command(self.cmd, "--cmd", warn),
            workdir=self.workdir,
            user=self.user,
            expose=words.parse_ports(self.expose or ()),
            volumes=words.parse_volumes(self.volume or ()),
            labels=words.parse_labels(self.label or ()),
            annotations=words.parse_annotations(self.annotation or ()),
            stop_signal=self.stop_signal,
            author=self.author,
            created=None if self.created is None else words.parse_created(self.created),
            platform=None if self.platform is None else Platform.parse(self.platform),
        )
