"""The blocks of a selection of a tree's entries: the tree is scanned, and all of the layer is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastoci._engine import EngineFault
from fastoci.layer.blocks import SourceFacts
from fastoci.layer.plans import PlanBlocks, make_plan
from fastoci.tree.faults import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from fastoci._engine.table import EntryTable
    from fastoci.tree.policy import TreePolicy
    from fastoci.tree.source import TreeSource

__all__ = ["SelectedBlocks"]


class SelectedBlocks(PlanBlocks):
    """The blocks of a selection; a `BlockSource`.

    A context manager, which runs the thread that reads ahead; the table is the caller's to close.

    Args:
        table: Of the tree, scanned to its end. It may be the table of other selections, too.
        selection: Numbers of its entries, 32 bits each; see `Plan`.
        policy: What becomes of them.
        source: Where the tree is, for messages.
        warnings: What the user should hear.
        timings: Seconds of CPU that it took until now, by stage.

    Raises:
        TreeError: An entry has no place in a layer.
    """

    def __init__(
        self,
        table: EntryTable,
        selection: Buffer,
        policy: TreePolicy,
        source: TreeSource,
        *,
        warnings: tuple[str, ...] = (),
        timings: Mapping[str, float] | None = None,
    ) -> None:
        begun = time.thread_time()
        try:
            plan = make_plan(table, policy, selection=selection)
        except EngineFault as fault:
            raise explain(fault, source.path) from fault
        super().__init__(plan, policy, source.path)
        self._facts = self._known(warnings, {**(timings or {}), "plan": time.thread_time() - begun})

    def begin(self) -> None:
        """Start the thread."""
        self._crew.start("fastoci-ahead", self._ahead.run)

    def has(self, number: int) -> bool:
        """See BlockSource."""
        return number < self.plan.block_count

    def complete(self) -> bool:
        """See BlockSource."""
        return True

    def facts(self) -> SourceFacts:
        """See BlockSource."""
        return self._facts
