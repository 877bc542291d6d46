"""Groups of flags, and values for flags that click would not take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import typer

from fastoci.cli.command import invoke
from fastoci.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Flags:
    """A group."""

    title: ClassVar[str] = "Flags"
    tls_verify: Annotated[bool, typer.Option("--tls-verify/--no-tls-verify")] = True
    load: Annotated[bool, typer.Option("-l", "--load")] = False
    load_into: Annotated[str | None, typer.Option(hidden=True)] = None
    word: Annotated[list[str] | None, typer.Option("-w", "--word")] = None


def parse(*arguments: str) -> tuple[list[str], Flags]:
    seen = []

    def run(names: Annotated[list[str] | None, typer.Argument()] = None, *, flags: Flags) -> None:
        """Try."""
        seen.append((names or [], flags))

    assert invoke("try", run, arguments) == 0
    return seen[0]


@pytest.mark.parametrize(
    ("arguments", "names", "flags"),
    [
        ([], [], Flags()),
        (["a", "--no-tls-verify", "b"], ["a", "b"], Flags(tls_verify=False)),
        (["--tls-verify=false"], [], Flags(tls_verify=False)),
        (["--tls-verify=False"], [], Flags(tls_verify=False)),
        (["--tls-verify=true"], [], Flags()),
        (["--tls-verify=0", "--tls-verify=1"], [], Flags()),
        (["--load"], [], Flags(load=True)),
        (["--load=true"], [], Flags(load=True)),
        (["--load=false"], [], Flags()),
        (["--load=podman", "a"], ["a"], Flags(load=True, load_into="podman")),
        # The value of another option is nobody's business.
        (["--word", "--load=podman"], [], Flags(word=["--load=podman"])),
        (["-w", "--load=podman"], [], Flags(word=["--load=podman"])),
        (["-lw", "--load=podman"], [], Flags(load=True, word=["--load=podman"])),
        (["-wl", "--load=podman"], [], Flags(word=["l"], load=True, load_into="podman")),
        (["--word=--load=x", "-w", "-", "--", "--load=podman"], ["--load=podman"], Flags(word=["--load=x", "-"])),
        (["-", "a"], ["-", "a"], Flags()),
    ],
)
def test_flags_take_values(arguments, names, flags):
    assert parse(*arguments) == (names, flags)


@pytest.mark.parametrize("arguments", [["--tls-verify=maybe"], ["--tls-verify="], ["--no-tls-verify=podman"]])
def test_flags_take_only_booleans(arguments):
    with pytest.raises(UsageError, match="takes true or false"):
        parse(*arguments)
