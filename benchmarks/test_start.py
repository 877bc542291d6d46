"""Start-up: what short commands cost, in CPU time, beside what Python and Typer cost themselves."""

from __future__ import annotations

import compileall
import os
import sys
import sysconfig
from pathlib import Path

import pytest
import typer
from pytest_benchmark.fixture import BenchmarkFixture

import fastoci
from fastoci.cli.build import run
from fastoci.cli.command import spread
from launch import Launch
from records import Records
from rounds import SHORT
from table_start import BARE_TYPER, EMPTY, HELP, PYTHON, VERSION

pytestmark = pytest.mark.timeout(600)

ROUNDS = 5 if SHORT else 40
FASTOCI = f"{sysconfig.get_path('scripts')}/fastoci"


def kinds() -> str:
    """Return the kinds of `fastoci build`'s options, as `bare_typer.py` wants them."""
    app = typer.Typer(add_completion=False)
    app.command()(spread(run))
    letters = {"integer range": "n", "int range": "n", "boolean": "f", "choice": "c"}
    return "".join(
        "m" if getattr(param, "multiple", False) else letters.get(param.type.name, "t")
        for param in typer.main.get_command(app).params
    )


COMMANDS = {
    PYTHON: [sys.executable, "-c", "pass"],
    VERSION: [FASTOCI, "--version"],
    BARE_TYPER: [sys.executable, str(Path(__file__).with_name("bare_typer.py")), kinds(), "--help"],
    HELP: [FASTOCI, "build", "--help"],
    EMPTY: [FASTOCI, "build", "empty", "-o", "oci:layout", "--progress=none"],
}


@pytest.fixture(scope="module", autouse=True)
def byte_code() -> None:
    """Compile the package, as pip does when it installs: an editable install may never have been allowed to."""
    compileall.compile_dir(os.path.dirname(fastoci.__file__), quiet=1)


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("what", COMMANDS)
def test_start(what: str, number: int, records: Records, directory: str, benchmark: BenchmarkFixture) -> None:
    os.mkdir(f"{directory}/empty")
    with Launch(COMMANDS[what], directory) as launch:
        # pytest-benchmark leaves `pedantic` without annotations.
        benchmark.pedantic(launch.run, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
        records.start_up.setdefault(what, []).append(launch.usage.cpu)
    benchmark.group = "start-up"
    benchmark.extra_info.update(what=what, cpu=launch.usage.cpu)
