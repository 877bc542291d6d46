"""Every call of the engine's writer into the C library refused once: run in a process that has faultshim.c preloaded.

`python -m oracles.writerfaults PLACE SHIM CASES` unpacks two layers over and over; see oracles/nativefaults.py, whose
cases it takes, and which packs. What must hold whatever is refused is asserted here: the error is a StoreError that
names a file of the archive, or there was no memory, or the tree is what it would have been; no thread is left, and no
descriptor.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterator

from fastoci.errors import StoreError
from fastoci.rootfs.changeset import Rootfs
from fastoci.rootfs.limits import Limits, Usage
from fastoci.rootfs.owners import Owners
from oracles.longform import times
from oracles.nativefaults import ALL, Shim, alone
from oracles.snapshot import snapshot
from oracles.tarforms import Member, archive

MOST = times(7, 10_000)


def layers() -> Iterator[bytes]:
    """Yield a layer of small files in a few directories, and one that replaces some of them and adds others."""
    for count, step in ((70, 1), (80, 3)):
        members = [Member(b"d%d" % number, "directory", mode=0o755) for number in range(3)]
        members += [
            Member(
                b"d%d/%d" % (directory, number),
                "file",
                b"%d" % step * (number * 90),
                mode=0o640 + number % 8,
                uid=number % 2,
                mtime=number * 10**9,
            )
            for directory in range(3)
            for number in range(0, count, step)
        ]
        yield archive("ustar", members)


LAYERS = tuple(layers())


def unpack(target: str, threads: int) -> None:
    """Apply the layers beneath a directory."""
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    rootfs = Rootfs(fd, target, Owners(keep=os.geteuid() == 0), Usage(Limits()), threads=threads)
    try:
        for data in LAYERS:
            rootfs.apply(iter([data]), "the layer")
        rootfs.finish()
    finally:
        rootfs.close()
        os.close(fd)


def facts(place: str) -> dict[bytes, tuple[object, ...]]:
    """Return what is in a tree."""
    return {path: (one.kind, one.mode, one.uid, one.mtime, one.content) for path, one in snapshot(place).items()}


def whole_tree(place: str) -> dict[bytes, tuple[object, ...]]:
    """Return what the tree is when nothing is refused, made without threads."""
    target = f"{place}/whole"
    os.mkdir(target)
    unpack(target, threads=0)
    found = facts(target)
    shutil.rmtree(target)
    return found


def attempt(place: str, whole: object) -> tuple[str, str]:
    """Unpack, and return (outcome, the error's words); see the module."""
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    target = f"{place}/root"
    os.mkdir(target, 0o700)
    said = ""
    try:
        unpack(target, threads=2)
    except StoreError as error:
        outcome, said = "StoreError", f"{error.what} | {error.cause}"
        number, path = error.errno, str(error.path)
        traceback.clear_frames(error.__traceback__)
    except MemoryError as error:
        outcome = "MemoryError"
        traceback.clear_frames(error.__traceback__)
    else:
        outcome = "done"
        assert whole is None or facts(target) == whole, "it was unpacked, and is another tree"
    if outcome == "StoreError":
        assert number
        assert path.startswith(f"{target}/d"), path
    shutil.rmtree(target)
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
    alone()
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before
    return outcome, said.replace(place, "PLACE")


def run_case(shim: Shim, place: str, whole: object, name: str, error: int, *, lasting: bool) -> dict[str, object]:
    """Refuse one call after the other, and return how many there were, the outcomes, and what was said."""
    outcomes: Counter[str] = Counter()
    words: set[str] = set()
    shim.arm(name, 0, 0, error)
    attempt(place, whole)
    count = shim.calls(name)
    for number in range(1, count + 1, max(1, count // MOST)):
        shim.arm(name, number, ALL if lasting else number, error)
        outcome, said = attempt(place, whole)
        if shim.refusals(name):
            outcomes[outcome] += 1
            words.add(said)
    shim.arm(name, 0, 0, 0)
    return {"calls": count, "outcomes": outcomes, "words": sorted(words)}


def main() -> None:
    """Run the cases, and print for each how many calls there were, the outcomes, and what was said."""
    place, shim_path, cases = sys.argv[1:]
    shim = Shim(shim_path)
    whole = whole_tree(place)
    outcome, said = attempt(place, whole)
    assert outcome == "done", said
    results = [
        run_case(shim, place, whole, case["call"], case["error"], lasting=case["lasting"]) for case in json.loads(cases)
    ]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
