"""Scanning a source: from it and a policy to a table of entries, which others may read close behind."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence

from fastoci._engine import EngineFault
from fastoci._engine.scanner import Scanner
from fastoci._engine.table import EntryTable
from fastoci.ending import Ending, OpenFile
from fastoci.errors import FastociError, TreeError, reason
from fastoci.threads import Crew
from fastoci.tree.ancestors import Directory, DirectoryLookup, place, place_file
from fastoci.tree.faults import explain
from fastoci.tree.patterns import compile_patterns
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource

__all__ = ["SCAN_THREADS", "Scan", "scan_tree", "start_scan"]

SCAN_THREADS = max(2, min(8, len(os.sched_getaffinity(0))))
"""How many threads scan a tree that is in the page cache: more than there are CPUs for get in each other's way."""

COLD_SCAN_THREADS = 32
"""How many scan one that is not: each waits for the disk, and as many waits go on at once."""


class Scan(Ending):
    """A scan at work, in threads of its own: each may get a working directory of its own, so none is the caller's.

    A context manager: leaving it stops the scan, if it still is at work, and joins the threads; leaving it by an error
    also closes the table.

    Args:
        table: The table to fill.
        scanner: What fills it.
        threads: How many threads scan at first.
        path: The source's path, for messages.
    """

    def __init__(self, table: EntryTable, scanner: Scanner, threads: int, path: str) -> None:
        self.table = table
        self.scanner = scanner
        self._path = path
        self._failures: list[BaseException] = []
        self._seconds: list[float] = []
        self._threads = threads
        self._crew = Crew(scanner.stop)
        self._helpers = Crew(scanner.stop)  # of the one thread that asked for them
        self._beginning = threading.Lock()  # no helper takes the place of a thread that must be

    @property
    def seconds(self) -> float:
        """The CPU time of the threads that have ended, in seconds."""
        return sum(self._seconds)

    def _work(self) -> None:
        self._guard(self._scan_and_ask)

    def _scan_and_ask(self) -> None:
        if not self.scanner.run(may_ask=True):
            return
        # They help; without them it takes longer.
        with self._beginning, contextlib.suppress(FastociError):
            for number in range(self._threads, COLD_SCAN_THREADS):
                self._helpers.start(f"fastoci-scan-{number}", lambda: self._guard(self.scanner.run))
        self.scanner.run()

    def _guard(self, scan: Callable[[], object]) -> None:
        try:
            scan()
        except BaseException as error:  # carried to whoever finishes the scan and raised there
            self._failures.append(error)
        finally:
            self._seconds.append(time.thread_time())

    def begin(self) -> None:
        """Start the threads."""
        with self._beginning:
            for number in range(self._threads):
                self._crew.start(f"fastoci-scan-{number}", self._work)

    def end(self) -> None:
        """End the scan within a directory's time, whatever it has come to."""
        # In this order: when those have ended that may ask for help, nobody starts more of them.
        self._crew.close()
        self._helpers.close()
        if self.failed:
            # The error's traceback may keep the table for a while.
            self.table.close()

    def finish(self) -> None:
        """Wait for the end of the scan. Afterwards the table holds every entry and the counts.

        Raises:
            TreeError: Something could not be read, or cannot be in a layer.
        """
        self._crew.join()
        self._helpers.join()
        if self._failures:
            raise self._failures[0]
        try:
            self.scanner.finish()
        except EngineFault as fault:
            raise explain(fault, self._path) from fault


def start_scan(source: TreeSource, policy: TreePolicy, threads: int, earlier: Sequence[DirectoryLookup] = ()) -> Scan:
    """Return a scan of a source, placed at its destination, that begins when it is entered.

    Args:
        source: A directory, or one file, and its place in the layer.
        policy: Which extended attributes and names to keep, and what to leave out; of one file, nothing is.
        threads: How many threads scan, at least 1; more where the tree is not in the page cache.
        earlier: The layers below, first to last: a destination's ancestors are taken from them.

    Raises:
        TreeError: There is no such directory or file, or it cannot be opened.
        UsageError: A pattern has no meaning, or the destination leads through a file of an earlier layer.
    """
    patterns = compile_patterns(policy.patterns)
    root, is_file = _open_root(source)
    with root:
        if is_file:
            name: bytes | None
            above, name = place_file(source, earlier, policy.mtime_limit)
        else:
            above, name = place(source, earlier, policy.mtime_limit), None
        table = _new_table(source, root.fd)
    if name is None:
        _place_root(table, above)
    else:
        _adopt(table, above)
        table.place_file(name)
    scanner = Scanner(
        table,
        patterns,
        with_xattrs=policy.xattrs,
        keep_whiteouts=policy.whiteouts == "keep",
        one_file_system=policy.one_file_system,
    )
    return Scan(table, scanner, threads, source.path)


def _new_table(source: TreeSource, root: int) -> EntryTable:
    try:
        return EntryTable(os.fsencode(source.path), root)
    except OSError as error:
        raise _cannot_open(source.path, error) from error


def _place_root(table: EntryTable, placed: Sequence[Directory]) -> None:
    _adopt(table, placed[:-1])
    for root in placed[-1:]:
        table.place_root(root.name)
        if root.known:
            table.restate_root(root.mode, root.uid, root.gid, root.mtime, dict(root.xattrs))


def _adopt(table: EntryTable, above: Sequence[Directory]) -> None:
    for one in above:
        table.adopt_ancestor(one.name, one.mode, one.uid, one.gid, one.mtime, dict(one.xattrs))


def scan_tree(
    source: TreeSource, policy: TreePolicy, threads: int, earlier: Sequence[DirectoryLookup] = ()
) -> EntryTable:
    """Return the table of every entry beneath a source: a whole scan. See `start_scan`.

    Raises:
        TreeError: The tree cannot be read, or holds what a layer cannot.
        UsageError: See `start_scan`.
    """
    with start_scan(source, policy, threads, earlier) as scan:
        scan.finish()
    return scan.table


def _open_root(source: TreeSource) -> tuple[OpenFile, bool]:
    """Return the source's descriptor, and whether it is one file, which only a source with a destination may be."""
    path = source.path
    try:
        return _opened(path, may_be_file=source.dest != "/")
    except FileNotFoundError as error:
        raise TreeError(
            f"there is no directory {path}", path=path, cause=reason(error), hint="check the path", errno=error.errno
        ) from error
    except NotADirectoryError as error:
        raise TreeError(
            f"{path} is neither a directory nor a tar archive", path=path, cause=reason(error), errno=error.errno
        ) from error
    except (OSError, ValueError) as error:
        raise _cannot_open(path, error) from error


def _opened(path: str, *, may_be_file: bool) -> tuple[OpenFile, bool]:
    try:
        return OpenFile(path, os.O_RDONLY | os.O_DIRECTORY), False
    except NotADirectoryError:
        if not may_be_file:
            raise
    # It may have become another thing by now, for which nobody waits.
    root = OpenFile(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(root.fd).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a directory, and not a regular file", path)
    return root, True


def _cannot_open(path: str, error: OSError | ValueError) -> TreeError:
    number = error.errno if isinstance(error, OSError) else None
    what = "file" if os.path.isfile(path) else "directory"
    hint = "run as its owner or as root" if number in (errno.EACCES, errno.EPERM) else None
    return TreeError(f"cannot open the {what} {path}", path=path, cause=reason(error), hint=hint, errno=number)
