"""The blocks of a tree: planned while it is scanned, and rendered while it is planned."""

from __future__ import annotations

import os
import threading
import time

from fastoci._engine import EngineFault
from fastoci._engine.ahead import ReadAhead
from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci.ending import Ending
from fastoci.layer.blocks import BlockReader, SourceFacts
from fastoci.layer.options import BLOCK_SIZE
from fastoci.threads import Crew
from fastoci.tree.faults import explain
from fastoci.tree.lookup import TableLookup
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import Scan
from fastoci.tree.source import TreeSource

__all__ = ["TreeBlocks"]


class TreeBlocks(Ending):
    """The blocks of a tree that is scanned and planned meanwhile.

    A context manager, which runs the threads that plan and read ahead; the scan is the caller's to start.

    Args:
        scan: The scan.
        policy: What becomes of what it finds.
        source: Where the tree is, for messages.
    """

    def __init__(self, scan: Scan, policy: TreePolicy, source: TreeSource) -> None:
        self._scan = scan
        self._policy = policy
        self._path = source.path
        self._error: BaseException | None = None
        self._facts: SourceFacts | None = None
        self._planner: threading.Thread | None = None
        self._crew = Crew(self.stop)
        self.plan = Plan(
            scan.table,
            block_size=BLOCK_SIZE,
            uid=-1 if policy.uid is None else policy.uid,
            gid=-1 if policy.gid is None else policy.gid,
            mtime_limit=policy.mtime_limit,
            mtime=policy.mtime,
            modes=_modes(policy),
            scanner=scan.scanner,
        )
        self._ahead = ReadAhead(self.plan)

    def begin(self) -> None:
        """Start the threads."""
        self._planner = self._crew.start("fastoci-plan", self._make_plan)
        self._crew.start("fastoci-ahead", self._ahead.run)

    def end(self) -> None:
        """End the threads, whatever they have come to."""
        self._crew.close()

    def _make_plan(self) -> None:
        try:
            complete = self.plan.run()
            planning = time.thread_time()
            self._scan.finish()
            if complete:
                self._facts = SourceFacts(
                    len(self._scan.table),
                    self.plan.newest_mtime,
                    self.plan.owner,
                    TableLookup(self._scan.table, self._policy),
                    time.perf_counter(),
                    _warnings(self._scan),
                    {"scan": self._scan.seconds, "plan": planning},
                )
        except EngineFault as fault:
            self._error = explain(fault, self._path)
            self._error.__cause__ = fault
        except BaseException as error:  # carried to whoever waits for a block
            self._error = error

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

    def reader(self) -> BlockReader:
        """Return a renderer."""
        return _PlanReader(Renderer(self.plan), self._path)

    def facts(self) -> SourceFacts | None:
        """See BlockSource."""
        return self._facts

    def stop(self) -> None:
        """See BlockSource. What is planned can still be read."""
        self.plan.stop()
        self._scan.scanner.stop()


def _warnings(scan: Scan) -> tuple[str, ...]:
    sockets = scan.table.sockets
    if not sockets:
        return ()
    first = os.fsdecode(scan.table.first_socket or b"")
    others = f" and {sockets - 1:,} more" if sockets > 1 else ""
    return (f"skipped the socket {first}{others}: a layer cannot hold sockets",)


class _PlanReader:
    def __init__(self, renderer: Renderer, source: str) -> None:
        self._renderer = renderer
        self._source = source

    def read(self, number: int, buffer: memoryview) -> int:
        try:
            return self._renderer.render(number, buffer)
        except EngineFault as fault:
            raise explain(fault, self._source) from fault

    def close(self) -> None:
        self._renderer.close()


def _modes(policy: TreePolicy) -> bytes | None:
    if policy.chmod is None:
        return None
    from fastoci.tree.chmod import mode_table  # not at the top: few builds change modes

    return mode_table(policy.chmod)
