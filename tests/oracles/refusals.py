"""What the C library may refuse the engine, in a process of its own: the test's side of nativefaults and its like."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import oracles
from oracles.longform import times
from oracles.unpackers import program

ORACLES = Path(oracles.__file__).parent
UNDER_A_SANITIZER = "libasan" in os.environ.get("LD_PRELOAD", "")
# The sanitizer stands before the shim with an allocator of its own, and with its own of these.
_OUT_OF_REACH = ("malloc", "calloc", "realloc", "readlinkat", "pread", "write", "close")

Case = tuple[dict[str, Any], set[str], str]


def case(call, error, outcomes, words="", *, lasting=False, always=None) -> Case:
    """Return a case: what is refused, what may come of it, and what an error says."""
    return {"call": call, "error": error, "lasting": lasting, "always": always or {}}, set(outcomes.split()), words


def within_reach(cases: list[Case]) -> list[Case]:
    """Return the cases that can be tried here."""
    return [one for one in cases if not (UNDER_A_SANITIZER and one[0]["call"] in _OUT_OF_REACH)]


def names(cases: list[Case]) -> list[str]:
    """Return what to call each of them."""
    return [
        f"{what['call']}-{errno.errorcode.get(what['error'], 'EOF')}{'-lasting' * what['lasting']}"
        for what, _, _ in cases
    ]


def results_of(module: str, place: Path, top: Path, cases: list[Case]) -> list[dict[str, Any]]:
    """Return what came of all cases, from one process.

    Args:
        module: The module of `oracles` that tries them.
        place: What it is given to work on.
        top: Where the shim is built.
        cases: The cases.
    """
    shim = top / "faultshim.so"
    without = ["-DWITHOUT_MALLOC"] if UNDER_A_SANITIZER else []
    compiler = program("gcc", "gcc")
    command = [compiler, "-O1", "-fPIC", "-shared", *without, "-o", str(shim), str(ORACLES / "faultshim.c"), "-ldl"]
    subprocess.run(command, check=True, env={**os.environ, "LD_PRELOAD": ""})
    path = os.pathsep.join([str(ORACLES.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    preload = " ".join([*os.environ.get("LD_PRELOAD", "").split(), str(shim)])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", f"oracles.{module}", str(place), str(shim),
         json.dumps([what for what, _, _ in cases])],
        env={**os.environ, "PYTHONPATH": path, "LD_PRELOAD": preload},
        capture_output=True,
        text=True,
        timeout=times(240, 3600),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def judge(result: dict[str, Any], outcomes: set[str], words: str) -> None:
    """See that what came of a case is what may."""
    assert result["calls"] > 0, "the engine does not call it: the case shows nothing"
    assert sum(result["outcomes"].values()) > 0
    assert set(result["outcomes"]) <= outcomes, result
    if words:
        assert any(words in said for said in result["words"])
        assert all(words in said or not said or said.startswith("sha256:") for said in result["words"]), result["words"]
