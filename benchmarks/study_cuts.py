"""How many layers of a split tree a change makes others, how many there are, and how even they are.

    python benchmarks/study_cuts.py [TREE...]       `node`, `mixed` and `rootfs`, where none is named
    FASTOCI_BENCH_ROUNDS=1000 python ...            so many cases of each kind and tree; 50 where it is not set
    FASTOCI_BENCH_LAYERS=26 python ...              the number that `--split` is given; 20 where it is not set

Each case is the whole tree beneath another directory: ranks are hashes of paths, and so each is divided otherwise. A
hundredth of the files, which follow each other within one directory, is written anew in its size, in other sizes, or
removed, or as many come in beside them. The engine divides both trees, as it knows them from a scan; layers are
compared by all that they say, a file's content by its being the same file.
"""

from __future__ import annotations

import os
import random
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import trees
from fastoci._engine.division import PASSING, divide
from fastoci._engine.layered import LayeredTree
from fastoci._engine.table import EntryTable
from fastoci.tree.patterns import compile_patterns

_CASES = int(os.environ.get("FASTOCI_BENCH_ROUNDS") or 50)
_LAYERS = int(os.environ.get("FASTOCI_BENCH_LAYERS") or 20)
_RECORD = 512

Kind = Literal["changed", "resized", "added", "removed"]
KINDS: tuple[Kind, ...] = ("changed", "resized", "added", "removed")


@dataclass(eq=False, slots=True)
class Node:
    """One name in a tree. Another node is another file; a directory's `version` stands for its time."""

    name: bytes
    size: int = 0
    children: list[Node] | None = None
    above: Node | None = field(default=None, repr=False)
    version: int = 0

    @property
    def order(self) -> bytes:
        """What the layer orders it by in its directory."""
        return self.name if self.children is None else self.name + b"/"

    def walk(self) -> Iterator[Node]:
        """Yield all beneath it, in the layer's order."""
        for child in self.children or ():
            yield child
            yield from child.walk()

    @property
    def weight(self) -> int:
        """What it counts in a layer, without what is beneath it."""
        return _RECORD + -(-self.size // _RECORD) * _RECORD


def main() -> None:
    print(f"--split {_LAYERS}, {_CASES} cases of each kind and tree: of how many two layers at most are others\n")
    for name in sys.argv[1:] or ("node", "mixed", "rootfs"):
        tree = trees.tree(name, trees.form())
        top = Node(b"", children=[])
        read(os.fsencode(tree.path), top)
        counts: list[int] = []
        uneven: list[float] = []
        for kind in KINDS:
            lost = [case(top, name, kind, number, counts, uneven) for number in range(_CASES)]
            few = sum(count <= 2 for count in lost) / len(lost)
            spread = ", ".join(f"{count}: {times}" for count, times in sorted(Counter(lost).items()))
            print(f"  {name:<7} {kind:<8} {few:>7.1%}   layers that are others: {spread}", flush=True)
        uneven.sort()
        print(
            f"  {name:<7} {min(counts)} to {max(counts)} layers, {sum(counts) / len(counts):.1f} on average; the "
            f"largest has {uneven[len(uneven) // 2]:.2f} times the average, {uneven[-1]:.2f} at most\n"
        )


def read(path: bytes, node: Node) -> None:
    """Read a directory, and all that is in it."""
    found: list[Node] = []
    with os.scandir(path) as entries:
        for entry in entries:
            child = Node(entry.name, above=node)
            found.append(child)
            if entry.is_dir(follow_symlinks=False):
                child.children = []
                read(entry.path, child)
            elif entry.is_file(follow_symlinks=False):
                child.size = entry.stat(follow_symlinks=False).st_size
    node.children = sorted(found, key=lambda one: one.order)


def case(top: Node, name: str, kind: Kind, number: int, counts: list[int], uneven: list[float]) -> int:
    """Divide a tree before and after a change, and return how many layers are others."""
    chance = random.Random(f"{name} {kind} {number}")
    top.name = b"%016x" % chance.getrandbits(64)
    before, weights = layers(top)
    counts.append(len(before))
    uneven.append(max(weights) * len(weights) / sum(weights))
    undo = change(top, kind, chance)
    after, _ = layers(top)
    for node, children, version in undo:
        node.children, node.version = children, version
    return len(set(before) - set(after))


def layers(top: Node) -> tuple[list[int], list[int]]:
    """Return what tells each layer from all others, and what its entries weigh."""
    table = EntryTable(b"study", None)
    tree = LayeredTree(table, 1, 1 << 30)
    tree.begin()
    put(tree, top, b"")
    tree.finish(b"", compile_patterns(()))
    order = [top, *top.walk()]
    found, weights = [], []
    for _, numbers in divide(table, count=_LAYERS):
        told, weight = [], 0
        for entry in array("I", numbers):
            node = order[entry & ~PASSING]
            passing = bool(entry & PASSING)
            told.append((id(node), -1 if passing else node.version))
            weight += 0 if passing else node.weight
        found.append(hash(tuple(told)))
        weights.append(weight)
    return found, weights


def put(tree: LayeredTree, node: Node, above: bytes) -> None:
    """Put a name into a tree, and all that is beneath it."""
    path = above + node.name
    kind, content = ("file", bytes(32)) if node.children is None else ("directory", None)
    tree.put(path, kind, 0o755, 0, 0, 0, node.size, content, {})
    for child in node.children or ():
        put(tree, child, path + b"/")


def change(top: Node, kind: Kind, chance: random.Random) -> list[tuple[Node, list[Node] | None, int]]:
    """Change a hundredth of the files, and return what has to be put back: nodes, their children and versions."""
    everything = [node for node in top.walk() if node.children is None]
    count = max(1, len(everything) // 100)
    within = chance.choice(everything).above or top
    while within.above is not None and sum(node.children is None for node in within.walk()) < count:
        within = within.above
    files = [node for node in within.walk() if node.children is None]
    start = chance.randrange(max(1, len(files) - count + 1))
    undo: dict[int, tuple[Node, list[Node] | None, int]] = {}
    for number, file in enumerate(files[start : start + count]):
        above = file.above or top
        undo.setdefault(id(above), (above, list(above.children or ()), above.version))
        children = above.children or []
        at = children.index(file)
        size = file.size if kind == "changed" else chance.choice(everything).size
        match kind:
            case "removed":
                children[at : at + 1] = []
            case "added":
                children.insert(at + 1, Node(b"%s.%d-new" % (file.name, number), size, above=above))
            case _:
                children[at] = Node(file.name, size, above=above)
        above.children = sorted(children, key=lambda one: one.order)
        above.version += kind in ("added", "removed")
    return list(undo.values())


if __name__ == "__main__":
    main()
