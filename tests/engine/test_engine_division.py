"""Trees divided over layers: as a slow reader of the rule divides them, whatever the tree, and nothing lost or torn."""

from __future__ import annotations

import io
import os
import tarfile
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci._engine.division import PASSING, divide
from fastoci._engine.plan import Plan
from oracles import divisionreference
from oracles.longform import times
from oracles.nasty import BLOCK
from oracles.packing import render_all, scan
from oracles.randomtrees import TREES, made
from oracles.snapshot import inode_groups, packable, snapshot

SPLITS = st.one_of(
    st.integers(1, 12).map(lambda count: {"count": count}),
    st.sampled_from([1, 512, 1500, 4096, 20000]).map(lambda limit: {"limit": limit}),
)


def parts_of(table, **split):
    """Return what `divide` says, by path, and the paths that the parts begin with."""
    parts, firsts = [], []
    for first, numbers in divide(table, **split):
        firsts.append(first)
        parts.append({table.describe(number & ~PASSING)[0]: bool(number & PASSING) for number in array("I", numbers)})
    return parts, firsts


def file(path, size):
    """Make a file of a size that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as new:
        new.truncate(size)


@given(TREES, SPLITS)
@settings(max_examples=times(40, 3000))
def test_a_tree_is_divided_as_the_rule_says(spec, split):
    with made(spec) as root:
        tree = packable(snapshot(root))
        parts, firsts = parts_of(scan(root), **split)
        assert parts == divisionreference.divide(tree, **split)
        assert len(parts) <= split.get("count", len(tree) + 1)
        assert firsts[0] == b""
        assert all(first in part for first, part in zip(firsts[1:], parts[1:], strict=True))
        for path, entry in tree.items():
            holders = [number for number, part in enumerate(parts) if path in part]
            if entry.kind == "directory":
                # It has its time in the last of them, and nowhere else.
                assert [parts[number][path] for number in holders] == [True] * (len(holders) - 1) + [False]
            else:
                assert len(holders) == 1
                above = path
                while b"/" in above:
                    above = above.rpartition(b"/")[0]
                    assert above in parts[holders[0]]
        for group in inode_groups(tree).values():
            assert sum(not group.isdisjoint(part) for part in parts) == 1


def test_a_tree_of_everything(nasty_tree):
    tree = packable(nasty_tree.entries)
    for split in ({"count": 5}, {"limit": 64 << 10}):
        parts, _ = parts_of(scan(nasty_tree.path, whiteouts=True), **split)
        assert parts == divisionreference.divide(tree, **split)
        assert len(parts) > 2


def weight(table, numbers):
    """Return what the entries that are in a part weigh, and the size of its largest file."""
    described = [table.describe(number & ~PASSING) for number in array("I", numbers) if not number & PASSING]
    sizes = [facts["size"] if kind == "file" else 0 for _, kind, facts in described]
    return sum(512 + (size + 511) // 512 * 512 for size in sizes), max(sizes)


def test_sizes(tmp_path):
    """No layer is over the limit but one with a large file, and none is under a quarter of it."""
    for number in range(400):
        file(tmp_path / f"{number % 7}" / f"{number % 5}" / f"{number}", number * 997 % 60_000)
    file(tmp_path / "3" / "2" / "huge", 5_000_000)
    limit = 500_000
    table = scan(tmp_path)
    found = [weight(table, numbers) for _, numbers in divide(table, limit=limit)]
    # Directories are where they are last, and not where they were counted.
    assert min(size for size, _ in found) > limit // 4 - 50 * 512
    [alone] = [(size, largest) for size, largest in found if size > limit + 50 * 512]
    assert alone[1] == 5_000_000
    assert alone[0] <= 5_000_000 + limit // 2 + 50 * 512


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 100])
def test_no_more_layers_than_are_wanted(tmp_path, count):
    """And not many fewer; nor is one of them many times as large as the others."""
    for number in range(400):
        file(tmp_path / f"{number % 7}" / f"{number % 5}" / f"{number}", number * 997 % 60_000)
    table = scan(tmp_path)
    sizes = [weight(table, numbers)[0] for _, numbers in divide(table, count=count)]
    assert count / 2 <= len(sizes) <= count
    assert max(sizes) < 2.5 * sum(sizes) / len(sizes)


def test_a_large_file_does_not_keep_the_rest_together(tmp_path):
    """It counts no more than a layer may hold: what is beside it is divided as often as if it were not so large."""
    file(tmp_path / "model", 50_000_000)
    for number in range(300):
        file(tmp_path / f"{number % 7}" / f"{number}", 3000)
    assert len(divide(scan(tmp_path), count=20)) >= 10


def test_large_files_in_one_directory_are_told_apart(tmp_path):
    for number in range(30):
        file(tmp_path / "model" / f"model-{number:05}-of-00030.safetensors", 5_000_000_000)
    file(tmp_path / "model" / "config.json", 700)
    assert 5 <= len(divide(scan(tmp_path), count=10)) <= 10
    parts, _ = parts_of(scan(tmp_path), limit=5_100_000_000)
    # The small one is beside a large one.
    assert sorted(len(part) for part in parts) == [2] * 29 + [3]


@pytest.mark.parametrize("names", [[], ["one"], ["one", "two", "three"]])
def test_fewer_where_there_is_less_to_divide(tmp_path, names):
    for name in names:
        file(tmp_path / name, 10)
    parts, firsts = parts_of(scan(tmp_path), count=20)
    assert len(parts) == len(firsts) == max(1, len(names))


def test_whiteouts_stand_in_the_lowest(tmp_path):
    """They hide what is below all of the tree, and nothing of the tree itself."""
    for name in ("a", "b", "c"):
        file(tmp_path / name / "!file", 100_000)
        file(tmp_path / name / ".wh..wh..opq", 0)
    parts, _ = parts_of(scan(tmp_path, whiteouts=True), count=3)
    assert len(parts) == 3
    assert [sum(path.endswith(b".opq") for path in part) for part in parts] == [3, 0, 0]


def test_what_is_let_in_again_is_in_a_layer(tmp_path):
    for name in ("a/kept", "a/other", "b/other", "c/kept"):
        file(tmp_path / name, 1000)
    parts, _ = parts_of(scan(tmp_path, patterns=["*", "!*/kept"]), count=5)
    assert [sorted(part) for part in parts] == [[b"a", b"a/kept"], [b"c", b"c/kept"]]


def test_below_a_destination(tmp_path):
    for name in ("a", "b"):
        file(tmp_path / name, 1000)
    table = scan(tmp_path)
    table.adopt_ancestor(b"opt", 0o700, 7, 8, 9, {})
    table.place_root(b"app")
    parts, firsts = parts_of(table, count=5)
    assert parts == [
        {b"opt": True, b"opt/app": True, b"opt/app/a": False},
        {b"opt": False, b"opt/app": False, b"opt/app/b": False},
    ]
    assert firsts == [b"", b"opt/app/b"]


@pytest.mark.parametrize(("limit", "expected"), [(None, [0, 77]), (50, [0, 50]), (-5, [-5, -5])])
def test_directories_that_are_passed_have_no_time(tmp_path, limit, expected):
    for name in ("d/a", "d/b"):
        file(tmp_path / name, 1000)
    os.utime(tmp_path / "d", (77, 77))
    table = scan(tmp_path)
    plans = [
        Plan(table, block_size=BLOCK, selection=numbers, mtime_limit=limit) for _, numbers in divide(table, count=2)
    ]
    found = []
    for planned in plans:
        with tarfile.open(fileobj=io.BytesIO(render_all(planned))) as archive:
            found.append(archive.getmember("d").mtime)
    assert found == expected


def test_a_number_that_passes_through_a_file_is_none(tmp_path):
    file(tmp_path / "a", 10)
    table = scan(tmp_path)
    table.arrange()
    with pytest.raises(ValueError, match="directory"):
        Plan(table, block_size=BLOCK, selection=array("I", [PASSING]))


@pytest.mark.parametrize("split", [{}, {"limit": 5, "count": 5}, {"limit": -1}])
def test_one_of_limit_and_count(tmp_path, split):
    with pytest.raises(ValueError, match="limit"):
        divide(scan(tmp_path), **split)


def test_a_table_that_is_planned_as_a_whole(tmp_path):
    table = scan(tmp_path)
    Plan(table, block_size=BLOCK)
    with pytest.raises(ValueError, match="already"):
        divide(table, count=2)
