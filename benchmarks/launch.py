"""Runs one command line and says what it took: seconds on the wall, seconds of CPU, the largest process's peak memory.

A process of its own stands between pytest and what is measured. It is small, since Linux counts what the parent held
when it forked as the child's peak; and it makes itself the reaper of all its descendants, so that those which a shell
does not wait for (process substitutions) are waited for and counted, too. Nothing shows less than the launcher's own
size, about 10 MiB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["Launch", "Usage"]

_LAUNCHER = """
import ctypes, json, os, sys, time
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
os.sched_setaffinity(0, json.loads(sys.argv[1]))
command = sys.argv[2:]
output = os.dup(1)
os.dup2(2, 1)
os.write(output, b"ready\\n")
os.read(0, 1)
nothing = os.open(os.devnull, os.O_RDWR)
status, cpu, memory = 0, 0.0, 0
started = time.perf_counter()
first = os.posix_spawnp(command[0], command, os.environ, file_actions=[
    (os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, nothing, 1)])
while True:
    try:
        pid, ended, used = os.wait3(0)
    except ChildProcessError:
        break
    cpu += used.ru_utime + used.ru_stime
    memory = max(memory, used.ru_maxrss)
    if pid == first:
        status = os.waitstatus_to_exitcode(ended)
wall = time.perf_counter() - started
os.write(output, json.dumps({"wall": wall, "cpu": cpu, "memory": memory * 1024, "status": status}).encode())
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command took: seconds, seconds, bytes."""

    wall: float
    cpu: float
    memory: int


class Launch:
    """A command that is ready to be started.

    Args:
        command: The program and its arguments; the program is looked for on PATH.
        directory: Where it runs.
        environment: What is added to the environment.
        cpus: How many of the CPUs that this process may use it may use; None: all of them.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: str,
        environment: Mapping[str, str] | None = None,
        cpus: int | None = None,
    ) -> None:
        allowed = sorted(os.sched_getaffinity(0))
        self._command = list(command)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, json.dumps(allowed[:cpus]), *command],
            cwd=directory,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._answer = b""
        assert self._process.stdout is not None
        ready = self._process.stdout.read(6)
        assert ready == b"ready\n", ready

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def run(self) -> None:
        """Start the command and wait for its end, and that of everything it started."""
        self._answer, errors = self._process.communicate(b"g")
        said, ended = errors.decode(errors="replace"), self._process.returncode
        assert ended == 0, f"the launcher ended with {ended}: {said}"
        status = json.loads(self._answer)["status"]
        assert status == 0, f"{self._command} ended with {status}: {said}"

    @property
    def usage(self) -> Usage:
        """What it took; known when it has run."""
        facts = json.loads(self._answer)
        return Usage(facts["wall"], facts["cpu"], facts["memory"])
