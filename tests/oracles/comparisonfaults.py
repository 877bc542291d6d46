"""Every call of the engine into the C library refused once, while a tree is compared; see oracles/refusing.py.

`python -m oracles.comparisonfaults PLACE SHIM CASES`: the tree PLACE/new with the tree PLACE/old, and with what a layer
of that says. The error is one of ours and names a file of either, or there was no memory; or the layer is what it would
have been.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from fastoci.errors import TreeError
from fastoci.events import discard
from fastoci.images.recording import put_entry
from fastoci.layer import changes
from fastoci.layer.changes import plan_changes
from fastoci.layer.options import LayerOptions
from fastoci.rootfs.limits import Limits, Usage
from fastoci.tar.reader import TarReader
from fastoci.tree import changes as tree_changes
from fastoci.tree.changes import BaseTable, DiffBase, TreeBase
from fastoci.tree.policy import TreePolicy
from fastoci.tree.recorded import RecordedTree
from fastoci.tree.source import TreeSource
from oracles.packing import MemorySink, pack
from oracles.refusing import nothing_left, refuse

POLICY, OPTIONS = TreePolicy(patterns=("*.log",)), LayerOptions(threads=2, compression="none")


class Recorded:
    """A base that a layer tells of."""

    name, place = "a layer", ("a layer",)

    def __init__(self, tar: bytes) -> None:
        self._tar = tar

    @contextmanager
    def open(self, *_: object) -> Iterator[BaseTable]:
        """Read the layer; see DiffBase."""
        tree, usage = RecordedTree(self.name), Usage(Limits())
        reader = TarReader(iter([self._tar]), self.name, usage)
        for entry in reader.entries(lambda piece, at: tree.take(piece, at, 1000)[0]):
            put_entry(tree, reader, entry)
        yield BaseTable(tree.finish(b"", POLICY.patterns), self.name, recorded=True)


def attempt(place: str, base: DiffBase) -> tuple[str, str, bytes]:
    """Compare, and return (outcome, the error's words, the layer); see the module."""
    said, sink = "", MemorySink()
    with nothing_left():
        try:
            with plan_changes(TreeSource(f"{place}/new"), base, POLICY, OPTIONS, discard) as planned:
                planned.pack(sink)
        except TreeError as error:
            outcome, said = type(error).__name__, f"{error.what} | {error.cause}"
            number, path = error.errno, str(error.path)
            traceback.clear_frames(error.__traceback__)
        except MemoryError as error:
            outcome = "MemoryError"
            traceback.clear_frames(error.__traceback__)
        else:
            outcome = "done"
        if outcome not in ("done", "MemoryError"):
            assert path.startswith((f"{place}/new", f"{place}/old")), path
            assert number or outcome == "TreeChangedError"
        assert (sink.committed is not None) == (outcome == "done")
    return outcome, said.replace(place, "PLACE"), bytes(sink.data)


def main() -> None:
    """Run the cases."""
    place = sys.argv[1]
    # Their number decides how many calls there are, and one thread can be refused as well as another.
    changes.SCAN_THREADS = tree_changes.SCAN_THREADS = 2
    bases = (TreeBase(f"{place}/old"), Recorded(pack(f"{place}/old").tar))
    outcome, said, whole = attempt(place, bases[0])
    assert b".wh.gone" in whole, (outcome, said)

    def both(_: bool) -> tuple[str, str]:
        for base in bases:
            outcome, said, data = attempt(place, base)
            if outcome != "done":
                break
            assert data == whole, "it was made, and is another layer"
        return outcome, said

    refuse(both)


if __name__ == "__main__":
    main()
