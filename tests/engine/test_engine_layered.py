"""Layers put one over the other by the engine: what comes of them, and what is refused."""

from __future__ import annotations

import os

import pytest

from fastoci._engine.layered import LayeredTree
from fastoci._engine.pattern import PatternSet
from fastoci._engine.plan import Plan
from fastoci._engine.table import EntryTable
from oracles.nasty import BLOCK
from oracles.packing import scan
from oracles.tarforms import Member, archive

DIGEST = bytes(range(32))


def new_tree(most=1 << 20):
    return LayeredTree(EntryTable(b"image", None), 7, most)


def put(tree, path, kind="file", *, mode=0o644, mtime=1, size=5, content=DIGEST, xattrs=None):
    tree.put(path, kind, mode, 3, 4, mtime, size, content, xattrs or {})


def finished(tree, top=b""):
    tree.finish(top, PatternSet([]))
    tree.table.arrange()
    return [tree.table.describe(number) for number in range(len(tree.table))]


def kinds(tree):
    return {path: kind for path, kind, _ in finished(tree)}


def test_what_is_put_in_is_in_the_table():
    tree = new_tree()
    put(tree, b"t", "character", content=os.makedev(1, 3))
    put(tree, b"s", "symlink", content=b"target")
    put(tree, b"c/d/e", "fifo", content=None)
    put(tree, b"a", "directory", content=None, xattrs={b"user.b": b"2", b"user.a": b"1"})
    put(tree, b"a-b")
    put(tree, b"", "directory", content=None)
    found = finished(tree)
    assert [(path, kind) for path, kind, _ in found] == [
        (b"a-b", "file"),
        (b"a", "directory"),
        (b"c", "directory"),
        (b"c/d", "directory"),
        (b"c/d/e", "fifo"),
        (b"s", "symlink"),
        (b"t", "character"),
    ]
    facts = {path: one for path, _, one in found}
    assert list(facts[b"a"]["xattrs"].items()) == [(b"user.a", b"1"), (b"user.b", b"2")]
    assert facts[b"s"]["link"] == b"target"
    assert facts[b"t"]["link"] == os.makedev(1, 3)
    assert [facts[b"a-b"][key] for key in ("mode", "uid", "gid", "size", "mtime")] == [0o644, 3, 4, 5, 1]
    planned = Plan(tree.table, block_size=BLOCK, selection=bytes(4))
    assert planned.find(b"a-b")[0] == "file"


def test_the_table_begins_where_it_is_asked_to():
    for top, expected in ((b"a", [b"b", b"b/c"]), (b"a/b", [b"c"]), (b"a/b/c", []), (b"none/x", []), (b"", None)):
        tree = new_tree()
        put(tree, b"a/b/c")
        found = [path for path, _, _ in finished(tree, top)]
        assert found == (expected if expected is not None else [b"a", b"a/b", b"a/b/c"])


def test_many_names_in_one_directory_come_in_order():
    names = [b"%d" % (number * 7919 % 5000) for number in range(5000)]
    tree = new_tree()
    for name in names:
        put(tree, b"d/" + name)
    assert [path for path, _, _ in finished(tree)] == [b"d", *sorted(b"d/" + name for name in names)]


