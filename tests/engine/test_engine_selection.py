"""Plans over selections of a table: each is, to the byte, what the slow writer makes of these entries alone."""

from __future__ import annotations

import os
import random
import threading
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci._engine import EngineFault
from fastoci._engine.ahead import ReadAhead
from fastoci._engine.fingerprint import facts
from fastoci._engine.plan import Plan
from fastoci._engine.scanner import Scanner
from fastoci.tree.patterns import compile_patterns
from oracles.blockreference import cut
from oracles.longform import times
from oracles.nasty import BLOCK
from oracles.packing import plan, render, render_all, scan
from oracles.randomtrees import TREES, made
from oracles.snapshot import Entry, packable, snapshot
from oracles.tarreference import write_pieces, write_tar


def select(table, numbers, block_size=BLOCK):
    return Plan(table, block_size=block_size, selection=array("I", numbers))


def paths_of(table):
    return [table.describe(number)[0] for number in range(table.arrange())]


def with_directories_above(tree, paths):
    """Return a part of a tree: some paths, and every directory above them."""
    kept = set(paths)
    for path in paths:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            kept.add(path)
    return {path: tree[path] for path in kept}


def digest_of(planned):
    pieces, number = [], 0
    while number < len(planned):
        data, number, _ = facts(planned, number)
        pieces.append(data)
    return b"".join(pieces)


def test_a_selection_of_everything_is_the_whole(nasty_tree):
    table = scan(nasty_tree.path)
    planned = select(table, range(table.arrange()))
    assert render_all(planned) == render_all(plan(nasty_tree.path))
    assert digest_of(planned) == digest_of(plan(nasty_tree.path))


@given(TREES, st.randoms(use_true_random=False), st.sampled_from([4096, 32768]), st.integers(1, 3))
@settings(max_examples=times(40, 600))
def test_a_tree_in_parts(spec, chance, size, count):
    """A tree is dealt out to several plans; all of them are there at once, and each is the slow writer's."""
    with made(spec) as root:
        tree = packable(snapshot(root))
        table = scan(root)
        paths = paths_of(table)
        assert set(paths) == tree.keys()
        hands = [[] for _ in range(count)]
        for number in range(len(paths)):
            chance.choice(hands).append(number)
        for hand in hands:
            chance.shuffle(hand)
        plans = [select(table, hand, size) for hand in hands]
        for hand, planned in zip(hands, plans, strict=True):
            pieces = write_pieces(with_directories_above(tree, [paths[number] for number in hand]))
            assert [render(planned, number) for number in range(planned.block_count)] == cut(pieces, size)
            assert [planned.describe(number)[0] for number in range(len(planned))] == [
                piece.path.rstrip(b"/") for piece in pieces
            ]


def test_the_parts_of_a_large_tree_by_threads(nasty_tree):
    table = scan(nasty_tree.path)
    count = table.arrange()
    chance = random.Random(7)
    numbers = list(range(count))
    chance.shuffle(numbers)
    paths = paths_of(table)
    parts = [numbers[start::3] for start in range(3)]
    rendered = {}

    def work(part):
        planned = select(table, parts[part])
        rendered[part] = planned, render_all(planned), digest_of(planned)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for part, numbers in enumerate(parts):
        chosen = with_directories_above(nasty_tree.entries, [paths[number] for number in numbers])
        assert rendered[part][1] == write_tar(write_pieces(chosen))
    assert len({digest for _, _, digest in rendered.values()}) == 3


def test_nothing_is_a_selection(tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    planned = select(scan(tmp_path), [])
    assert (len(planned), planned.block_count, render_all(planned)) == (0, 1, bytes(1024))
    assert (planned.owner, planned.newest_mtime, planned.find(b"file")) == (None, None, None)
    with pytest.raises(IndexError):
        planned.describe(0)


def test_directories_above_come_along_as_they_are(tmp_path):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c" / "file").write_bytes(b"")
    (tmp_path / "a" / "b-").write_bytes(b"")
    (tmp_path / "a" / "b").chmod(0o2711)
    table = scan(tmp_path)
    table.adopt_ancestor(b"opt", 0o700, 7, 8, 9, {})
    table.place_root(b"app")
    wanted = paths_of(table).index(b"opt/app/a/b/c/file")
    planned = select(table, [wanted])
    assert [planned.describe(number)[0] for number in range(len(planned))] == [
        b"opt",
        b"opt/app",
        b"opt/app/a",
        b"opt/app/a/b",
        b"opt/app/a/b/c",
        b"opt/app/a/b/c/file",
    ]
    assert planned.find(b"opt/app/a/b")[1]["mode"] == 0o2711
    assert planned.find(b"opt")[1]["synthetic"]
    assert planned.find(b"opt/app/a/b-") is None


def test_a_hard_link_is_one_within_its_own_layer(tmp_path):
    for name in "abcd":
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "file").write_bytes(b"data")
    for name in "bcd":
        os.link(tmp_path / "a" / "file", tmp_path / name / "file")
    table = scan(tmp_path)
    paths = paths_of(table)
    one = select(table, [paths.index(b"a/file"), paths.index(b"c/file")])
    two = select(table, [paths.index(b"b/file"), paths.index(b"d/file")])
    for planned, origin, link in ((one, b"a/file", b"c/file"), (two, b"b/file", b"d/file")):
        assert planned.find(origin)[0] == "file"
        assert planned.find(link)[0] == "hardlink"
        assert planned.find(link)[1]["link"] == origin


