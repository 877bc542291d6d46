"""Every call of the engine's writer into the C library refused once, while it unpacks; see oracles/refusing.py.

`python -m oracles.writerfaults PLACE SHIM CASES`. The error is a StoreError that names a file of the archive, or there
was no memory, or the tree is what it would have been.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Iterator

from fastoci.errors import StoreError
from fastoci.rootfs.changeset import Rootfs
from fastoci.rootfs.limits import Limits, Usage
from fastoci.rootfs.owners import Owners
from oracles.refusing import nothing_left, refuse
from oracles.snapshot import snapshot
from oracles.tarforms import Member, archive


def layers() -> Iterator[bytes]:
    """Yield a layer of small files in a few directories, and one that replaces some of them and adds others."""
    for count, step in ((70, 1), (80, 3)):
        members = [Member(b"d%d" % number, "directory", mode=0o755, mtime=number) for number in range(3)]
        members += [Member(b"d%d/link" % number, "symlink", target=b"%d" % step, mode=0o777) for number in range(3)]
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
    try:
        owners = Owners(keep=os.geteuid() == 0)
        rootfs = Rootfs(fd, target, owners, Usage(Limits()), occupied=True, threads=threads)
        try:
            for data in LAYERS:
                rootfs.apply(iter([data]), "the layer")
            rootfs.finish()
        finally:
            rootfs.close()
    finally:
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
    target = f"{place}/root"
    said = ""
    with nothing_left():
        os.mkdir(target, 0o700)
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
            assert facts(target) == whole, "it was unpacked, and is another tree"
        if outcome == "StoreError":
            assert number
            assert path.startswith(f"{target}/"), path
        shutil.rmtree(target)
    return outcome, said.replace(place, "PLACE")


def main() -> None:
    """Run the cases."""
    place = sys.argv[1]
    whole = whole_tree(place)
    refuse(lambda _: attempt(place, whole))


if __name__ == "__main__":
    main()
