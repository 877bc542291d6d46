"""The options that several commands share, in groups: a command takes a group as one parameter."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from fastoci.cli.console import Console, ProgressMode
from fastoci.errors import UsageError

if TYPE_CHECKING:
    from fastoci.layer.options import Split
    from fastoci.registry.options import RegistryOptions
    from fastoci.spec.platform import Platform

__all__ = [
    "DocumentOption",
    "EveryMemberOption",
    "HostFlags",
    "ImageArgument",
    "MemberOption",
    "NewTagOption",
    "OutputFlags",
    "PlacedImageArgument",
    "RegistryFlags",
    "UploadFlags",
    "parse_credentials",
    "parse_platform",
    "parse_size",
    "parse_split",
    "refuse_json_on_stdout",
]

ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE", help="A reference, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE, or a path."
    ),
]
"""An image to read, wherever it is."""

PlacedImageArgument = Annotated[
    str, typer.Argument(metavar="IMAGE", help="HOST/REPOSITORY[:TAG][@DIGEST], oci:DIR[:TAG], or a path.")
]
"""An image that is changed, or gets another name, where it stands."""

NewTagOption = Annotated[
    str | None,
    typer.Option("-t", "--tag", metavar="TAG", help="The new image's tag.  [default: the old one's, which moves]"),
]
"""What an image that takes another's place is called."""

_PLATFORM = "OS/ARCH[/VARIANT]"

MemberOption = Annotated[
    str | None, typer.Option(metavar=_PLATFORM, help="Which image of an index.  [default: the one for this host]")
]
"""The platform of the member of an index that is meant, where it has to be one; None is this host's."""

DocumentOption = Annotated[
    str | None, typer.Option(metavar=_PLATFORM, help="Which image of an index.  [default: the index itself]")
]
"""The same, where an index is an answer, too: that is what None means."""

EveryMemberOption = Annotated[
    str | None, typer.Option(metavar=_PLATFORM, help="One image of an index.  [default: all of them]")
]
"""The same, where an index goes whole: that is what None means."""

_SIZE = re.compile(r"([0-9]{1,15}) ?(?:([kmg])i?|)b?", re.IGNORECASE)
_SPLIT_MOST = 1000  # layers: a larger number can only be meant as one of bytes
_UNITS = {None: 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(kw_only=True, eq=False, repr=False)
class OutputFlags:
    """How a command speaks."""

    title: ClassVar[str] = "What is said"

    json: Annotated[bool, typer.Option("--json", help="Write the result as one JSON document.")] = False
    progress: Annotated[ProgressMode, typer.Option(help="How progress is shown on stderr.")] = "auto"
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no warnings.")] = False
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Tell details.")] = False

    def console(self) -> Console:
        """Return the console that these options ask for."""
        return Console(json=self.json, progress=self.progress, quiet=self.quiet, verbose=self.verbose)


@dataclass(kw_only=True, eq=False, repr=False)
class HostFlags:
    """How a registry is reached."""

    title: ClassVar[str] = "Registries"

    tls_verify: Annotated[
        bool, typer.Option("--tls-verify/--no-tls-verify", help="Check the registry's certificate.")
    ] = True
    plain_http: Annotated[bool, typer.Option("--plain-http", help="Talk HTTP, not HTTPS.")] = False
    cert_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Certificates to trust and to show (*.crt, *.cert, *.key).")
    ] = None

    def options(self) -> "RegistryOptions":
        """Return these as the values the registry client takes.

        Raises:
            UsageError: A value has not the form it should have.
        """
        from fastoci.registry.options import RegistryOptions

        return RegistryOptions(**self._values())

    def _values(self) -> dict[str, Any]:
        return {"tls_verify": self.tls_verify, "plain_http": self.plain_http, "cert_dir": self.cert_dir}


