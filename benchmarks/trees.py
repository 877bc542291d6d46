"""The trees that are packed. Each is made once, from a seed, and kept in the benchmarks' directory.

    mixed    an application on a Debian: files of all sizes and kinds     1.6 GB     64 MB in the short form
    node     100,000 files of 1 to 8 KB with links, node_modules          0.3 GB     30 MB
    weights  4 files of bfloat16 normal numbers, a model's weights        2 GiB      48 MB
    rootfs   this machine's own root filesystem, or a part of it          1.6 GB+    60 MB or less
    noise    what does not compress                                       1 GiB      48 MB
    sparse   holes with repeated data in them, for memory alone           20 GB      -
    million  a million empty files, for memory alone                      0          -

The directory is FASTOCI_BENCH_DIR, by default one below the system's directory for temporary files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import native
import tree_raw
from material import Pools
from tree_mixed import MixedTree
from tree_node import NodeTree
from tree_rootfs import copy_rootfs

__all__ = ["JUDGED", "NAMES", "Form", "Tree", "cache_directory", "form", "settle", "tree", "warm"]

Form = Literal["full", "short"]

JUDGED = ("node", "weights", "rootfs", "noise")
"""The four trees that the limit is wanted on."""

NAMES = ("mixed", *JUDGED)
"""The trees that tools are compared on."""

_POOL_SIZES: dict[Form, int] = {"full": 12 << 20, "short": 3 << 20}


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree to pack.

    Args:
        name: What the tables call it.
        path: Where it is.
        entries: Everything in it but its root.
        size: The bytes of its regular files, those with several names counted once.
        detail: What else is to be known of it.
    """

    name: str
    path: str
    entries: int
    size: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a tree is made: its version, to be raised with every change of what is made, and what makes either form."""

    full_version: int
    full: Callable[[str], None]
    short_version: int
    short: Callable[[str], None] | None


_RECIPES = {
    "mixed": _Recipe(
        1,
        lambda root: MixedTree(root, Pools("fastoci", _POOL_SIZES["full"]), 1.0).make(),
        2,
        lambda root: MixedTree(root, Pools("fastoci", _POOL_SIZES["short"]), 1 / 28).make(),
    ),
    "node": _Recipe(
        1,
        lambda root: NodeTree(root, Pools("fastoci", _POOL_SIZES["full"]), 1.0).make(),
        1,
        lambda root: NodeTree(root, Pools("fastoci", _POOL_SIZES["short"]), 0.1).make(),
    ),
    "weights": _Recipe(
        1,
        lambda root: tree_raw.make_weights(root, 512 << 20),
        1,
        lambda root: tree_raw.make_weights(root, 12 << 20),
    ),
    "rootfs": _Recipe(
        1,
        lambda root: copy_rootfs(root, 1_600_000_000, 2_800_000_000),
        1,
        lambda root: copy_rootfs(root, 48_000_000, 60_000_000),
    ),
    "noise": _Recipe(
        1, lambda root: tree_raw.make_noise(root, 1 << 30), 1, lambda root: tree_raw.make_noise(root, 48 << 20)
    ),
    "sparse": _Recipe(1, lambda root: tree_raw.make_sparse(root, 20 << 30), 1, None),
    "million": _Recipe(1, lambda root: tree_raw.make_empty_files(root, 1_000_000), 1, None),
}


def form() -> Form:
    """Return which form of the benchmarks FASTOCI_BENCH asks for."""
    return "short" if os.environ.get("FASTOCI_BENCH") == "short" else "full"


def cache_directory() -> str:
    """Return the directory for trees and outputs, made if it is not there."""
    path = os.environ.get("FASTOCI_BENCH_DIR") or os.path.join(tempfile.gettempdir(), f"fastoci-bench-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def tree(name: str, which: Form) -> Tree:
    """Return the tree of this name; it is made where it is not there yet."""
    recipe = _RECIPES[name]
    make, version = (
        (recipe.full, recipe.full_version)
        if which == "full" or recipe.short is None
        else (recipe.short, recipe.short_version)
    )
    path = os.path.join(cache_directory(), f"{name}-{which}-{version}")
    facts = path + ".json"
    with contextlib.suppress(FileNotFoundError), open(facts) as file:
        if os.path.isdir(path):
            # A tree may have been put in its place by a link, which not every tool follows.
            return Tree(path=os.path.realpath(path), **json.load(file))
    shutil.rmtree(path, ignore_errors=True)
    draft = tempfile.mkdtemp(prefix=f"{name}-", dir=cache_directory())
    try:
        make(draft)
        os.chmod(draft, 0o755)
        os.rename(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    made = _survey(name, path)
    with open(facts, "w") as file:
        json.dump({key: value for key, value in asdict(made).items() if key != "path"}, file)
    return made


def warm(tree: Tree) -> None:
    """Read every file once, so that whoever is timed next finds them in the page cache."""
    native.walk(tree.path, native.STAT | native.XATTRS | native.OPEN | native.READ)


def settle() -> float:
    """Have everything written back to the disk, so that it does not disturb who is timed next; return the seconds."""
    started = time.perf_counter()
    os.sync()
    return time.perf_counter() - started


def _survey(name: str, path: str) -> Tree:
    entries = size = links = xattrs = 0
    seen: set[tuple[int, int]] = set()
    for directory, directories, names in os.walk(path):
        entries += len(directories) + len(names)
        for found in (*directories, *names):
            xattrs += bool(os.listxattr(os.path.join(directory, found), follow_symlinks=False))
        for found in names:
            status = os.lstat(os.path.join(directory, found))
            if not stat.S_ISREG(status.st_mode):
                continue
            if status.st_nlink > 1:
                links += 1
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            size += status.st_size
    detail = ", ".join(
        text
        for number, text in ((links, f"{links:,} names of hard links"), (xattrs, f"{xattrs:,} entries with xattrs"))
        if number
    )
    return Tree(name, path, entries, size, detail)
