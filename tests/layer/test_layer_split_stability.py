"""A change in one place of a split tree changes few layers: of 20 layers 18 and more stay, of nearly all trees.

Layers are compared by all that decides their bytes but for what is in files, which a size stands for: the trees are of
files that take no room. tests/test_split.py has a real one, packed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastoci._engine.division import divide
from fastoci._engine.plan import Plan
from oracles.longform import times
from oracles.nasty import BLOCK
from oracles.packing import scan

LAYERS = 26  # the most; most often there are some 20
FILES = 600
SEEDS = range(times(2, 40))
# A change counts as one to a subtree if the files that it is about follow each other in the order of the tree.
SHARE = 100


def size(chance: random.Random) -> int:
    """Return the size of a file: most are small, some a hundred times as large as these."""
    return int(min(chance.lognormvariate(9, 2), 5e7))


def grow(chance: random.Random, directory: Path, files: int, depth: int = 0) -> None:
    """Make a tree like those that programs are installed in."""
    directory.mkdir(parents=True)
    below = chance.randint(2, 7) if depth < 5 and files > 15 else 0
    here = chance.randint(0, files // 4) if below else files
    for _ in range(here):
        make(directory / f"{chance.choice('abcdefgh')}{chance.randrange(10**6)}", size(chance))
    shares = [chance.random() ** 2 + 0.02 for _ in range(below)]
    for number, share in enumerate(shares):
        grow(
            chance, directory / f"{chance.choice('lmno')}{number}", int((files - here) * share / sum(shares)), depth + 1
        )


def flat(chance: random.Random, directory: Path, files: int) -> None:
    """Make a tree of one directory."""
    (directory / "data").mkdir(parents=True)
    for _ in range(files):
        make(directory / "data" / f"{chance.randrange(10**8):08}", size(chance))


def modules(chance: random.Random, directory: Path, files: int) -> None:
    """Make a tree of many small directories side by side."""
    for number in range(files // 8):
        package = directory / "node_modules" / f"{chance.choice('abcdefghijklmnopqrstuvwxyz')}-{number}"
        (package / "lib").mkdir(parents=True)
        for name in (
            "package.json",
            "README.md",
            "index.js",
            "lib/a.js",
            "lib/b.js",
            "lib/c.js",
            "lib/d.js",
            "LICENSE",
        ):
            make(package / name, 500 + chance.randrange(8000))


def planted(name: str, chance: random.Random, root: Path) -> None:
    """Make a tree of a kind, in which everything has one time."""
    {"system": grow, "flat": flat, "modules": modules}[name](chance, root, FILES)
    for path in (root, *root.rglob("*")):
        os.utime(path, (1, 1))


TREES = ("system", "flat", "modules")


def make(path: Path, size: int, time: int = 1) -> None:
    with open(path, "wb") as file:
        file.truncate(size)
    os.utime(path, (time, time))


def some_in_a_row(chance: random.Random, root: Path) -> Iterator[Path]:
    """Yield a hundredth of the files of a tree, which follow each other in it."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    count = len(files) // SHARE
    start = chance.randrange(len(files) - count)
    yield from files[start : start + count]


def change(chance: random.Random, root: Path, how: str) -> None:
    """Change a tree; what is new in it is as large as what is in it already."""
    sizes = sorted(path.stat().st_size for path in root.rglob("*") if path.is_file())
    for number, path in enumerate(some_in_a_row(chance, root)):
        match how:
            case "changed":
                os.utime(path, (2, 2))
            case "rewritten":
                make(path, chance.choice(sizes), 2)
            case "added":
                make(path.parent / f"{path.name}-{number}", chance.choice(sizes), 2)
                os.utime(path.parent, (2, 2))
            case "added as a directory":
                (path.parent / "new").mkdir(exist_ok=True)
                make(path.parent / "new" / f"{number}", chance.choice(sizes), 2)
                os.utime(path.parent / "new", (2, 2))
                os.utime(path.parent, (2, 2))
            case "removed":
                path.unlink()
                os.utime(path.parent, (2, 2))


def layers(root: Path, **split: int) -> list[tuple[tuple[bytes, str, int, int, int], ...]]:
    """Return all that decides the bytes of each layer, but for what is in files."""
    table = scan(root)
    found = []
    for _, numbers in divide(table, **split):
        planned = Plan(table, block_size=BLOCK, selection=numbers)
        found.append(
            tuple(
                (path, kind, facts["mode"], facts["size"], facts["mtime"])
                for path, kind, facts in (planned.describe(at) for at in range(len(planned)))
            )
        )
    return found


def moved(tmp_path: Path, name: str, seed: int, how: str, **split: int) -> tuple[int, int]:
    """Return how many layers a tree has, and how many of them a change makes others."""
    chance = random.Random(f"{name} {seed}")
    planted(name, chance, tmp_path / "tree")
    before = layers(tmp_path / "tree", **split)
    change(chance, tmp_path / "tree", how)
    after = layers(tmp_path / "tree", **split)
    if "count" in split:
        assert split["count"] / 2 <= len(before) <= split["count"]
        assert len(after) <= split["count"]
    return len(before), len(set(before) - set(after))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", TREES)
def test_what_is_in_files_moves_no_cut(tmp_path, name, seed):
    """A hundredth of the files is written anew: the layers that hold one of these are others, and none else."""
    chance = random.Random(f"{name} {seed}")
    planted(name, chance, tmp_path / "tree")
    before = layers(tmp_path / "tree", count=LAYERS)
    change(chance, tmp_path / "tree", "changed")
    after = layers(tmp_path / "tree", count=LAYERS)
    holding = [layer for layer in after if any(kind == "file" and time == 2 for _, kind, _, _, time in layer)]
    assert 1 <= len(holding) <= 4
    assert set(after) - set(before) == set(holding)


def assert_few(found: dict[tuple[str, str, int], int]) -> None:
    """Two layers are others at most, in three cases of four of any choice of them: of many it is nine of ten."""
    assert min(found.values()) >= 1
    assert sum(others <= 2 for others in found.values()) >= 0.75 * len(found), found


def test_few_layers_are_others(tmp_path):
    """Where sizes and names change as well, now and then a cut goes, or another comes: most often none."""
    kinds = ["rewritten", "added", "added as a directory", "removed"]
    cases = [(name, how, seed) for name in TREES for how in kinds for seed in SEEDS]
    assert_few(
        {case: moved(tmp_path / "-".join(map(str, case)), case[0], case[2], case[1], count=LAYERS)[1] for case in cases}
    )


def test_by_size(tmp_path):
    found = {}
    for name, limit in (("system", 2_000_000), ("flat", 2_000_000), ("modules", 200_000)):
        for how in ("changed", "added"):
            for seed in SEEDS:
                count, others = moved(tmp_path / f"{name}-{how}-{seed}", name, seed, how, limit=limit)
                assert 5 < count < 60
                found[name, how, seed] = others
    assert_few(found)