@dataclass(kw_only=True, eq=False, repr=False)
class RegistryFlags(HostFlags):
    """How a registry is reached, as whom, and how hard it is tried."""

    authfile: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read credentials from this file (podman's or docker's form).")
    ] = None
    creds: Annotated[str | None, typer.Option(metavar="USER[:PASS]", help="Credentials for the registry.")] = None
    jobs: Annotated[
        int | None, typer.Option(min=1, max=64, metavar="N", help="How many blobs travel at once.  [default: 4]")
    ] = None
    retry: Annotated[
        int | None,
        typer.Option(
            min=0, max=1000, metavar="N", help="Failures in a row, without progress, that end it.  [default: 8]"
        ),
    ] = None

    def _values(self) -> dict[str, Any]:
        values = super()._values()
        values["authfile"] = self.authfile
        values["credentials"] = None if self.creds is None else parse_credentials(self.creds, "--creds")
        # What was not said is the registry client's to decide.
        values |= {name: value for name in ("jobs", "retry") if (value := getattr(self, name)) is not None}
        return values


@dataclass(kw_only=True, eq=False, repr=False)
class UploadFlags(RegistryFlags):
    """How blobs are sent, besides how the registry is reached."""

    upload: Annotated[
        Literal["auto", "monolithic", "chunked"], typer.Option(help="How a blob is sent: in one request, or in chunks.")
    ] = "auto"
    chunk_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Bytes in a chunk, as in 32MiB.  [default: what the host takes, from 16MiB on]"
        ),
    ] = None

    def _values(self) -> dict[str, Any]:
        values = super()._values()
        values["upload"] = self.upload
        if self.chunk_size is not None:
            values["chunk_size"] = parse_size(self.chunk_size, "--chunk-size")
        return values


def parse_credentials(text: str, option: str) -> tuple[str, str]:
    """Return user and password; the password is asked for on the terminal where the text has none.

    Args:
        text: `USER[:PASSWORD]`.
        option: Where it was written, for the error.

    Raises:
        UsageError: It names no user, or no password and there is no terminal.
    """
    user, colon, password = text.partition(":")
    if not colon:
        import getpass

        try:
            password = getpass.getpass(f"Password for {user}: ")
        except (EOFError, OSError) as error:
            raise UsageError(f"{option} names no password, and there is no terminal to ask on") from error
    if not user:
        raise UsageError(f"{option} names no user", hint=f"{option} USER:PASS")
    return user, password


def parse_platform(text: str | None) -> "Platform | None":
    """Return what `--platform` says; None where it says nothing.

    Raises:
        UsageError: It is not OS/ARCH[/VARIANT].
    """
    from fastoci.spec.platform import Platform

    return None if text is None else Platform.parse(text)


def refuse_json_on_stdout(output: OutputFlags, *, on_stdout: bool) -> None:
    """Refuse `--json` beside an archive on stdout.

    Raises:
        UsageError: Both are asked for.
    """
    if on_stdout and output.json:
        raise UsageError("stdout is for one: the archive of -, or the document of --json", hint="name a file")


def parse_size(text: str, option: str) -> int:
    """Return the bytes that `text` says: a number, alone or with a unit (k, M, G binary as in docker; KB, KiB …).

    Args:
        text: What the user wrote.
        option: Where, for the error.

    Raises:
        UsageError: It is not a size, or not over zero.
    """
    match = _SIZE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"{option}: not a size: {text!r}", hint="a number of bytes, or one as in 32MiB")
    return int(match[1]) * _UNITS[match[2] and match[2].lower()]


def parse_split(text: str) -> "Split":
    """Return what `--split` says: a number of layers, or a size with its unit.

    Raises:
        UsageError: It is neither, or a number that cannot be one of layers.
    """
    from fastoci.layer.options import Split

    if not (text.isascii() and text.isdigit()):
        return Split(size=parse_size(text, "--split"))
    if not 1 <= int(text[:9]) <= _SPLIT_MOST or len(text) > len(str(_SPLIT_MOST)):
        raise UsageError(
            f"--split {text}: 1 to {_SPLIT_MOST:,} layers can be made", hint="a size has a unit, as in 512M or 64MiB"
        )
    return Split(count=int(text))
