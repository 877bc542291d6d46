"""Every call of the native engine into the C library refused once: run in a process that has faultshim.c preloaded.

`python -m oracles.nativefaults TREE SHIM CASES` packs a tree over and over, each time with another call refused, and
prints as JSON what came of it. CASES is a JSON list of objects: `call`, its name; `error`, the errno, 0 for the end of
a file; `lasting`, whether all calls after it are refused as well; `always`, the errno of other calls by their names,
which are refused every time.

What must hold whatever is refused is asserted here: the error is one of ours and names what it is about, or there was
no memory; or the layer is what it would have been. Nothing is committed after an error, no thread is left, and no
descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import sys
import threading
import time
import traceback
from collections import Counter

from fastoci.errors import TreeError
from fastoci.events import discard
from fastoci.layer import pack
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.spec.digest import Digest
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.longform import times

ALL = 2**62
MOST = times(7, 10_000)  # calls of one name that are refused, spread evenly
# What makes tables in the engine, besides the tree.
POLICY = TreePolicy(patterns=("gone*", "!gone/kept"))
DEST = "/opt/app"


class Shim:
    """The preloaded library."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.faultshim_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_int]
        self._library.faultshim_calls.restype = self._library.faultshim_refusals.restype = ctypes.c_long

    def arm(self, name: str, first: int, last: int, error: int) -> None:
        """Refuse the calls from the first to the last, counted from 1; 0 refuses none."""
        assert self._library.faultshim_arm(name.encode(), first, last, error) == 0, name

    def calls(self, name: str) -> int:
        """Return how many calls there were since it was armed."""
        return int(self._library.faultshim_calls(name.encode()))

    def refusals(self, name: str) -> int:
        """Return how many of them were refused."""
        return int(self._library.faultshim_refusals(name.encode()))


class Sink:
    """A blob sink that keeps the digest alone."""

    committed: Digest | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""

    def commit(self, digest: Digest) -> None:
        """Take the digest."""
        self.committed = digest


def alone() -> None:
    """See the process come down to one thread: of a joined one the kernel may have a little left to do."""
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/task")) > 1:
        assert time.monotonic() < deadline, os.listdir("/proc/self/task")
        os.sched_yield()


def attempt(tree: str, whole: str | None) -> tuple[str, str]:
    """Pack, and return (outcome, the error's words); see the module."""
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    sink = Sink()
    said = ""
    try:
        layer = pack_tree(TreeSource(tree, DEST), POLICY, LayerOptions(threads=2), sink, discard)
    except TreeError as error:
        outcome, said = type(error).__name__, f"{error.what} | {error.cause}"
        number, path = error.errno, error.path
        traceback.clear_frames(error.__traceback__)
    except MemoryError as error:
        outcome = "MemoryError"
        traceback.clear_frames(error.__traceback__)
    else:
        outcome = "done"
        assert whole is None or str(layer.diff_id) == whole, "it was made, and is another layer"
        said = str(layer.diff_id)
        del layer
    if said and outcome != "done":
        assert path.startswith(tree), path
        assert number or outcome == "TreeChangedError"
    assert (sink.committed is not None) == (outcome == "done")
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
    alone()
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before
    return outcome, said


def run_case(shim: Shim, tree: str, whole: str, name: str, error: int, *, lasting: bool) -> dict[str, object]:
    """Refuse one call after the other, and return how many there were, the outcomes, and what was said."""
    outcomes: Counter[str] = Counter()
    words: set[str] = set()
    shim.arm(name, 0, 0, error)
    attempt(tree, whole)
    count = shim.calls(name)
    # The first file that is opened is the source itself: what comes of that is not the scan's part, nor the renderer's.
    first = 2 if name == "openat" and not lasting else 1
    for number in range(first, count + 1, max(1, count // MOST)):
        shim.arm(name, number, ALL if lasting else number, error)
        # Attributes that are not there in time are no part of the tree, nor is a directory that is left out.
        vanished = error in (errno.ENODATA, errno.ENOENT, errno.ENOTSUP)
        outcome, said = attempt(tree, None if vanished else whole)
        # Threads share the work as they come: there may be a few calls fewer than there were.
        if shim.refusals(name):
            outcomes[outcome] += 1
            words.add(said.replace(tree, "TREE"))
    shim.arm(name, 0, 0, 0)
    return {"calls": count, "outcomes": outcomes, "words": sorted(words)}


def main() -> None:
    """Run the cases, and print for each how many calls there were, the outcomes, and what was said."""
    tree, shim_path, cases = sys.argv[1:]
    shim = Shim(shim_path)
    # Their number decides how many calls there are, and one thread can be refused as well as another.
    pack.SCAN_THREADS = 2
    outcome, whole = attempt(tree, None)
    assert outcome == "done", whole
    results = []
    for case in json.loads(cases):
        for name, error in case["always"].items():
            shim.arm(name, 1, ALL, error)
        results.append(run_case(shim, tree, whole, case["call"], case["error"], lasting=case["lasting"]))
        for name in case["always"]:
            shim.arm(name, 0, 0, 0)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
