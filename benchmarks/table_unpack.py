"""The table of unpacking."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from records import Records, met, spread, wall

__all__ = ["unpack_table"]

_OURS = "fastoci unpack"


def unpack_table(records: Records) -> Iterator[str]:
    """Yield how long each tool takes to unpack each tree's layer."""
    for name, runs in records.unpacking.items():
        tree = records.trees[name]
        yield f"unpacking {name}: {tree.size / 1e9:.2f} GB in {tree.entries:,} entries, gzip; tools in turn"
        yield f"  {'':<18}{'runs':>5}{'wall s':>22}{'CPU s':>8}{'us CPU/entry':>14}{'peak MiB':>10}"
        for tool, of_tool in runs.items():
            cpu = statistics.median(run.usage.cpu for run in of_tool)
            memory = max(run.usage.memory for run in of_tool) / 2**20
            yield (
                f"  {tool:<18}{len(of_tool):>5}{spread([run.usage.wall for run in of_tool]):>22}{cpu:>8.2f}"
                f"{cpu / tree.entries * 1e6:>14.0f}{memory:>10.0f}"
            )
        for tool, of_tool in runs.items():
            if tool != _OURS and _OURS in runs:
                ratio = wall(of_tool) / wall(runs[_OURS])
                yield f"  faster than {tool}: {ratio:.2f} x: {met(ratio > 1)}"
        yield ""
