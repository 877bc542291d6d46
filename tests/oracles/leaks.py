"""Packs a tree over and over in a process of its own, and tells what has grown: `python -m oracles.leaks HOW TREE`.

In the process of the tests what other tests left in the allocator's hands would decide. What is counted is what the C
library's allocator has handed out and not got back, with PYTHONMALLOC=malloc all of Python's objects among it: the
resident size would tell of fragments and of pages kept for later as well.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
from itertools import pairwise

from fastoci.errors import TreeError
from fastoci.events import discard
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.spec.digest import Digest
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.longform import times
from oracles.packing import pack_changed

WARM_UP = 40
STRETCHES = 3
TIMES = times(100, 334)
"""How often the tree is packed in each stretch."""


class Nowhere:
    """A blob sink that keeps nothing."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""

    def commit(self, digest: Digest) -> None:
        """Take the digest."""


def pack_well(tree: str) -> None:
    """Pack with all that makes tables: patterns, a destination."""
    policy = TreePolicy(patterns=("1*", "!12"))
    pack_tree(TreeSource(tree, "/opt/app"), policy, LayerOptions(threads=2), Nowhere(), discard)


def pack_badly(tree: str) -> None:
    """Fail in the scan, over `7/.wh.x`, and then in the rendering, over `3/3`."""
    victim = os.path.join(tree, "3", "3")

    def change() -> None:
        with open(victim, "ab") as file:
            file.write(b"x")

    failed = 0
    for policy in (TreePolicy(), TreePolicy(whiteouts="keep")):
        try:
            pack_changed(tree, change, policy=policy)
        except TreeError:
            failed += 1
    assert failed == 2


class MallInfo(ctypes.Structure):
    """`struct mallinfo2` (mallinfo(3))."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def allocated() -> int:
    """Return the bytes that the allocator has handed out: those of its arenas, and pieces mapped on their own."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = MallInfo
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


def main() -> None:
    """Work, and print what has grown since the first rounds as JSON."""
    how, tree = sys.argv[1:]
    work = {"well": pack_well, "badly": pack_badly}[how]
    for _ in range(WARM_UP):
        work(tree)
    gc.collect()
    descriptors = sorted(os.listdir("/proc/self/fd"))
    marks = [allocated()]
    for _ in range(STRETCHES):
        for _ in range(TIMES):
            work(tree)
        gc.collect()
        marks.append(allocated())
    # What is left behind each time grows in every stretch; what is kept now and then, by whatever happens to be at work
    # when it is looked, comes and goes by some kilobytes.
    grown = min(after - before for before, after in pairwise(marks))
    same = sorted(os.listdir("/proc/self/fd")) == descriptors
    json.dump({"memory": grown, "same descriptors": same, "threads": threading.active_count()}, sys.stdout)


if __name__ == "__main__":
    main()
