"""The blocks of a tree: planned while it is scanned, and rendered while it is planned."""

from __future__ import annotations

import threading
import time

from fastoci._engine import EngineFault
from fastoci.layer.blocks import SourceFacts
from fastoci.layer.plans import PlanBlocks, make_plan, warnings_of
from fastoci.tree.faults import explain
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import Scan
from fastoci.tree.source import TreeSource

__all__ = ["TreeBlocks"]


class TreeBlocks(PlanBlocks):
    """The blocks of a tree that is scanned and planned meanwhile.

    A context manager, which runs the threads that plan and read ahead; the scan is the caller's to start.

    Args:
        scan: The scan.
        policy: What becomes of what it finds.
        source: Where the tree is, for messages.
    """

    def __init__(self, scan: Scan, policy: TreePolicy, source: TreeSource) -> None:
        super().__init__(make_plan(scan.table, policy, scan=scan), policy, source.path)
        self._scan = scan
        self._error: BaseException | None = None
        self._facts: SourceFacts | None = None
        self._planner: threading.Thread | None = None

    def begin(self) -> None:
        """Start the threads."""
        self._planner = self._crew.start("fastoci-plan", self._make_plan)
        self._crew.start("fastoci-ahead", self._ahead.run)

    def _make_plan(self) -> None:
        try:
            complete = self.plan.run()
            planning = time.thread_time()
            self._scan.finish()
            if complete:
                self._facts = self._known(warnings_of(self._scan.table), {"scan": self._scan.seconds, "plan": planning})
        except EngineFault as fault:
            self._error = explain(fault, self._path)
            self._error.__cause__ = fault
        except BaseException as error:  # carried to whoever waits for a block
            self._error = error

    def has(self, number: int) -> bool:
        """See BlockSource."""
        if self.plan.wait(number):
            return True
        self._wait()
        return False

    def complete(self) -> bool:
        """Wait until all is planned, for those who want to know the end before the beginning. See `has`.

        Returns:
            False: `stop` was called.
        """
        # Not by the plan's own wait, which is native and hears no Ctrl-C.
        self._wait()
        return self._facts is not None

    def _wait(self) -> None:
        """Wait for the end of the plan, and raise what it failed with."""
        assert self._planner is not None  # noqa: S101 - it was entered
        self._planner.join()
        if self._error is not None:
            raise self._error

    def facts(self) -> SourceFacts | None:
        """See BlockSource."""
        return self._facts

    def stop(self) -> None:
        """See BlockSource. What is planned can still be read."""
        super().stop()
        self._scan.scanner.stop()
