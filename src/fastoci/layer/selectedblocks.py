"""The blocks of a selection of a tree's entries: the tree is scanned, and all of the layer is known."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastoci._engine import EngineFault
from fastoci._engine.ahead import ReadAhead
from fastoci.ending import Ending
from fastoci.layer.blocks import BlockReader, SourceFacts
from fastoci.layer.plans import PlanReader, make_plan
from fastoci.threads import Crew
from fastoci.tree.faults import explain
from fastoci.tree.lookup import PlanLookup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from fastoci._engine.table import EntryTable
    from fastoci.tree.policy import TreePolicy
    from fastoci.tree.source import TreeSource

__all__ = ["SelectedBlocks"]


class SelectedBlocks(Ending):
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
        self._path = source.path
        begun = time.thread_time()
        try:
            self.plan = make_plan(table, policy, selection=selection)
        except EngineFault as fault:
            raise explain(fault, source.path) from fault
        self._facts = SourceFacts(
            len(self.plan),
            self.plan.newest_mtime,
            self.plan.owner,
            PlanLookup(self.plan, policy),
            time.perf_counter(),
            warnings,
            {**(timings or {}), "plan": time.thread_time() - begun},
        )
        self._ahead = ReadAhead(self.plan)
        self._crew = Crew(self.stop)

    def begin(self) -> None:
        """Start the thread."""
        self._crew.start("fastoci-ahead", self._ahead.run)

    def end(self) -> None:
        """End the thread, whatever it has come to."""
        self._crew.close()

    @property
    def count(self) -> int:
        """See BlockSource."""
        return self.plan.block_count

    @property
    def tar_size(self) -> int:
        """See BlockSource."""
        return self.plan.tar_size

    def has(self, number: int) -> bool:
        """See BlockSource."""
        return number < self.plan.block_count

    def complete(self) -> bool:
        """See BlockSource."""
        return True

    def reader(self) -> BlockReader:
        """See BlockSource."""
        return PlanReader(self.plan, self._path)

    def facts(self) -> SourceFacts:
        """See BlockSource."""
        return self._facts

    def stop(self) -> None:
        """See BlockSource. What is planned can still be read."""
        self.plan.stop()
