"""Packing and pushing in one pass against one after the other, over a line of limited rate.

    python benchmarks/study_onepass.py rates [MB/s ...]     `build --push` against `build -o` and `push`, at 50 and
                                                            at 100 MB/s
    python benchmarks/study_onepass.py whole                the same, to a registry that wants each blob as a
                                                            whole, without a line between
    FASTOCI_BENCH=short python benchmarks/...               over a small tree

The tree is `mixed`. Server, line and client share this machine's CPUs, so that packing is slower while something is
sent than it is alone.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

import network
import trees
from launch import Usage
from network import FASTOCI, MIB
from records import machine

_ROUNDS = int(os.environ.get("FASTOCI_BENCH_ROUNDS") or 3)


def main() -> None:
    what, *rates = sys.argv[1:] or ["rates"]
    tree = trees.tree("mixed", trees.form())
    directory = tempfile.mkdtemp(prefix="onepass-", dir=trees.cache_directory())
    try:
        with network.server(os.environ.get("SERVER", "registry")) as registry:
            if what == "rates":
                for rate in map(float, rates or ["50", "100"]):
                    over_a_line(registry, tree.path, directory, rate * 1e6)
            else:
                as_a_whole(registry, tree.path, directory)
    finally:
        shutil.rmtree(directory)
    print(machine())


def over_a_line(registry: network.Registry, tree: str, directory: str, rate: float) -> None:
    """Compare both ways at one rate, in turn, and print a line for each."""
    found: dict[str, list[Usage]] = {"pack": [], "send": [], "pack, then send": [], "one pass": []}
    with network.Line(registry.host, rate=rate) as line:
        for turn in range(_ROUNDS):
            layout = f"{directory}/layout-{turn}"
            pack = run(directory, "build", tree, "-o", f"oci:{layout}:1")
            before = line.sent
            send = run(directory, "push", f"oci:{layout}:1", f"{line.host}/two/{rate:.0f}-{turn}:1")
            size = line.sent - before
            shutil.rmtree(layout)
            once = run(directory, "build", tree, "-t", f"{line.host}/one/{rate:.0f}-{turn}:1", "--push")
            for name, usage in (("pack", pack), ("send", send), ("one pass", once)):
                found[name].append(usage)
            both = Usage(pack.wall + send.wall, pack.cpu + send.cpu, max(pack.memory, send.memory))
            found["pack, then send"].append(both)
    print(f"\nmixed, {size / MIB:,.0f} MiB over a line of {rate / 1e6:.0f} MB/s, which take {size / rate:.1f} s")
    table(found)


def as_a_whole(registry: network.Registry, tree: str, directory: str) -> None:
    """Compare both ways where nothing can be sent before the digest is known."""
    found: dict[str, list[Usage]] = {"one pass": [], "pack, then send": []}
    for turn in range(_ROUNDS):
        whole = ("--upload", "monolithic")
        found["one pass"].append(
            run(directory, "build", tree, "-t", f"{registry.host}/again/{turn}:1", "--push", *whole)
        )
        layout = f"{directory}/layout-{turn}"
        pack = run(directory, "build", tree, "-o", f"oci:{layout}:1")
        send = run(directory, "push", f"oci:{layout}:1", f"{registry.host}/stored/{turn}:1", *whole)
        shutil.rmtree(layout)
        found["pack, then send"].append(
            Usage(pack.wall + send.wall, pack.cpu + send.cpu, max(pack.memory, send.memory))
        )
    print("\nmixed, each blob in one request")
    table(found)


def run(directory: str, *arguments: str) -> Usage:
    """Run fastoci as if it had never run before."""
    shutil.rmtree(f"{directory}/state", ignore_errors=True)
    return network.run([FASTOCI, *arguments, "-q"], directory)


def table(found: dict[str, list[Usage]]) -> None:
    """Print medians."""
    print(f"  {'':<20}{'wall s':>8}{'(least-most)':>16}{'CPU s':>8}{'peak MiB':>10}")
    for name, runs in found.items():
        walls = sorted(one.wall for one in runs)
        print(
            f"  {name:<20}{walls[len(walls) // 2]:>8.2f}{f'({walls[0]:.2f}-{walls[-1]:.2f})':>16}"
            f"{sorted(one.cpu for one in runs)[len(runs) // 2]:>8.2f}{max(one.memory for one in runs) / MIB:>10.0f}"
        )


if __name__ == "__main__":
    main()
