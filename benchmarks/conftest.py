"""What the benchmarks share: the trees, the records of what was found, and the tables at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import peers_images
import trees
from launch import Launch, Usage
from peers import Peer, Result
from records import Records, Run, blank, machine
from table_limit import limit_tables, memory_table
from table_start import start_table
from table_tools import cold_table, levels_table, packing_table
from table_unpack import unpack_table
from trees import Tree

RECORDS = pytest.StashKey[Records]()
_TABLES = (packing_table, levels_table, limit_tables, memory_table, cold_table, unpack_table, start_table)

Pack = Callable[..., Run]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORDS] = Records()
    # pytest-benchmark's table has a row for each run, since tools run in turn; ours has a row for each tool.
    config.option.benchmark_quiet = True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    records = config.stash[RECORDS]
    lines = [line for table in _TABLES for line in blank(table(records))]
    lines += [f"left out: {what}" for what in records.left_out]
    if lines:
        terminalreporter.section("benchmarks")
        for line in (machine(), *lines):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def records(pytestconfig: pytest.Config) -> Records:
    return pytestconfig.stash[RECORDS]


@pytest.fixture(scope="session", autouse=True)
def daemons() -> Iterator[None]:
    """Whatever a peer started is stopped at the end."""
    yield
    for peer in peers_images.ALL:
        peer.close()


@pytest.fixture(scope="session")
def tree_of(records: Records) -> Callable[[str], Tree]:
    """Return what makes or finds a tree by its name, once."""

    def get(name: str) -> Tree:
        if name not in records.trees:
            records.trees[name] = trees.tree(name, trees.form())
        return records.trees[name]

    return get


@pytest.fixture
def directory() -> Iterator[str]:
    """An empty directory beside the trees, on the same file system; gone after the test with all that is in it."""
    path = tempfile.mkdtemp(prefix="run-", dir=trees.cache_directory())
    yield path
    shutil.rmtree(path)


@pytest.fixture
def pack(directory: str, benchmark: BenchmarkFixture) -> Pack:
    """Return what runs a tool once on a warm tree, with nothing left to be written back to the disk."""

    def run(tool: Peer, tree: Tree, cpus: int | None = None, before: Callable[[], None] | None = None) -> Run:
        tool.prepare(tree, directory)
        try:
            with Launch(tool.command(tree, directory), directory, cpus=cpus) as launch:
                (before or warm(tree))()
                # pytest-benchmark leaves `pedantic` without annotations.
                benchmark.pedantic(launch.run, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
                usage: Usage = launch.usage
                unwritten = trees.settle()
            result: Result = tool.result(directory)
        finally:
            tool.finish(directory)
        # A tool may find nothing, and be content.
        assert result.size > tree.entries, f"{tool.name} made {result.size} bytes"
        benchmark.group = tree.name
        benchmark.extra_info.update(
            tool=tool.name,
            tree_bytes=tree.size,
            tree_entries=tree.entries,
            wall=usage.wall,
            cpu=usage.cpu,
            peak_rss=usage.memory,
            bytes_out=result.size,
        )
        return Run(usage, result, unwritten)

    return run


def warm(tree: Tree) -> Callable[[], None]:
    def do() -> None:
        trees.warm(tree)
        trees.settle()

    return do
