"""What the benchmarks found, and the order of the tables made of it at the end of the run."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from launch import Usage
from model import Layer
from peers import Result
from primitives import Rates
from trees import Tree, cache_directory, form

__all__ = ["Limits", "Records", "Run", "blank", "machine", "met", "spread", "wall"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one tool.

    Args:
        usage: What it took.
        result: What it made.
        unwritten: Seconds from its end until what it wrote was on the disk.
    """

    usage: Usage
    result: Result
    unwritten: float = 0.0


@dataclass(slots=True)
class Limits:
    """What was found of one tree beside the limit, each list a round an element.

    Args:
        rates: What one core reached.
        empty: Builds of an empty tree, by how they were run.
        builds: Builds of the tree, by how they were run: (cores, threads).
    """

    rates: list[Rates] = field(default_factory=list)
    empty: dict[tuple[int, int], list[Run]] = field(default_factory=dict)
    builds: dict[tuple[int, int], list[Run]] = field(default_factory=dict)

    @property
    def layer(self) -> Layer:
        """The layer that was made, from what the first build said of it."""
        (facts,) = next(iter(self.builds.values()))[0].result.metadata["fastoci.layers"]
        return Layer(facts["tar_size"], facts["size"], facts["entries"])


@dataclass(slots=True)
class Records:
    """Everything found in one run of pytest."""

    trees: dict[str, Tree] = field(default_factory=dict)
    packing: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    levels: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    cold: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    unpacking: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    limits: dict[str, Limits] = field(default_factory=dict)
    memory: list[tuple[Tree, int, int, int]] = field(default_factory=list)
    """Tree, threads, entries of its layer, peak of memory in bytes."""
    start_up: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of CPU of short commands, by what they are."""
    left_out: list[str] = field(default_factory=list)
    """What was not run at all, and why."""

    def add(self, table: dict[str, dict[str, list[Run]]], tree: Tree, tool: str, run: Run) -> None:
        """Keep a run in one of the tables of tools."""
        self.trees[tree.name] = tree
        table.setdefault(tree.name, {}).setdefault(tool, []).append(run)


def machine() -> str:
    """Say what this is run on."""
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), model)
    return (
        f"form: {form()}; {len(os.sched_getaffinity(0))} CPUs ({model}), Linux {platform.release()}, "
        f"load {os.getloadavg()[0]:.1f} at the end; Python {platform.python_version()}; outputs in {cache_directory()} "
        f"({_file_system(cache_directory())})"
    )


def met(reached: bool) -> str:
    """Say whether what was wanted was reached; in the short form, whose trees are too small to judge by, nothing."""
    if form() == "short":
        return "not judged in the short form"
    return "met" if reached else "NOT MET"


def wall(runs: Sequence[Run]) -> float:
    """Return the median of the seconds on the wall."""
    return statistics.median(run.usage.wall for run in runs)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return median, least and most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def blank(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines, with an empty one before them where there are any."""
    for number, line in enumerate(lines):
        if number == 0:
            yield ""
        yield line


def _file_system(path: str) -> str:
    found = subprocess.run(["df", "--output=fstype", path], capture_output=True, text=True, check=False)
    return (found.stdout.split() or ["unknown"])[-1]
