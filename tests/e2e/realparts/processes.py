"""Starting, watching and stopping the programs that the tests run against."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

REQUIRED = os.environ.get("FASTOCI_REQUIRE_REAL_PARTS") == "1"
# What is skipped with this at the front of its reason is no fault of the machine: .ci/run lets it pass.
LEFT_OUT = "left out: "
# Daemons live in sbin, which is not on the PATH of everybody who may run them.
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

RUNNING: list[Daemon] = []


def missing(reason: str) -> NoReturn:
    """Skip the test that is being set up, or fail it where every real part is required."""
    if REQUIRED:
        pytest.fail(f"FASTOCI_REQUIRE_REAL_PARTS=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def require(program: str, package: str) -> str:
    """Return the path of a program; where it is missing, skip and name the Debian package that has it."""
    found = shutil.which(program, path=SEARCH)
    if found is None:
        missing(f"{program} is not on PATH: apt-get install {package}")
    return found


def require_root(why: str) -> None:
    """Skip where the tests do not run as root."""
    if os.geteuid() != 0:
        missing(f"{why} needs root")


def until(
    what: str, ready: Callable[[], bool], *, seconds: float = 30.0, alive: Callable[[], bool] = lambda: True
) -> None:
    """Poll until `ready` says so; fail after `seconds`, or at once when `alive` says that nothing will come."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not alive():
            pytest.fail(f"{what}: ended before it was ready")
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not ready after {seconds:.0f} s")
        time.sleep(0.05)


def base_environment(home: Path) -> dict[str, str]:
    """Return an environment that shares nothing with the caller's but PATH: no proxy, no credentials, no settings."""
    return {"PATH": SEARCH, "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}


def capture(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    timeout: float = 240,
) -> bytes:
    """Run a program that has to succeed and return its stdout; on failure the test fails with its stderr."""
    done = subprocess.run(
        argv,
        env=env,
        cwd=cwd,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        said = (done.stdout[-2000:] + done.stderr[-6000:]).decode(errors="replace")
        pytest.fail(f"{' '.join(argv)}: exit {done.returncode}\n{said}")
    return done.stdout


class Daemon:
    """A program that runs beside the tests, with its log in a file.

    Args:
        name: What to call it in messages.
        argv: The command, its program as an absolute path.
        log: Where its stdout and stderr go; appended to over restarts.
        env: Its whole environment.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it. Its own session keeps a Ctrl-C meant for the tests from it, so that fixtures stop it in order."""
        # A killed test run takes its daemons with it; util-linux, which has setpriv, is on every Debian system.
        setpriv = shutil.which("setpriv", path=SEARCH)
        prefix = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *self.argv],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        RUNNING.append(self)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Poll until `ready`; where it never is, stop the program and fail with the end of its log."""
        try:
            until(self.name, ready, seconds=seconds, alive=self.alive)
        except pytest.fail.Exception as error:
            self.stop()
            pytest.fail(f"{error}\n{self.text()[-4000:]}", pytrace=False)

    def stop(self, *, kill: bool = False, seconds: float = 20.0) -> None:
        """Stop it by its own process id: asked first (unless `kill`), then killed."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None
        RUNNING.remove(self)

    def text(self, offset: int = 0) -> str:
        """Return its log from a byte offset on."""
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")
