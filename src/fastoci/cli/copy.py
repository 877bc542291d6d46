"""`fastoci copy`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from fastoci.cli.options import (
    EveryMemberOption,
    OutputFlags,
    UploadFlags,
    parse_credentials,
    parse_platform,
    refuse_json_on_stdout,
)
from fastoci.errors import UsageError

if TYPE_CHECKING:
    from fastoci.registry.options import RegistryOptions

__all__ = ["run"]


@dataclass(kw_only=True, eq=False, repr=False)
class SourceFlags:
    """How the registry that the image comes from is reached, where that differs."""

    title: ClassVar[str] = "The registry that it comes from, where that differs"

    src_creds: Annotated[str | None, typer.Option(metavar="USER[:PASS]", help="Credentials for the source.")] = None
    src_authfile: Annotated[str | None, typer.Option(metavar="FILE", help="Its file of credentials.")] = None
    src_tls_verify: Annotated[
        bool | None,
        typer.Option("--src-tls-verify/--no-src-tls-verify", help="Check its certificate.", show_default=False),
    ] = None
    src_cert_dir: Annotated[str | None, typer.Option(metavar="DIR", help="Its certificates.")] = None

    def options(self, common: "RegistryOptions") -> "RegistryOptions":
        """Return the common options with what is said of the source."""
        return _changed(
            common, "--src-creds", self.src_creds, self.src_authfile, self.src_tls_verify, self.src_cert_dir
        )


@dataclass(kw_only=True, eq=False, repr=False)
class DestinationFlags:
    """How the registry that the image goes to is reached, where that differs."""

    title: ClassVar[str] = "The registry that it goes to, where that differs"

    dest_creds: Annotated[str | None, typer.Option(metavar="USER[:PASS]", help="Credentials for the target.")] = None
    dest_authfile: Annotated[str | None, typer.Option(metavar="FILE", help="Its file of credentials.")] = None
    dest_tls_verify: Annotated[
        bool | None,
        typer.Option("--dest-tls-verify/--no-dest-tls-verify", help="Check its certificate.", show_default=False),
    ] = None
    dest_cert_dir: Annotated[str | None, typer.Option(metavar="DIR", help="Its certificates.")] = None

    def options(self, common: "RegistryOptions") -> "RegistryOptions":
        """Return the common options with what is said of the target."""
        return _changed(
            common, "--dest-creds", self.dest_creds, self.dest_authfile, self.dest_tls_verify, self.dest_cert_dir
        )


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC", help="docker://REF, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE, or a path."
        ),
    ],
    target: Annotated[str, typer.Argument(metavar="DST", help="The same; or - for an archive on stdout.")],
    *,
    platform: EveryMemberOption = None,
    everything: Annotated[bool, typer.Option("-a", "--all", hidden=True)] = False,
    registry: UploadFlags,
    source_registry: SourceFlags,
    target_registry: DestinationFlags,
    output: OutputFlags,
) -> None:
    """Copy an image between registries, layouts and archives."""
    from fastoci.copy import STDOUT, copy
    from fastoci.images.source import locate_image

    if everything and platform is not None:
        raise UsageError("--all and --platform exclude each other")
    refuse_json_on_stdout(output, on_stdout=target == STDOUT)
    wanted = parse_platform(platform)
    common = registry.options()
    if common.credentials is not None and target != STDOUT:
        places = [locate_image(name) for name in (source, target)]
        if all(place.transport == "docker" for place in places):
            raise UsageError("--creds does not say for which of two registries", hint="--src-creds, --dest-creds")
    from_options, to_options = source_registry.options(common), target_registry.options(common)
    with output.console() as console:
        console.headline(f"jobs={to_options.jobs}")
        copied = copy(source, target, from_options, to_options, platform=wanted, sink=console.sink)
    if target != STDOUT:
        console.result([copied.name], {"name": copied.name, "digest": str(copied.digest)})


def _changed(
    common: "RegistryOptions",
    option: str,
    creds: str | None,
    authfile: str | None,
    tls_verify: bool | None,
    cert_dir: str | None,
) -> "RegistryOptions":
    return replace(
        common,
        credentials=common.credentials if creds is None else parse_credentials(creds, option),
        authfile=authfile or common.authfile,
        tls_verify=common.tls_verify if tls_verify is None else tls_verify,
        cert_dir=cert_dir or common.cert_dir,
    )
