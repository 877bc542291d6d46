"""What the benchmarks share: the trees, the records of what was found, and the tables at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest

import trees
from records import Records

RECORDS = pytest.StashKey[Records]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORDS] = Records()
    # pytest-benchmark's table has a row for each run, since tools run in turn; ours has a row for each tool.
    config.option.benchmark_quiet = True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = list(config.stash[RECORDS].tables())
    if lines:
        terminalreporter.section("benchmarks")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def records(pytestconfig: pytest.Config) -> Records:
    return pytestconfig.stash[RECORDS]


@pytest.fixture(scope="session")
def tree_of(records: Records) -> Callable[[str], trees.Tree]:
    """Return what makes or finds a tree by its name, once."""

    def get(name: str) -> trees.Tree:
        if name not in records.trees:
            make = {"mixed": trees.mixed, "usr": trees.usr}[name]
            records.trees[name] = make(trees.form())
        return records.trees[name]

    return get


@pytest.fixture
def directory() -> Iterator[str]:
    """An empty directory beside the trees, on the same file system; gone after the test with all that is in it."""
    path = tempfile.mkdtemp(prefix="run-", dir=trees.cache_directory())
    yield path
    shutil.rmtree(path)
