"""The work that packing cannot do without, each kind alone on one thread, over the same trees.

Seconds are seconds of CPU, which other processes on the machine take nothing from. Their sum is what a layer costs at
least, and shared among the CPUs there are it is the floor of the time; but SHA-256 of the tar stream is one chain and
cannot be shared. The table at the end holds fastoci's own time against it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from isal import isal_zlib
from pytest_benchmark.fixture import BenchmarkFixture

import trees
from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci.layer.compression import GzipCompressor
from fastoci.layer.options import BLOCK_SIZE
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import scan_tree
from fastoci.tree.source import TreeSource
from launch import Launch
from peers import Fastoci
from records import Rate, Records
from trees import Tree

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.benchmark(timer=time.process_time),
    pytest.mark.parametrize("name", ["mixed", "usr"], scope="module"),
]

ROUNDS = 3
SAMPLE_SIZE = 256 << 20


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned tree, and blocks spread evenly over it."""

    tree: Tree
    plan: Plan
    blocks: list[bytes]
    deflated: list[bytes]

    @property
    def sampled(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def deflated_size(self) -> int:
        """The size of the whole tree's blob, from the sample's ratio."""
        return round(sum(map(len, self.deflated)) / self.sampled * self.plan.tar_size)


@pytest.fixture(scope="module")
def planned(name: str, tree_of: Callable[[str], Tree]) -> Iterator[Planned]:
    tree = tree_of(name)
    trees.warm(tree)
    table = scan_tree(TreeSource(tree.path), TreePolicy(), 1)
    plan = Plan(table, block_size=BLOCK_SIZE)
    renderer = Renderer(plan)
    buffer = bytearray(BLOCK_SIZE)
    step = max(1, -(-plan.tar_size // SAMPLE_SIZE))
    blocks = [bytes(buffer[: renderer.render(number, buffer)]) for number in range(0, plan.block_count, step)]
    renderer.close()
    compressor = GzipCompressor(1)
    deflated = [bytes(compressor.compress(memoryview(block))[0]) for block in blocks]
    yield Planned(tree, plan, blocks, deflated)
    table.close()


@pytest.fixture
def measure(benchmark: BenchmarkFixture, records: Records, planned: Planned) -> Callable[..., None]:
    """Return what times some work and keeps its rate."""

    def run(work: str, target: Callable[[], object], amount: int, whole: int, **more: Any) -> None:
        benchmark.group = f"{planned.tree.name}: primitives"
        benchmark.extra_info.update(work=work, amount=amount)
        # pytest-benchmark leaves `pedantic` without annotations.
        benchmark.pedantic(target, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
        if benchmark.stats is not None:
            rate = Rate(benchmark.stats.stats.median, amount, whole, **more)
            records.rates.setdefault(planned.tree.name, {})[work] = rate

    return run


def test_scan(planned: Planned, measure: Callable[..., None]) -> None:
    def scan() -> None:
        table = scan_tree(TreeSource(planned.tree.path), TreePolicy(), 1)
        Plan(table, block_size=BLOCK_SIZE)
        table.close()

    measure("scan and plan", scan, planned.tree.entries, planned.tree.entries, unit="entry")


def test_read(planned: Planned, measure: Callable[..., None]) -> None:
    """By path, from the interpreter, as a plain script would: for comparison with `render`."""
    buffer = bytearray(BLOCK_SIZE)
    paths = []
    for directory, _, names in os.walk(planned.tree.path):
        paths += [path for name in names if not os.path.islink(path := os.path.join(directory, name))]

    def read() -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                while os.readv(file, [buffer]):
                    pass
                os.close(file)

    measure("plain reading, in Python", read, planned.tree.size, planned.tree.size, counts=False)


def test_render(planned: Planned, measure: Callable[..., None]) -> None:
    buffer = bytearray(BLOCK_SIZE)

    def render() -> None:
        renderer = Renderer(planned.plan)
        for number in range(planned.plan.block_count):
            renderer.render(number, buffer)
        renderer.close()

    measure("render (headers, reading)", render, planned.plan.tar_size, planned.plan.tar_size)


def test_deflate(planned: Planned, measure: Callable[..., None]) -> None:
    """CRC-32 is a part of it."""
    compressor = GzipCompressor(1)

    def deflate() -> None:
        for block in planned.blocks:
            compressor.compress(memoryview(block))

    measure("deflate and CRC-32", deflate, planned.sampled, planned.plan.tar_size)


def test_crc(planned: Planned, measure: Callable[..., None]) -> None:
    def crc() -> None:
        for block in planned.blocks:
            isal_zlib.crc32(block)

    measure("CRC-32", crc, planned.sampled, planned.plan.tar_size, counts=False)


def test_sha256_of_tar(planned: Planned, measure: Callable[..., None]) -> None:
    measure("SHA-256 of the tar stream", lambda: _digest(planned.blocks), planned.sampled, planned.plan.tar_size)


def test_sha256_of_blob(planned: Planned, measure: Callable[..., None]) -> None:
    size = sum(map(len, planned.deflated))
    measure("SHA-256 of the blob", lambda: _digest(planned.deflated), size, planned.deflated_size)


def test_write(planned: Planned, measure: Callable[..., None], directory: str) -> None:
    size = sum(map(len, planned.deflated))

    def write() -> None:
        with open(f"{directory}/blob", "wb", buffering=0) as file:
            file.writelines(planned.deflated)

    measure("write", write, size, planned.deflated_size)


@pytest.mark.benchmark(timer=time.perf_counter)
def test_write_and_sync(planned: Planned, measure: Callable[..., None], directory: str) -> None:
    size = sum(map(len, planned.deflated))

    def write() -> None:
        with open(f"{directory}/blob", "wb", buffering=0) as file:
            file.writelines(planned.deflated)
            os.fsync(file.fileno())

    measure("write and sync, on the wall", write, size, planned.deflated_size, counts=False)


@pytest.mark.benchmark(timer=time.perf_counter)
def test_start_up(planned: Planned, records: Records, directory: str, benchmark: BenchmarkFixture) -> None:
    """What `fastoci build` takes for a tree with nothing in it."""
    empty = Tree("empty", f"{directory}/empty", 0, 0)
    os.mkdir(empty.path)
    seconds: list[float] = []

    def build() -> None:
        place = f"{directory}/{len(seconds)}"
        os.mkdir(place)
        with Launch(Fastoci().command(empty, place), place) as launch:
            launch.run()
            seconds.append(launch.usage.cpu)

    # pytest-benchmark leaves `pedantic` without annotations.
    benchmark.pedantic(build, rounds=ROUNDS, iterations=1)  # type: ignore[no-untyped-call]
    rate = Rate(statistics.median(seconds), 1, 1, unit="process", counts=False)
    records.rates.setdefault(planned.tree.name, {})["start-up, an empty tree"] = rate


def _digest(pieces: list[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