def test_excluded_directories_with_something_kept_are_numbered(tmp_path):
    for path in ("a/kept", "a/other", "b/other"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    assert paths_of(scan(tmp_path, patterns=["*", "!*/kept"])) == [b"a", b"a/kept"]


class TestWhiteouts:
    """Whiteouts stand in a directory, at their place in the order of the names there."""

    @pytest.fixture
    def table(self, tmp_path):
        for name in ("+before", "dir/sub/z", "zz/file"):
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_bytes(name.encode())
        return scan(tmp_path)

    def test_they_are_the_slow_writers(self, table, tmp_path):
        tree = snapshot(tmp_path)
        paths = paths_of(table)
        places = {b"": None, b"dir/sub/": paths.index(b"dir/sub"), b"zz/": paths.index(b"zz")}
        gone = [(b"", b"gone"), (b"dir/sub/", b"\xff"), (b"dir/sub/", b"a"), (b"zz/", b".wh..opq"), (b"", b"\x01")]
        numbers = [table.add_whiteout(places[above], name) for above, name in gone]
        assert numbers == list(range(len(paths), len(paths) + 5))
        planned = select(table, [paths.index(b"+before"), *numbers])
        chosen = with_directories_above(tree, [b"+before", b"dir/sub", b"zz"])
        chosen |= {above + b".wh." + name: Entry("file", 0o644, 0, 0, 0) for above, name in gone}
        assert render_all(planned) == write_tar(write_pieces(chosen))

    def test_no_policy_touches_them_but_the_limit_of_times(self, table):
        number = table.add_whiteout(None, b"x") if table.arrange() else None
        planned = Plan(table, block_size=BLOCK, uid=7, gid=8, mtime=9, mtime_limit=-5, selection=array("I", [number]))
        path, kind, found = planned.describe(0)
        assert (path, kind, found["mode"], found["uid"], found["synthetic"]) == (b".wh.x", "file", 0o644, 0, True)
        assert render_all(planned) == write_tar(write_pieces({path: Entry("file", 0o644, 0, 0, -5 * 10**9)}))
        assert (planned.owner, planned.newest_mtime) == (None, None)

    def test_names_that_are_none(self, table):
        table.arrange()
        for name in (b"", b"a/b", b"a\0b"):
            with pytest.raises(ValueError, match="name"):
                table.add_whiteout(None, name)
        with pytest.raises(ValueError, match="directory"):
            table.add_whiteout(0, b"x")
        with pytest.raises(IndexError):
            table.add_whiteout(1000, b"x")
        table.add_whiteout(None, b"x" * 65000)
        with pytest.raises(EngineFault, match="headers"):
            Plan(table, block_size=4096, selection=array("I", [len(table)]))

    def test_one_twice(self, table):
        table.arrange()
        numbers = [table.add_whiteout(None, b"x"), table.add_whiteout(None, b"x")]
        with pytest.raises(ValueError, match="twice"):
            select(table, numbers)

    def test_only_in_a_table_in_order(self, table):
        with pytest.raises(ValueError, match="in order"):
            table.add_whiteout(None, b"x")


class TestRefusals:
    """What is no selection."""

    @pytest.fixture
    def table(self, tmp_path):
        for name in "abc":
            (tmp_path / name).write_bytes(b"")
        (tmp_path / "dir").mkdir()
        return scan(tmp_path)

    def test_numbers_that_are_none(self, table):
        with pytest.raises(IndexError):
            select(table, [4])
        with pytest.raises(ValueError, match="32 bits"):
            Plan(table, block_size=BLOCK, selection=b"abc")
        with pytest.raises(ValueError, match="twice"):
            select(table, [1, 1])
        with pytest.raises(TypeError):
            Plan(table, block_size=BLOCK, selection=[1])

    def test_an_entry_in_two(self, table):
        select(table, [0, 1, 3])
        with pytest.raises(ValueError, match="another selection"):
            select(table, [2, 1, 3])
        assert len(select(table, [2, 3])) == 2

    def test_a_table_is_planned_as_a_whole_or_in_selections(self, table, tmp_path):
        select(table, [0])
        with pytest.raises(ValueError, match="selections"):
            Plan(table, block_size=BLOCK)
        whole = scan(tmp_path)
        Plan(whole, block_size=BLOCK)
        with pytest.raises(ValueError, match="already"):
            select(whole, [0])
        with pytest.raises(ValueError, match="already"):
            whole.arrange()

    def test_a_scan_that_has_not_ended_well(self, tmp_path, table):
        scanner = Scanner(table, compile_patterns(()), with_xattrs=True, keep_whiteouts=False)
        with pytest.raises(ValueError, match="full"):
            Plan(table, block_size=BLOCK, scanner=scanner, selection=b"")
        from fastoci._engine.table import EntryTable

        fd = os.open(tmp_path, os.O_RDONLY)
        fresh = EntryTable(os.fsencode(tmp_path), fd)
        os.close(fd)
        stopped = Scanner(fresh, compile_patterns(()), with_xattrs=True, keep_whiteouts=False)
        stopped.stop()
        stopped.run()
        stopped.finish()
        with pytest.raises(ValueError, match="not complete"):
            fresh.arrange()


def test_reading_ahead_goes_by_the_selection(tmp_path):
    for number in range(300):
        (tmp_path / f"{number:03}").write_bytes(b"x" * 5000)
    planned = select(scan(tmp_path), range(0, 300, 2))
    thread = threading.Thread(target=ReadAhead(planned).run, daemon=True)
    thread.start()
    assert len(render_all(planned)) == 150 * (512 + 5120) + 1024
    planned.stop()
    thread.join(10)
    assert not thread.is_alive()