class TestHiding:
    """A layer hides what is below it, and nothing of its own, in whatever order it says so."""

    @pytest.fixture
    def tree(self):
        tree = new_tree()
        tree.begin()
        for path in (b"d/sub/x", b"d/y", b"f"):
            put(tree, path)
        tree.begin()
        return tree

    def test_a_name(self, tree):
        for path in (b"f", b"d/none", b"none/at/all", b"f/in", b""):
            tree.hide(path)
        assert kinds(tree) == {b"d": "directory", b"d/sub": "directory", b"d/sub/x": "file", b"d/y": "file"}

    @pytest.mark.parametrize("first", ["hide", "put"])
    def test_a_directory_of_which_something_is_new(self, tree, first):
        """It is there, but not as the layer below has it."""
        put(tree, b"d", "directory", content=None) if first == "put" else tree.hide(b"d")
        put(tree, b"d/sub/new")
        if first == "put":
            tree.hide(b"d")
        assert kinds(tree) == {b"d": "directory", b"d/sub": "directory", b"d/sub/new": "file", b"f": "file"}
        synthetic = {path: facts["synthetic"] for path, _, facts in map(tree.table.describe, range(3))}
        assert synthetic == {b"d": first == "put", b"d/sub": False, b"d/sub/new": True}

    @pytest.mark.parametrize("first", ["hide", "put"])
    def test_all_names_of_a_directory(self, tree, first):
        if first == "put":
            put(tree, b"d/new")
        tree.hide_names(b"d")
        tree.hide_names(b"none")
        tree.hide_names(b"f")
        if first == "hide":
            put(tree, b"d/new")
        assert kinds(tree) == {b"d": "directory", b"d/new": "file", b"f": "file"}

    def test_all_names_of_the_root(self, tree):
        put(tree, b"g")
        tree.hide_names(b"")
        assert kinds(tree) == {b"g": "file"}

    def test_what_has_become_something_else(self, tree):
        put(tree, b"d")
        put(tree, b"f/in")
        assert kinds(tree) == {b"d": "file", b"f": "directory", b"f/in": "file"}

    def test_what_comes_again_is_empty(self, tree):
        tree.hide(b"d")
        tree.begin()
        put(tree, b"d", "directory", content=None)
        put(tree, b"d/sub/z")
        assert kinds(tree) == {b"d": "directory", b"d/sub": "directory", b"d/sub/z": "file", b"f": "file"}


class TestLinks:
    """Other names of a file, of whichever layer."""

    def test_names_of_one_file(self):
        tree = new_tree()
        put(tree, b"a", mode=0o600)
        assert tree.link(b"d/b", b"a")
        assert tree.link(b"a", b"a")
        tree.begin()
        assert tree.link(b"c", b"d/b")
        assert [(path, kind, facts["mode"]) for path, kind, facts in finished(tree) if kind != "directory"] == [
            (b"a", "file", 0o600), (b"c", "file", 0o600), (b"d/b", "file", 0o600)
        ]  # fmt: skip

    def test_a_name_beneath_the_file_itself(self):
        tree = new_tree()
        put(tree, b"a")
        assert tree.link(b"a/b", b"a")
        assert kinds(tree) == {b"a": "directory", b"a/b": "file"}

    def test_what_is_not_there(self):
        tree = new_tree()
        put(tree, b"a/b")
        assert not tree.link(b"c", b"none")
        assert not tree.link(b"c", b"a")
        assert not tree.link(b"c", b"")
        tree.hide_names(b"")
        tree.begin()
        tree.hide(b"a")
        assert not tree.link(b"c", b"a/b")


