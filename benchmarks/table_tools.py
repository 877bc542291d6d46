"""The tables of tools beside each other: on warm trees, at equal ratio, on cold trees."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from peers_images import ALL
from records import Records, Run, met, wall
from trees import Tree

__all__ = ["cold_table", "levels_table", "packing_table"]

_GB = 1e9

# What is wanted: a tool's name begins with the first, on these trees (all where there are none), at least so many times
# fastoci's time.
_WANTED: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("tar | igzip", ("rootfs",), 2.5),
    ("tar | zstd", ("rootfs",), 2.0),
    ("tar | igzip", ("node",), 1.8),
    ("tar | zstd", ("node",), 1.8),
    ("tar | pigz", (), 4.0),
    ("umoci", (), 4.0),
    ("crane", (), 4.0),
    ("buildah", (), 10.0),
    ("docker", (), 10.0),
)
_WANTED_COLD = 3.0


def packing_table(records: Records) -> Iterator[str]:
    """Yield a table for each tree on which the tools ran."""
    for name, runs in records.packing.items():
        tree = records.trees[name]
        yield from _table(tree, runs, "page cache warm")
        for peer in ALL:
            reason = peer.left_out(name)
            if reason:
                yield f"  {peer.name:<22}left out: {reason}"
            elif peer.name not in runs:
                yield f"  {peer.name:<22}not run"
        yield from _verdicts(tree, runs)
        yield ""
    if records.packing:
        yield "How they were called:"
        for peer in ALL:
            if any(peer.name in runs for runs in records.packing.values()):
                yield f"  {peer.name}: {peer.note}"


def levels_table(records: Records) -> Iterator[str]:
    """Yield the table of levels, by bytes out, and who gives as few bytes in what time."""
    for name, runs in records.levels.items():
        by_size = dict(sorted(runs.items(), key=lambda item: -_size(item[1])))
        yield from _table(records.trees[name], by_size, "levels, by bytes out; page cache warm")
        for tool, of_tool in by_size.items():
            if tool.startswith("fastoci"):
                yield f"  {tool}: {_equal(tool, of_tool, runs)}"


def cold_table(records: Records) -> Iterator[str]:
    """Yield the table of cold trees."""
    for name, runs in records.cold.items():
        tree = records.trees[name]
        ours = {tool: of_tool for tool, of_tool in runs.items() if "empty" not in tool}
        yield from _table(tree, ours, "page cache dropped before each run")
        tools = list(ours)
        if len(tools) == 2:
            ratio = wall(ours[tools[1]]) / wall(ours[tools[0]])
            yield f"  >= {_WANTED_COLD} x {tools[1]}: {ratio:.2f} x: {met(ratio >= _WANTED_COLD)}"


def _table(tree: Tree, runs: dict[str, list[Run]], how: str) -> Iterator[str]:
    more = f" ({tree.detail})" if tree.detail else ""
    yield f"{tree.name}: {tree.size / _GB:.2f} GB in {tree.entries:,} entries{more}, {how}; medians, tools in turn"
    yield (
        f"  {'':<22}{'runs':>5}{'wall s':>8}{'(least-most)':>16}{'x fastoci':>11}{'on disk s':>11}{'x':>6}{'MB/s':>7}"
        f"{'CPU s/GB':>10}{'peak MiB':>10}{'out MB':>9}{'ratio':>7}"
    )
    first = next((tool for tool in sorted(runs) if tool.startswith("fastoci")), None)
    base = wall(runs[first]) if first else None
    base_on_disk = _on_disk(runs[first]) if first else None
    daemons = {peer.name for peer in ALL if peer.has_daemon}
    for tool, of_tool in runs.items():
        walls = [run.usage.wall for run in of_tool]
        seconds = statistics.median(walls)
        cpu = f"{statistics.median(run.usage.cpu for run in of_tool) / max(1, tree.size) * _GB:.2f}"
        memory = f"{max(run.usage.memory for run in of_tool) / 2**20:.0f}"
        if tool in daemons:
            cpu = memory = "-"
        size = _size(of_tool)
        on_disk = _on_disk(of_tool)
        yield (
            f"  {tool:<22}{len(of_tool):>5}{seconds:>8.2f}{f'({min(walls):.2f}-{max(walls):.2f})':>16}"
            f"{f'{seconds / base:.2f}' if base else '-':>11}"
            f"{on_disk:>11.2f}{f'{on_disk / base_on_disk:.2f}' if base_on_disk else '-':>6}"
            f"{tree.size / seconds / 1e6:>7.0f}{cpu:>10}{memory:>10}{size / 1e6:>9.1f}{tree.size / size:>7.2f}"
        )


def _verdicts(tree: Tree, runs: dict[str, list[Run]]) -> Iterator[str]:
    if "fastoci" not in runs:
        return
    base = wall(runs["fastoci"])
    for prefix, names, wanted in _WANTED:
        if names and tree.name not in names:
            continue
        for tool, of_tool in runs.items():
            if tool.startswith(prefix):
                ratio = wall(of_tool) / base
                durable = _on_disk(of_tool) / _on_disk(runs["fastoci"])
                yield f"  >= {wanted} x {tool}: {ratio:.2f} x: {met(ratio >= wanted)}; {durable:.2f} x on the disk"


def _equal(tool: str, of_tool: list[Run], runs: dict[str, list[Run]]) -> str:
    rivals = {
        name: wall(found)
        for name, found in runs.items()
        if not name.startswith("fastoci") and _size(found) <= _size(of_tool)
    }
    if not rivals:
        return "nobody else gives as few bytes"
    fastest = min(rivals, key=lambda name: rivals[name])
    return (
        f"the fastest other that gives no more bytes is {fastest}, in {rivals[fastest] / wall(of_tool):.2f} x the time"
    )


def _on_disk(runs: list[Run]) -> float:
    """Return the median of the seconds until all was written back, which a tool need not have waited for."""
    return statistics.median(run.usage.wall + run.unwritten for run in runs)


def _size(runs: list[Run]) -> float:
    return statistics.median(run.result.size for run in runs)
