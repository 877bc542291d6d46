"""What a tree changes of a base: which of its entries are in the layer that makes the tree of the base.

The comparison is the engine's (ext/fastoci/_engine/comparison.pyx has its rules). Here is what it is given, the threads
that compare the bytes of files, and the words for what goes wrong.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from fastoci._engine import EngineFault
from fastoci._engine.comparison import Comparison
from fastoci._engine.contents import ContentComparer
from fastoci.ending import ending_context
from fastoci.errors import TreeError
from fastoci.threads import Crew
from fastoci.tree.faults import explain
from fastoci.tree.filedigest import FileDigest, digest_of
from fastoci.tree.scan import SCAN_THREADS, start_scan
from fastoci.tree.source import TreeSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fastoci._engine.table import EntryTable
    from fastoci.tree.ancestors import DirectoryLookup
    from fastoci.tree.policy import TreePolicy

__all__ = ["BaseTable", "DiffBase", "TreeBase", "find_changes"]

_PIECE = 1 << 20  # bytes of a file, or of several, that are hashed at a time


@dataclass(frozen=True, slots=True)
class BaseTable:
    """What a base holds.

    Args:
        table: Complete.
        path: Where the tree is, for messages.
        recorded: Whether it is what layers say: no policy touches it, and files are known by the digest of their bytes.
    """

    table: EntryTable
    path: str
    recorded: bool = False


class DiffBase(Protocol):
    """What a tree is compared with."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def place(self) -> tuple[str, ...]:
        """Which one it is: see `place_of`."""

    def open(
        self, source: TreeSource, policy: TreePolicy, earlier: Sequence[DirectoryLookup]
    ) -> AbstractContextManager[BaseTable]:
        """Find out what it holds, as long as the context lasts.

        Args:
            source: The tree that is compared with it.
            policy: What becomes of what is found there.
            earlier: The layers below.

        Raises:
            FastociError: It cannot be read.
        """


@dataclass(frozen=True, slots=True)
class TreeBase:
    """A directory: a tree as it was."""

    path: str

    @property
    def name(self) -> str:
        """What to call it."""
        return self.path

    @property
    def place(self) -> tuple[str, ...]:
        """Which one it is."""
        return ("tree", os.path.realpath(self.path))

    @ending_context
    def open(self, source: TreeSource, policy: TreePolicy, earlier: Sequence[DirectoryLookup]) -> Iterator[BaseTable]:
        """Scan it, as the tree itself is scanned. See DiffBase."""
        with (
            start_scan(TreeSource(self.path, source.dest), policy, SCAN_THREADS, earlier) as scan,
            closing(scan.table),
        ):
            scan.finish()
            yield BaseTable(scan.table, self.path)


def find_changes(table: EntryTable, base: BaseTable, policy: TreePolicy, path: str) -> bytes:
    """Return which entries of a tree are in the layer that makes it of a base: numbers for `Plan`.

    Args:
        table: Of the tree, scanned to its end. It gets the whiteouts of what is gone.
        base: What the base holds.
        policy: What becomes of both.
        path: Where the tree is, for messages.

    Raises:
        TreeError: A file of either cannot be read, or has changed since it was scanned.
    """
    for one, where in ((table, path), (base.table, base.path)):
        if not one.is_directory:
            raise TreeError(f"cannot compare {where}", path=where, cause="it is no directory any more")
        one.arrange()
    comparison = Comparison(
        table,
        base.table,
        uid=-1 if policy.uid is None else policy.uid,
        gid=-1 if policy.gid is None else policy.gid,
        mtime_limit=policy.mtime_limit,
        mtime=policy.mtime,
        modes=policy.modes(),
        recorded=base.recorded,
        # What the patterns leave out is in neither table, and is not to go with the rest of its directory.
        may_hide=not policy.patterns,
    )
    comparison.run()
    _compare_contents(comparison, _hash_files if base.recorded else ContentComparer.run, path, base.path)
    return comparison.selection()


def _compare_contents(
    comparison: Comparison, work: Callable[[ContentComparer], None], path: str, base_path: str
) -> None:
    """Compare the bytes of files in threads, as many as scan: on a cold disk they wait for it."""
    comparers = [ContentComparer(comparison) for _ in range(min(SCAN_THREADS, comparison.pair_count))]
    failures: list[BaseException] = []

    def run(comparer: ContentComparer) -> None:
        try:
            work(comparer)
        except BaseException as error:  # carried to the thread that waits, and raised there
            failures.append(error)
            comparison.stop()

    with Crew(comparison.stop) as crew:
        for number, comparer in enumerate(comparers):
            crew.start(f"fastoci-compare-{number}", partial(run, comparer))
        crew.join()
    if failures:
        raise failures[0]
    for comparer in comparers:
        for reader, where in ((comparer.files, path), (comparer.base_files, base_path)):
            try:
                reader.check()
            except EngineFault as fault:
                raise explain(fault, where) from fault


def _hash_files(comparer: ContentComparer) -> None:
    piece = memoryview(bytearray(_PIECE))
    while True:
        while small := comparer.read_small(piece):
            comparer.end_small(digest_of((piece[start:end], zeros) for start, end, zeros in small))
        if not comparer.begin():
            return
        digest, size = FileDigest(), 1
        while size:
            digest.skip(comparer.skip())
            size = comparer.read(piece)
            digest.update(piece[:size])
        comparer.end(digest.digest())