class TestPieces:
    """Plain entries, taken from the stream."""

    MEMBERS = (
        Member(b"d", "directory", mode=0o755),
        Member(b"d/x", "file", b"data"),
        Member(b"d/zeros", "file", bytes(5000)),
        Member(b"d/empty", "file"),
        Member(b"s", "symlink", target=b"d/x"),
    )

    def test_they_are_taken(self):
        data = archive("ustar", list(self.MEMBERS))
        tree = new_tree()
        end, count, files = tree.take(data, 0, 100)
        assert (end, count) == (len(data) - 1024, 5)
        assert [(bytes(view), zeros) for view, zeros in files] == [(b"data", False), (bytes(5000), True)]
        with pytest.raises(ValueError, match="missing"):
            tree.take(data, 0, 1)
        with pytest.raises(ValueError, match="missing"):
            put(tree, b"x")
        with pytest.raises(ValueError, match="each file"):
            tree.digest(DIGEST)
        tree.digest(2 * DIGEST)
        assert kinds(tree) == {
            b"d": "directory", b"d/empty": "file", b"d/x": "file", b"d/zeros": "file", b"s": "symlink"
        }  # fmt: skip

    def test_as_many_as_may_be(self):
        data = archive("ustar", list(self.MEMBERS))
        tree = new_tree()
        assert tree.take(data, 0, 1)[:2] == (512, 1)
        assert tree.take(data, 512, 0) == (512, 0, [])
        with pytest.raises(ValueError, match=str(len(data) + 1)):
            tree.take(data, len(data) + 1, 1)

    @pytest.mark.parametrize(
        "member",
        [
            Member(b"../x", "file"),
            Member(b"a/./x", "file"),
            Member(b"a//x", "file"),
            Member(b"/x", "file"),
            Member(b"a/.wh.x", "file"),
            Member(b".wh..wh..opq", "file"),
            Member(b"x/", "file"),
            Member(b"x", "hardlink", target=b"y"),
            Member(b"x", "fifo"),
        ],
    )
    def test_what_is_not_plain(self, member):
        assert new_tree().take(archive("ustar", [member]), 0, 9) == (0, 0, [])

    @pytest.mark.parametrize(
        ("written", "path"),
        [(b"./a/x", b"a/x"), (b"p" * 90 + b"/" + b"n" * 90, b"p" * 90 + b"/" + b"n" * 90), (b".x/.y", b".x/.y")],
    )
    def test_how_paths_are_written(self, written, path):
        tree = new_tree()
        assert tree.take(archive("ustar", [Member(written, "file")]), 0, 9)[1] == 1
        assert path in kinds(tree)

    def test_a_file_that_does_not_end_in_the_piece(self):
        data = archive("ustar", [Member(b"x", "file", b"data" * 200)])
        assert new_tree().take(data[: 512 + 1023], 0, 9) == (0, 0, [])
        assert new_tree().take(data[: 512 + 1024], 0, 9)[:2] == (1536, 1)


class TestRefusals:
    """What is no tree."""

    @pytest.mark.parametrize("path", [b"/a", b"a/", b"a//b", b"n" * 70000])
    def test_what_is_no_path(self, path):
        with pytest.raises(ValueError, match="no name"):
            put(new_tree(), path)

    def test_what_is_no_entry(self):
        tree = new_tree()
        for arguments, error in (
            ({"kind": "hardlink"}, KeyError),
            ({"kind": "socket"}, KeyError),
            ({"content": b"short"}, ValueError),
            ({"mode": 2**32}, OverflowError),
            ({"mtime": 2**63}, OverflowError),
        ):
            with pytest.raises(error):
                put(tree, b"a", **arguments)
        with pytest.raises(ValueError, match="root"):
            put(tree, b"")

    def test_once(self, tmp_path):
        tree = new_tree()
        finished(tree)
        for again in (lambda: put(tree, b"a"), lambda: finished(tree), lambda: tree.take(b"", 0, 1)):
            with pytest.raises(ValueError, match="is filled"):
                again()
        tree.hide(b"a")
        tree.hide_names(b"")
        assert not tree.link(b"a", b"b")
        with pytest.raises(ValueError, match="scanning"):
            LayeredTree(tree.table, 7, 100)
        with pytest.raises(ValueError, match="scanning"):
            LayeredTree(scan(tmp_path), 7, 100)

    def test_too_much(self):
        """Names, links and attributes count, wherever they come from."""
        data = archive("ustar", [Member(b"%d" % number, "file") for number in range(100)])
        for act in (
            lambda tree: tree.take(data, 0, 100),
            lambda tree: put(tree, b"/".join([b"d"] * 100)),
            lambda tree: put(tree, b"a", xattrs={b"user.a": bytes(5000)}),
            lambda tree: put(tree, b"s", "symlink", content=b"t" * 5000),
        ):
            with pytest.raises(OverflowError, match="too much memory"):
                act(new_tree(most=4000))
