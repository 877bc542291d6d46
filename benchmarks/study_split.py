"""One tree as one layer, and as several: on this machine, and foretold for more cores.

    python benchmarks/study_split.py [TREE]         `mixed`, where none is named
    FASTOCI_BENCH=short python benchmarks/...       over a small tree

What is foretold follows from the stages of these runs (`fastoci.layers` of `--metadata-file`):

    T(N) = start-up + head + max(CPU/N, chains)

where a layer's chain is max(hash_tar, hash_blob + write) + commit, which no second core helps with, `chains` is how
long as many at once as fastoci would run take for all of them, the largest first, and head is what one layer waits for
its first block, or several for the scan and the plans.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trees
from fastoci.layer.workforce import Workforce
from launch import Launch, Usage
from network import FASTOCI
from records import machine

_ROUNDS = int(os.environ.get("FASTOCI_BENCH_ROUNDS") or 5)
_LAYERS = (1, 2, 4, 20)
_CORES = (2, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Run:
    """One build: what it took, and what it said of its layers."""

    usage: Usage
    layers: Sequence[Mapping[str, Any]]


def main() -> None:
    tree = trees.tree(sys.argv[1] if len(sys.argv) > 1 else "mixed", trees.form())
    directory = tempfile.mkdtemp(prefix="split-", dir=trees.cache_directory())
    found: dict[int, list[Run]] = {count: [] for count in _LAYERS}
    try:
        empty = os.path.join(directory, "empty")
        os.mkdir(empty)
        start = min(build(directory, empty, 1).usage.wall for _ in range(_ROUNDS))
        build(directory, tree.path, 1)  # so that the tree is in the page cache
        for _ in range(_ROUNDS):
            for count, runs in found.items():
                runs.append(build(directory, tree.path, count))
    finally:
        shutil.rmtree(directory)
    print(f"{tree.name}, {tree.size / 1e6:,.0f} MB, medians of {_ROUNDS} runs in turn\n")
    print(f"  {'layers':<8}{'wall s':>8}{'(least-most)':>16}{'CPU s':>8}{'peak MiB':>10}{'largest':>9}{'MB out':>9}")
    for count, runs in found.items():
        line(count, runs)
    print(f"\n  foretold, s   {''.join(f'{cores:>4} cores' for cores in _CORES)}")
    for count, runs in found.items():
        middle = sorted(runs, key=lambda run: run.usage.wall)[len(runs) // 2]
        seconds = [foretold(middle, start, cores) for cores in _CORES]
        print(f"  {count:>2} layers     {''.join(f'{one:>10.2f}' for one in seconds)}")
    print(machine())


def build(directory: str, tree: str, layers: int) -> Run:
    """Build into a layout that is not there yet."""
    trees.settle()
    layout, facts = os.path.join(directory, "layout"), os.path.join(directory, "facts.json")
    shutil.rmtree(layout, ignore_errors=True)
    command = [FASTOCI, "build", tree, "-o", f"oci:{layout}:1", "--metadata-file", facts, "-q"]
    with Launch([*command, *(("--split", str(layers)) if layers > 1 else ())], directory) as launch:
        launch.run()
    with open(facts, encoding="utf-8") as file:
        return Run(launch.usage, json.load(file)["fastoci.layers"])


def line(count: int, runs: Sequence[Run]) -> None:
    """Print what a number of layers took."""
    walls = sorted(run.usage.wall for run in runs)
    sizes = [layer["tar_size"] for layer in runs[0].layers]
    print(
        f"  {count:<8}{walls[len(walls) // 2]:>8.2f}{f'({walls[0]:.2f}-{walls[-1]:.2f})':>16}"
        f"{sorted(run.usage.cpu for run in runs)[len(runs) // 2]:>8.2f}"
        f"{max(run.usage.memory for run in runs) / 2**20:>10.0f}{max(sizes) / sum(sizes):>9.0%}"
        f"{sum(layer['size'] for layer in runs[0].layers) / 1e6:>9.1f}"
    )


def foretold(run: Run, start: float, cores: int) -> float:
    """Return the seconds on another number of cores."""
    stages = [layer["timings"] for layer in run.layers]
    chains = [max(one["hash_tar"], one["hash_blob"] + one["write"]) + one["commit"] for one in stages]
    at_once = [0.0] * Workforce(cores, len(stages)).at_once
    for chain in sorted(chains, reverse=True):
        at_once.sort()
        at_once[0] += chain
    if len(stages) == 1:
        head = stages[0]["head"] + stages[0]["tail"]
    else:
        head = stages[0]["scan"] / cores + sum(one["plan"] for one in stages)
    return start + head + max((run.usage.cpu - start) / cores, *at_once)


if __name__ == "__main__":
    main()
