"""What the benchmarks found, and the tables made of it at the end of the run."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import peers
from launch import Usage
from peers import Result
from trees import Tree, cache_directory, form

__all__ = ["Rate", "Records", "Run"]

_MEMORY_LIMIT = 120 << 20
_WANTED = (("the faster shell pipeline", "tar | ", 2.0), ("umoci insert", "umoci", 4.0))
_JUDGED_SIZE = 1_500_000_000
_JUDGED_ENTRIES = 50_000
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one tool."""

    usage: Usage
    result: Result


@dataclass(frozen=True, slots=True)
class Rate:
    """How long one thread took for one kind of work over a tree or a sample of it.

    Args:
        seconds: The median.
        amount: How much of it was done, in units.
        whole: How much of it the whole tree needs.
        unit: Of what.
        counts: Whether a layer needs it, so that it belongs to the sum; else it stands in the table to compare.
    """

    seconds: float
    amount: int
    whole: int
    unit: Literal["byte", "entry", "process"] = "byte"
    counts: bool = True

    @property
    def for_tree(self) -> float:
        """Seconds for the whole tree."""
        return self.seconds * self.whole / self.amount

    def __str__(self) -> str:
        if self.unit == "byte":
            return f"{self.amount / self.seconds / 1e6:.0f} MB/s"
        return f"{self.seconds / self.amount * 1e6:.2f} us/entry" if self.unit == "entry" else "-"


@dataclass(slots=True)
class Records:
    """Everything found in one run of pytest."""

    trees: dict[str, Tree] = field(default_factory=dict)
    runs: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    memory_by_threads: dict[int, int] = field(default_factory=dict)
    rates: dict[str, dict[str, Rate]] = field(default_factory=dict)

    def add(self, tree: Tree, tool: str, run: Run) -> None:
        """Keep a run."""
        self.runs.setdefault(tree.name, {}).setdefault(tool, []).append(run)

    def tables(self) -> Iterator[str]:
        """Yield all lines."""
        if not self.runs and not self.rates:
            return
        yield from _machine()
        for name, runs in self.runs.items():
            yield ""
            yield from self._packing(self.trees[name], runs)
        for name, rates in self.rates.items():
            yield ""
            yield from self._limits(self.trees[name], rates)

    def _packing(self, tree: Tree, runs: dict[str, list[Run]]) -> Iterator[str]:
        rounds = max(len(of_tool) for of_tool in runs.values())
        yield (
            f"{tree.name}: {tree.path}, {tree.size / _GB:.2f} GB in {tree.entries:,} entries, page cache warm; "
            f"medians of {rounds} runs, tools in turn"
        )
        yield (
            f"  {'':<18}{'wall s':>8}{'(least-most)':>16}{'x fastoci':>11}{'MB/s':>7}{'CPU s/GB':>10}"
            f"{'peak MiB':>10}{'out MB':>9}{'ratio':>7}"
        )
        base = _wall(runs["fastoci"]) if "fastoci" in runs else None
        for tool, of_tool in runs.items():
            walls = [run.usage.wall for run in of_tool]
            wall = statistics.median(walls)
            size = statistics.median(run.result.size for run in of_tool)
            times = f"{wall / base:.2f}" if base else "-"
            cpu = statistics.median(run.usage.cpu for run in of_tool)
            yield (
                f"  {tool:<18}{wall:>8.2f}{f'({min(walls):.2f}-{max(walls):.2f})':>16}{times:>11}"
                f"{tree.size / wall / 1e6:>7.0f}{cpu / tree.size * _GB:>10.2f}"
                f"{max(run.usage.memory for run in of_tool) / 2**20:>10.0f}{size / 1e6:>9.1f}{tree.size / size:>7.2f}"
            )
        for peer in peers.ALL:
            reason = peer.left_out(tree.name)
            if reason:
                yield f"  {peer.name:<18}left out: {reason}"
        if tree.name == "mixed" and self.memory_by_threads:
            found = ", ".join(f"{count}: {size / 2**20:.0f} MiB" for count, size in self.memory_by_threads.items())
            yield f"  fastoci's peak by threads: {found}"
        yield from _verdicts(tree, runs)
        for peer in peers.ALL:
            if peer.name in runs:
                yield f"  {peer.name}: {peer.note}"

    def _limits(self, tree: Tree, rates: dict[str, Rate]) -> Iterator[str]:
        yield f"{tree.name}: what the work alone costs on one thread in CPU time, and how near fastoci comes to it"
        yield f"  {'':<34}{'rate':>14}{'s for the tree':>16}"
        for work, rate in rates.items():
            name = work if rate.counts else f"({work})"
            yield f"  {name:<34}{rate!s:>14}{rate.for_tree:>16.2f}"
        needed = [rate.for_tree for rate in rates.values() if rate.counts]
        cpus = len(os.sched_getaffinity(0))
        floor = max(sum(needed) / cpus, rates["SHA-256 of the tar stream"].for_tree)
        yield f"  {'all but what is in brackets':<34}{'':>14}{sum(needed):>16.2f}"
        yield f"  {f'the floor with {cpus} CPUs':<34}{'':>14}{floor:>16.2f}"
        runs = self.runs.get(tree.name, {}).get("fastoci")
        if runs:
            cpu = statistics.median(run.usage.cpu for run in runs)
            wall = _wall(runs)
            yield (
                f"  fastoci: {wall:.2f} s on the wall, {wall / floor:.2f} x the floor; "
                f"{cpu:.2f} s of CPU, {cpu / sum(needed):.2f} x the work"
            )


def _verdicts(tree: Tree, runs: dict[str, list[Run]]) -> Iterator[str]:
    if "fastoci" not in runs:
        return
    if tree.size < _JUDGED_SIZE or tree.entries < _JUDGED_ENTRIES:
        yield f"  what is wanted is wanted of 1.5 GB and 50,000 entries; {tree.name} is too small to judge by"
        return
    base = _wall(runs["fastoci"])
    for what, prefix, wanted in _WANTED:
        walls = {tool: _wall(of_tool) for tool, of_tool in runs.items() if tool.startswith(prefix)}
        if walls:
            fastest = min(walls, key=lambda tool: walls[tool])
            ratio = walls[fastest] / base
            yield f"  >= {wanted:.0f} x {what}: {ratio:.2f} x ({fastest}): {_met(ratio >= wanted)}"
        else:
            yield f"  >= {wanted:.0f} x {what}: not known, it was not run"
    memory = max(run.usage.memory for run in runs["fastoci"])
    yield f"  peak RSS under 120 MiB: {memory / 2**20:.0f} MiB: {_met(memory < _MEMORY_LIMIT)}"


def _met(met: bool) -> str:
    return "met" if met else "NOT MET"


def _wall(runs: Sequence[Run]) -> float:
    return statistics.median(run.usage.wall for run in runs)


def _machine() -> Iterator[str]:
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    yield (
        f"form: {form()}; {len(os.sched_getaffinity(0))} CPUs ({model}), Linux {platform.release()}, "
        f"load {os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}; outputs in {cache_directory()} "
        f"({_file_system(cache_directory())})"
    )


def _file_system(path: str) -> str:
    found = subprocess.run(["df", "--output=fstype", path], capture_output=True, text=True, check=False)
    return (found.stdout.split() or ["unknown"])[-1]
