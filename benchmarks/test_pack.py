"""From a tree to a layer with its digests: fastoci's command line, and its peers beside it in the same run.

Each tool is started as a process of its own on a tree that was just read once, with nothing left to be written back
to the disk. The tools run in turn, round after round, so that what slows the machine down for a while slows all of
them. Nothing here fails for being slow: the tables at the end say what was reached.

    FASTOCI_BENCH=short      trees of about 150 MB instead of 1.5 GB
    FASTOCI_BENCH_DIR=DIR    where the trees and the outputs are; by default below the system's temporary directory
    FASTOCI_BENCH_ROUNDS=N   how many rounds; by default 5, and 3 in the short form
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import trees
from launch import Launch, Usage
from peers import ALL, Fastoci, Peer, Result
from records import Records, Run
from trees import Tree

pytestmark = pytest.mark.timeout(3600)

ROUNDS = int(os.environ.get("FASTOCI_BENCH_ROUNDS") or {"full": 5, "short": 3}[trees.form()])
THREADS = (1, 2, 3, 8)
TreeOf = Callable[[str], Tree]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tool" in metafunc.fixturenames:
        cases = [
            pytest.param(name, tool, id=f"{name}-{number}-{tool.name}")
            for name in ("mixed", "usr")
            for number in range(1, ROUNDS + 1)
            for tool in ALL
            if tool.left_out(name) is None
        ]
        metafunc.parametrize(("name", "tool"), cases)


def pack(tool: Peer, tree: Tree, directory: str, around: Callable[[Callable[[], None]], Any]) -> Run:
    tool.prepare(tree, directory)
    trees.warm(tree)
    os.sync()
    with Launch(tool.command(tree, directory), directory) as launch:
        around(launch.run)
        usage: Usage = launch.usage
    result: Result = tool.result(directory)
    assert result.size > 0
    return Run(usage, result)


@pytest.fixture(scope="module")
def digests() -> dict[str, str]:
    """The digest that fastoci gave first, by the tree's name."""
    return {}


@pytest.mark.parametrize("threads", THREADS)
def test_every_number_of_threads_gives_the_same_digest(
    threads: int, tree_of: TreeOf, records: Records, directory: str, digests: dict[str, str]
) -> None:
    run = pack(Fastoci(threads), tree_of("mixed"), directory, lambda start: start())
    records.memory_by_threads[threads] = run.usage.memory
    assert run.result.digest is not None
    assert run.result.digest == digests.setdefault("mixed", run.result.digest)


def test_the_layer_is_one_gzip_member_with_the_digests_it_names(tree_of: TreeOf, directory: str) -> None:
    fastoci = Fastoci()
    pack(fastoci, tree_of("mixed"), directory, lambda start: start())
    manifest = fastoci.manifest(directory)
    with open(fastoci.blob(directory, manifest["config"]), "rb") as file:
        diff_ids = json.load(file)["rootfs"]["diff_ids"]
    inflater = zlib.decompressobj(wbits=31)
    digest, diff_id = hashlib.sha256(), hashlib.sha256()
    (layer,) = manifest["layers"]
    with open(fastoci.blob(directory, layer), "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
            diff_id.update(inflater.decompress(data))
    assert inflater.eof
    assert not inflater.unused_data
    assert layer["digest"] == f"sha256:{digest.hexdigest()}"
    assert diff_ids == [f"sha256:{diff_id.hexdigest()}"]


def test_pack(
    name: str,
    tool: Peer,
    tree_of: TreeOf,
    records: Records,
    directory: str,
    digests: dict[str, str],
    benchmark: BenchmarkFixture,
) -> None:
    tree = tree_of(name)

    def timed(start: Callable[[], None]) -> None:
        # pytest-benchmark leaves `pedantic` without annotations.
        benchmark.pedantic(start, rounds=1, iterations=1)  # type: ignore[no-untyped-call]

    run = pack(tool, tree, directory, timed)
    benchmark.group = name
    benchmark.extra_info.update(
        tool=tool.name,
        tree_bytes=tree.size,
        tree_entries=tree.entries,
        wall=run.usage.wall,
        cpu=run.usage.cpu,
        peak_rss=run.usage.memory,
        bytes_out=run.result.size,
    )
    records.add(tree, tool.name, run)
    # A machine's own /usr may change between two runs.
    if isinstance(tool, Fastoci) and name == "mixed":
        assert run.result.digest == digests.setdefault(name, run.result.digest or "")
