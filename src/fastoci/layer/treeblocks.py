"""The blocks of a tree: planned while it is scanned, and rendered while it is planned."""

from __future__ import annotations

import os
import threading
import time
from typing import Self

from fastoci._engine import EngineFault
from fastoci._engine.ahead import ReadAhead
from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci.layer.blocks import BlockReader, SourceFacts
from fastoci.layer.options import BLOCK_SIZE
from fastoci.threads import start_threads
from fastoci.tree.faults import explain
from fastoci.tree.lookup import TableLookup
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import Scan
from fastoci.tree.source import TreeSource

__all__ = ["TreeBlocks"]

_LAST = 2**63 - 1
"""No plan has a block of this number: whoever waits for it waits for the end of the plan."""


class TreeBlocks:
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
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
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

    def __enter__(self) -> Self:
        self._threads = [
            threading.Thread(target=self._make_plan, name="fastoci-plan", daemon=True),
            threading.Thread(target=self._ahead.run, name="fastoci-ahead", daemon=True),
        ]
        try:
            start_threads(self._threads)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

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
        finally:
            self._ended.set()

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
        self._ended.wait()
        if self._error is not None:
            raise self._error
        return False

    def complete(self) -> bool:
        """Wait until all is planned, for those who want to know the end before the beginning. See `has`.

        Returns:
            False: `stop` was called.
        """
        self.has(_LAST)
        return self._facts is not None

    def reader(self) -> BlockReader:
        """Return a renderer."""
        return _PlanReader(Renderer(self.plan), self._path)

    def facts(self) -> SourceFacts | None:
        """See BlockSource."""
        return self._facts if self._ended.is_set() else None

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
