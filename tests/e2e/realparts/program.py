"""Running fastoci as its users do: the installed command, in an environment that holds nothing of the caller's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from realparts.processes import base_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGEST = r"sha256:[0-9a-f]{64}"


@dataclass(frozen=True)
class Result:
    """What a finished command left."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"{' '.join(self.argv)}: exit {self.code}\n--- stdout\n{self.stdout}--- stderr\n{self.stderr}"

    @property
    def line(self) -> str:
        """The one line of stdout."""
        assert self.stdout.count("\n") == 1, str(self)
        return self.stdout.rstrip("\n")

    @property
    def digest(self) -> str:
        """The digest at the end of the result line."""
        found = re.search(rf"@({DIGEST})$", self.line)
        assert found, str(self)
        return found[1]

    def failed(self, code: int, *, error: str = "", cause: str = "", hint: str = "") -> None:
        """Assert that the command ended with this code and said what, why and what next, each matching a pattern."""
        assert self.code == code, str(self)
        assert "Traceback" not in self.stderr, str(self)
        assert self.stdout == "", str(self)
        for word, pattern in (("error", error), ("cause", cause), ("hint", hint)):
            if pattern:
                said = re.search(rf"^{word}: *(.*)$", self.stderr, re.MULTILINE)
                assert said, f"no {word}: line\n{self}"
                assert re.search(pattern, said[1]), f"{word}: {said[1]!r} does not match {pattern!r}\n{self}"


@dataclass
class Fastoci:
    """The installed command, at home in a directory of its own.

    Attributes:
        path: The console script.
        home: HOME; `cwd` and TMPDIR lie beneath it.
        env: More of its environment.
    """

    path: str
    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for directory in (self.cwd, self.tmp, self.home / "run"):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def cwd(self) -> Path:
        return self.home / "work"

    @property
    def tmp(self) -> Path:
        return self.home / "tmp"

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {
            **base_environment(self.home),
            "TMPDIR": str(self.tmp),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            **self.env,
            **(more or {}),
        }

    def run(
        self, *args: str | Path, env: Mapping[str, str] | None = None, stdin: bytes | None = None, timeout: float = 240
    ) -> Result:
        """Run it to its end, however that is."""
        argv = (self.path, *map(str, args))
        done = subprocess.run(
            argv,
            env=self.environment(env),
            cwd=self.cwd,
            input=stdin or b"",
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        result = Result(
            argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        assert "Traceback" not in result.stderr, str(result)
        return result

    def ok(
        self, *args: str | Path, env: Mapping[str, str] | None = None, stdin: bytes | None = None, timeout: float = 240
    ) -> Result:
        """Run it; it has to succeed."""
        result = self.run(*args, env=env, stdin=stdin, timeout=timeout)
        assert result.code == 0, str(result)
        return result

    def start(self, *args: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start it, with pipes for stdout and stderr."""
        return subprocess.Popen(
            [self.path, *map(str, args)],
            env=self.environment(env),
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C of a terminal reaches a whole process group; so do the tests' signals, and no others.
            start_new_session=True,
        )

    def leftovers(self) -> list[str]:
        """Return what lies in its TMPDIR and its working directory."""
        return sorted(path.name for directory in (self.tmp, self.cwd) for path in directory.iterdir())


def program() -> str:
    """Return the path of the fastoci that belongs to the interpreter the tests run with."""
    beside = Path(sysconfig.get_path("scripts")) / "fastoci"
    found = str(beside) if beside.exists() else shutil.which("fastoci")
    if found is None:
        pytest.fail("fastoci is not installed: pip install -e '.[test]'", pytrace=False)
    return found


@pytest.fixture
def fastoci(tmp_path: Path) -> Fastoci:
    """The installed command, in a home of its own."""
    return Fastoci(program(), tmp_path / "home")
