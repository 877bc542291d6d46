"""`fastoci login` and `fastoci logout`."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

import os
import sys
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from fastoci.cli.options import HostFlags, OutputFlags
from fastoci.errors import UsageError
from fastoci.events import Warned

__all__ = ["run", "run_logout"]

_PASSWORD_LIMIT = 64 << 10  # bytes; some registries' passwords are keys of several KiB

_Registry = Annotated[str, typer.Argument(metavar="REGISTRY", help="Its host, as ghcr.io or localhost:5000.")]
_AuthFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Where they are kept.  [default: $REGISTRY_AUTH_FILE, else docker's file]"),
]


@dataclass(kw_only=True, eq=False, repr=False)
class KeepFlags(HostFlags):
    """How the registry is reached, and where credentials are kept."""

    title: ClassVar[str] = "The registry"

    authfile: _AuthFile = None

    def _values(self) -> dict[str, Any]:
        return super()._values() | {"authfile": self.authfile}


@dataclass(kw_only=True, eq=False, repr=False)
class UserFlags:
    """Who logs in."""

    title: ClassVar[str] = "Who logs in"

    username: Annotated[str | None, typer.Option("-u", "--username", metavar="USER", help="Whose credentials.")] = None
    password: Annotated[
        str | None,
        typer.Option("-p", "--password", metavar="PASS", help="Theirs; everybody on this machine can see it here."),
    ] = None
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False

    def read(self, registry: str) -> tuple[str, str]:
        """Return user and password, asking on the terminal for what was not said.

        Raises:
            UsageError: There is no terminal to ask on, or the options contradict each other.
        """
        if self.password is not None and self.password_stdin:
            raise UsageError("--password and --password-stdin are two passwords")
        if self.password_stdin and self.username is None:
            raise UsageError("--password-stdin needs to know the user", hint=f"fastoci login -u USER {registry}")
        user = self.username if self.username is not None else _ask(f"User at {registry}: ", hidden=False)
        if self.password_stdin:
            return user, _read_stdin()
        return user, self.password if self.password is not None else _ask(f"Password of {user}: ", hidden=True)


def run(registry: _Registry, *, user: UserFlags, host: KeepFlags, output: OutputFlags) -> None:
    """Store credentials for a registry where docker and podman find them."""
    from fastoci.login import login, registry_host

    name = registry_host(registry)
    username, password = user.read(name)
    with output.console() as console:
        if user.password is not None:
            console.sink(
                Warned("--password can be read in the list of processes", hint="use --password-stdin, or let it ask")
            )
        done = login(name, username, password, host.options(), console.sink)
    console.result(
        [f"logged in to {done.registry} as {done.user}; kept in {done.place}"],
        {"registry": done.registry, "username": done.user, "place": done.place},
    )


def run_logout(registry: _Registry, *, authfile: _AuthFile = None, output: OutputFlags) -> None:
    """Remove the stored credentials of a registry."""
    from fastoci.login import logout, registry_host
    from fastoci.registry.options import RegistryOptions

    host = registry_host(registry)
    with output.console() as console:
        place = logout(host, RegistryOptions(authfile=authfile))
    line = f"no credentials were kept for {host}" if place is None else f"logged out of {host}; erased from {place}"
    console.result([line], {"registry": host, "place": place})


def _ask(question: str, *, hidden: bool) -> str:
    """Return a line from the terminal, whatever stdin and stdout are."""
    import getpass

    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            "there is no terminal to ask for user and password on", hint="-u USER --password-stdin < FILE"
        ) from error
    with os.fdopen(terminal, "rb+", buffering=0) as stream:
        if hidden:
            return getpass.getpass(question)
        stream.write(os.fsencode(question))
        return os.fsdecode(stream.readline()).rstrip("\r\n")


def _read_stdin() -> str:
    data = sys.stdin.buffer.read(_PASSWORD_LIMIT + 1)
    if len(data) > _PASSWORD_LIMIT:
        raise UsageError("what stdin holds is no password", cause=f"it is longer than {_PASSWORD_LIMIT:,} bytes")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError("what stdin holds is no password", cause="it is not UTF-8") from error
