"""The comparison's Python face, and tables that are filled from Python: what they refuse, and what they say."""

from __future__ import annotations

import hashlib
import os

import pytest

from fastoci._engine import EngineFault
from fastoci._engine.comparison import Comparison
from fastoci._engine.contents import ContentComparer
from fastoci._engine.filler import Filler
from fastoci._engine.plan import Plan
from fastoci._engine.scanner import keeps_xattr
from fastoci._engine.table import EntryTable
from oracles.nasty import BLOCK
from oracles.packing import scan


def in_order(path, **options):
    table = scan(path, **options)
    table.arrange()
    return table


@pytest.fixture
def trees(tmp_path):
    """Two trees of three files each, the second one's `b` of other bytes."""
    for tree in ("old", "new"):
        (tmp_path / tree).mkdir()
        for name in "abc":
            data = b"other" if (tree, name) == ("new", "b") else name.encode() * 5
            (tmp_path / tree / name).write_bytes(data)
            os.utime(tmp_path / tree / name, (1, 1))
    return tmp_path / "new", tmp_path / "old"


@pytest.fixture
def comparison(trees):
    new, old = trees
    return Comparison(in_order(new), in_order(old))


def numbers(selection):
    return list(memoryview(selection).cast("I"))


class TestComparison:
    """Tables in order, once; a selection when all is compared."""

    def test_the_marks_are_a_selection(self, comparison):
        comparison.run()
        assert comparison.pair_count == 3
        ContentComparer(comparison).run()
        assert numbers(comparison.selection()) == [1]

    def test_bytes_have_to_be_compared(self, comparison):
        with pytest.raises(ValueError, match="not everything"):
            comparison.selection()
        comparison.run()
        with pytest.raises(ValueError, match="not everything"):
            comparison.selection()

    def test_once(self, comparison):
        comparison.run()
        with pytest.raises(ValueError, match="has been compared"):
            comparison.run()

    def test_tables_in_order(self, trees):
        new, old = trees
        with pytest.raises(ValueError, match="in order"):
            Comparison(scan(new), in_order(old))
        with pytest.raises(ValueError, match="in order"):
            Comparison(in_order(new), scan(old))
        table = in_order(new)
        with pytest.raises(ValueError, match="two tables"):
            Comparison(table, table)
        table.add_whiteout(None, b"x")
        with pytest.raises(ValueError, match="without whiteouts"):
            Comparison(table, in_order(old))
        with pytest.raises(ValueError, match="modes"):
            Comparison(in_order(new), in_order(old), modes=b"x")

    def test_who_is_stopped_compares_no_more(self, comparison):
        comparison.run()
        comparison.stop()
        ContentComparer(comparison).run()
        assert not ContentComparer(comparison).begin()
        with pytest.raises(ValueError, match="not everything"):
            comparison.selection()

    def test_whiteouts_have_the_last_numbers(self, trees):
        new, old = trees
        (old / "z").write_bytes(b"")
        comparison = Comparison(in_order(new), in_order(old))
        comparison.run()
        ContentComparer(comparison).run()
        assert numbers(comparison.selection()) == [1, 3]
        assert comparison.table.describe(3)[0] == b".wh.z"


class TestContents:
    """Who cannot read a file says so, and all end."""

    def test_a_file_that_changed(self, comparison, trees):
        comparison.run()
        (trees[1] / "b").write_bytes(b"later")
        comparer = ContentComparer(comparison)
        comparer.run()
        comparer.files.check()
        with pytest.raises(EngineFault) as caught:
            comparer.base_files.check()
        assert (caught.value.kind, caught.value.path) == ("changed", b"b")
        comparer.base_files.check()  # it has been said
        assert not ContentComparer(comparison).begin()

    def test_a_table_that_is_closed(self, comparison):
        comparison.run()
        comparer = ContentComparer(comparison)
        comparison.base.close()
        with pytest.raises(ValueError, match="no tree"):
            comparer.run()
        comparison.table.close()
        with pytest.raises(ValueError, match="closed"):
            ContentComparer(comparison)


CONTENT = hashlib.sha256(b"aaaaa").digest()


def entry(name, kind="file", *, mode=0o644, mtime=1, size=5, content=CONTENT, file=0, links=1):
    return name, kind, mode, os.getuid(), os.getgid(), mtime, size, content, {}, file, links


def filled(*directories):
    table = EntryTable(b"image", None)
    filler = Filler(table)
    for children in directories:
        filler.fill(children)
    filler.finish()
    table.arrange()
    return table


