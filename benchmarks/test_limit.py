"""Beside the limit: each round measures what one core can do on a tree's data, then packs the tree with N cores.

N is 1 and all there are, by affinity, with as many threads; then four times as many threads on all of them. Beside each
build stands one of an empty tree, whose time is start-up. `model.py` has the formula, `primitives.py` the rates.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import primitives
import trees
from conftest import Pack
from peers import Fastoci
from primitives import Rates, Sample
from records import Limits, Records
from rounds import CPUS, ROUNDS, chosen
from trees import Tree

pytestmark = pytest.mark.timeout(3600)

LEVEL = 1
SETTINGS = tuple(dict.fromkeys(((1, 1), (CPUS, CPUS), (CPUS, 4 * CPUS))))
STEPS = (
    "rates",
    *(f"{what} {cores} {threads}" for cores, threads in SETTINGS for what in ("empty", "build")),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "step" in metafunc.fixturenames:
        cases = [
            pytest.param(name, step, id=f"{name}-{number}-{step.replace(' ', '-')}")
            for name in chosen(*trees.JUDGED)
            for number in range(ROUNDS)
            for step in STEPS
        ]
        metafunc.parametrize(("name", "step"), cases)


@pytest.fixture(scope="module")
def sample_of() -> Callable[[Tree], Sample]:
    """Return what samples a tree; only the last one is kept, for they are large."""
    kept: dict[str, Sample] = {}

    def get(tree: Tree) -> Sample:
        if tree.name not in kept:
            kept.clear()
            kept[tree.name] = Sample.of(tree)
        return kept[tree.name]

    return get


def test_limit(
    name: str,
    step: str,
    tree_of: Callable[[str], Tree],
    sample_of: Callable[[Tree], Sample],
    records: Records,
    directory: str,
    request: pytest.FixtureRequest,
) -> None:
    tree = tree_of(name)
    found = records.limits.setdefault(name, Limits())
    if step == "rates":
        sample = sample_of(tree)
        trees.warm(tree)
        trees.settle()
        benchmark: BenchmarkFixture = request.getfixturevalue("benchmark")
        rates: Rates = benchmark.pedantic(  # type: ignore[no-untyped-call]  # without annotations
            primitives.measure, args=(tree, sample, LEVEL, directory), rounds=1, iterations=1
        )
        found.rates.append(rates)
        return
    pack: Pack = request.getfixturevalue("pack")
    what, cores, threads = step.split()
    key = int(cores), int(threads)
    fastoci = Fastoci(threads=key[1])
    if what == "empty":
        nothing = Tree("empty", f"{directory}/empty", 0, 0)
        os.mkdir(nothing.path)
        found.empty.setdefault(key, []).append(pack(fastoci, nothing, key[0], trees.settle))
    else:
        run = pack(fastoci, tree, key[0])
        found.builds.setdefault(key, []).append(run)
        first = next(iter(found.builds.values()))[0]
        assert run.result.digest == first.result.digest
