"""Scanning a directory: from a source and a policy to a table of entries."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from fastoci._engine import EngineFault
from fastoci._engine.scanner import Scanner
from fastoci._engine.table import EntryTable
from fastoci.errors import TreeError
from fastoci.threads import start_threads
from fastoci.tree.ancestors import DirectoryLookup, place
from fastoci.tree.faults import explain
from fastoci.tree.patterns import compile_patterns
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource

__all__ = ["scan_tree"]

_SCAN_THREADS_MAX = 8


def scan_tree(
    source: TreeSource, policy: TreePolicy, threads: int, earlier: Sequence[DirectoryLookup] = ()
) -> EntryTable:
    """Return the table of every entry beneath a source, placed at its destination.

    Args:
        source: A directory and its place in the layer.
        policy: Which extended attributes and names to keep, and what to leave out.
        threads: How many threads may scan, at least 1.
        earlier: The layers below, first to last: a destination's ancestors are taken from them.

    Raises:
        TreeError: There is no such directory, it cannot be read, or it holds what a layer cannot.
        UsageError: A pattern has no meaning, or the destination leads through a file of an earlier layer.
    """
    patterns = compile_patterns(policy.patterns)
    ancestors = place(source, earlier, policy.mtime_limit)
    root = _open_root(source.path)
    try:
        table = EntryTable(os.fsencode(source.path), root)
    finally:
        os.close(root)
    scanner = Scanner(table, patterns, with_xattrs=policy.xattrs, keep_whiteouts=policy.whiteouts == "keep")
    _run(scanner, max(1, min(threads, _SCAN_THREADS_MAX)))
    try:
        scanner.finish()
    except EngineFault as fault:
        raise explain(fault, source.path) from fault
    for above in ancestors[:-1]:
        table.adopt_ancestor(above.name, above.mode, above.uid, above.gid, above.mtime, dict(above.xattrs))
    for place_of_root in ancestors[-1:]:
        table.place_root(place_of_root.name)
        if place_of_root.known:
            table.restate_root(
                place_of_root.mode,
                place_of_root.uid,
                place_of_root.gid,
                place_of_root.mtime,
                dict(place_of_root.xattrs),
            )
    return table


def _open_root(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise TreeError(
            f"there is no directory {path}", path=path, cause=_said(error), hint="check the path", errno=error.errno
        ) from error
    except NotADirectoryError as error:
        raise TreeError(
            f"{path} is neither a directory nor a tar archive", path=path, cause=_said(error), errno=error.errno
        ) from error
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        raise TreeError(f"cannot open the directory {path}", path=path, cause=_said(error), errno=number) from error


def _said(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).lower()


def _run(scanner: Scanner, threads: int) -> None:
    """Run the scan in threads of its own: they may get working directories of their own, so none is the caller's."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            scanner.run()
        except BaseException as error:  # carried to the caller's thread and raised there
            failures.append(error)

    workers = [threading.Thread(target=work, name=f"fastoci-scan-{number}", daemon=True) for number in range(threads)]
    try:
        start_threads(workers)
        for worker in workers:
            worker.join()
    except BaseException:
        scanner.stop()
        raise
    finally:
        for worker in workers:
            if worker.ident is not None:
                worker.join()
    if failures:
        raise failures[0]