class TestFiller:
    """A table of what layers say."""

    def test_what_it_says_is_in_the_table(self):
        table = filled(
            [
                entry(b"a-b"),
                entry(b"a", "directory", content=b""),
                entry(b"c", "directory", mode=None, content=b""),
                entry(b"s", "symlink", content=b"target"),
                entry(b"t", "character", content=os.makedev(1, 3)),
            ],
            [entry(b"in", "fifo", content=b"")],
            [],
        )
        found = [table.describe(number) for number in range(len(table))]
        assert [(path, kind) for path, kind, _ in found] == [
            (b"a-b", "file"),
            (b"a", "directory"),
            (b"a/in", "fifo"),
            (b"c", "directory"),
            (b"s", "symlink"),
            (b"t", "character"),
        ]
        assert found[4][2]["link"] == b"target"
        assert found[5][2]["link"] == os.makedev(1, 3)
        assert (found[0][2]["mode"], found[0][2]["size"], found[0][2]["mtime"]) == (0o644, 5, 1)

    @pytest.mark.parametrize(
        "children",
        [
            [entry(b"b"), entry(b"a")],
            [entry(b"a"), entry(b"a")],
            [entry(b"a", "directory"), entry(b"a-b")],
            [entry(b"")],
            [entry(b"n" * 70000)],
            [entry(b"a", content=b"short")],
        ],
    )
    def test_what_is_no_directory(self, children):
        with pytest.raises(ValueError, match=r"order|name|digest"):
            Filler(EntryTable(b"image", None)).fill(children)

    def test_what_is_no_kind_and_no_number(self):
        filler = Filler(EntryTable(b"image", None))
        for wrong, error in (
            (entry(b"a", "hardlink"), KeyError),
            (entry(b"a", "socket"), KeyError),
            (entry(b"a", mode=2**32), OverflowError),
            (entry(b"a", mtime=2**63), OverflowError),
            (entry(b"a")[:-1], ValueError),
            ("a", TypeError),
        ):
            with pytest.raises(error):
                filler.fill([wrong])

    def test_every_directory_once(self):
        filler = Filler(EntryTable(b"image", None))
        filler.fill([entry(b"a", "directory", content=b"")])
        with pytest.raises(ValueError, match="not been filled"):
            filler.finish()
        filler.fill([])
        with pytest.raises(ValueError, match="all directories"):
            filler.fill([])
        filler.finish()
        with pytest.raises(ValueError, match="scanning"):
            Filler(filler.table)

    def test_a_tree_is_not_filled(self, tmp_path):
        with pytest.raises(ValueError, match="scanning"):
            Filler(scan(tmp_path))

    def test_compared_by_digests(self, trees):
        """Of a file with several names one is hashed; what is another file has a name of its own there."""
        new, _ = trees
        os.link(new / "a", new / "d")
        other = hashlib.sha256(b"bbbbb").digest()
        base = filled(
            [
                entry(b"a", file=1, links=2),
                entry(b"b", content=other, file=2),
                entry(b"c", content=hashlib.sha256(b"ccccc").digest(), file=3),
                entry(b"d", file=1, links=2),
            ]
        )
        comparison = Comparison(in_order(new), base, recorded=True)
        comparison.run()
        assert comparison.pair_count == 3
        comparer, hashed = ContentComparer(comparison), []
        with pytest.raises(ValueError, match="no tree"):
            comparer.run()
        buffer = bytearray(3)
        while comparer.begin():
            data = b""
            while size := comparer.read(buffer):
                data += buffer[:size]
            with pytest.raises(ValueError, match="digest"):
                comparer.end(b"short")
            assert comparer.end(hashlib.sha256(data).digest())
            hashed.append(data)
        assert hashed == [b"aaaaa", b"other", b"ccccc"]
        assert (comparer.read(buffer), comparer.end(bytes(32))) == (0, False)
        assert numbers(comparison.selection()) == [1]

    @pytest.mark.parametrize("when", ["before", "while"])
    def test_a_file_that_changes_while_it_is_hashed(self, trees, when):
        comparison = Comparison(in_order(trees[0]), filled([entry(name) for name in (b"a", b"b", b"c")]), recorded=True)
        comparison.run()
        comparer = ContentComparer(comparison)
        if when == "while":
            assert comparer.begin()
            assert comparer.read(bytearray(3)) == 3
        (trees[0] / "a").write_bytes(b"later")
        if when == "while":
            assert not comparer.end(bytes(32))
        assert not comparer.begin()
        with pytest.raises(EngineFault, match="changed"):
            comparer.files.check()

    def test_it_is_planned_but_not_read(self):
        table = filled([entry(b"a", size=0)])
        planned = Plan(table, block_size=BLOCK, selection=bytes(4))
        assert planned.find(b"a")[0] == "file"


def test_attributes_that_are_the_files_own():
    kept = [b"user.x", b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"]
    dropped = [b"user.overlay.x", b"user.containers.x", b"security.selinux", b"trusted.x", b"system.other", b""]
    assert [name for name in [*kept, *dropped] if keeps_xattr(name)] == kept
