"""The engine's plan in Python's words: made as a policy has it, read with its faults explained."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastoci._engine import EngineFault
from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci.layer.options import BLOCK_SIZE
from fastoci.tree.faults import explain
from fastoci.tree.policy import TreePolicy

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from fastoci._engine.table import EntryTable
    from fastoci.tree.scan import Scan

__all__ = ["PlanReader", "make_plan", "warnings_of"]


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
