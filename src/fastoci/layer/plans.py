"""The engine's plan in Python's words: made as a policy has it, its blocks read with their faults explained."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from fastoci._engine import EngineFault
from fastoci._engine.ahead import ReadAhead
from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci.ending import Ending
from fastoci.layer.blocks import BlockReader, SourceFacts
from fastoci.layer.options import BLOCK_SIZE
from fastoci.threads import Crew
from fastoci.tree.faults import explain
from fastoci.tree.lookup import PlanLookup
from fastoci.tree.policy import TreePolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from fastoci._engine.table import EntryTable
    from fastoci.tree.scan import Scan

__all__ = ["PlanBlocks", "PlanReader", "make_plan", "warnings_of"]


def make_plan(
    table: EntryTable, policy: TreePolicy, *, scan: Scan | None = None, selection: Buffer | None = None
) -> Plan:
    """Return the plan of a table, or of a selection of it. See `Plan`.

    Args:
        table: What was found.
        policy: What becomes of it.
        scan: What fills the table meanwhile.
        selection: The numbers of its entries.
    """
    return Plan(
        table,
        block_size=BLOCK_SIZE,
        uid=-1 if policy.uid is None else policy.uid,
        gid=-1 if policy.gid is None else policy.gid,
        mtime_limit=policy.mtime_limit,
        mtime=policy.mtime,
        modes=policy.modes(),
        scanner=None if scan is None else scan.scanner,
        selection=selection,
    )


def warnings_of(table: EntryTable) -> tuple[str, ...]:
    """Return what the user should hear of a scan that has ended."""
    sockets = table.sockets
    if not sockets:
        return ()
    first = os.fsdecode(table.first_socket or b"")
    others = f" and {sockets - 1:,} more" if sockets > 1 else ""
    return (f"skipped the socket {first}{others}: a layer cannot hold sockets",)


class PlanReader:
    """Makes blocks of a plan for one thread: a `BlockReader`.

    Args:
        plan: The plan.
        source: The path of the tree, for messages.
    """

    def __init__(self, plan: Plan, source: str) -> None:
        self._renderer = Renderer(plan)
        self._source = source

    def read(self, number: int, buffer: memoryview) -> int:
        """See BlockReader."""
        try:
            return self._renderer.render(number, buffer)
        except EngineFault as fault:
            raise explain(fault, self._source) from fault

    def close(self) -> None:
        """See BlockReader."""
        self._renderer.close()


class PlanBlocks(Ending):
    """What every plan's blocks have in common: most of a `BlockSource`.

    Args:
        plan: The plan.
        policy: What it was made by.
        source: The path of the tree, for messages.
    """

    def __init__(self, plan: Plan, policy: TreePolicy, source: str) -> None:
        self.plan = plan
        self._policy = policy
        self._path = source
        self._ahead = ReadAhead(plan)
        self._crew = Crew(self.stop)

    def end(self) -> None:
        """End the threads, whatever they have come to."""
        self._crew.close()

    @property
    def count(self) -> int:
        """See BlockSource."""
        return self.plan.block_count

    @property
    def tar_size(self) -> int:
        """See BlockSource."""
        return self.plan.tar_size

    def reader(self) -> BlockReader:
        """See BlockSource."""
        return PlanReader(self.plan, self._path)

    def stop(self) -> None:
        """See BlockSource. What is planned can still be read."""
        self.plan.stop()

    def _known(self, warnings: tuple[str, ...], timings: Mapping[str, float]) -> SourceFacts:
        """Return the facts of a plan that is complete."""
        return SourceFacts(
            len(self.plan),
            self.plan.newest_mtime,
            self.plan.owner,
            PlanLookup(self.plan, self._policy),
            time.perf_counter(),
            warnings,
            timings,
        )
