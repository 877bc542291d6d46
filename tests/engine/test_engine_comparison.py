"""The comparison's Python face: what it refuses, and what it says."""

from __future__ import annotations

import hashlib
import os

import pytest

from fastoci._engine import EngineFault
from fastoci._engine.comparison import Comparison
from fastoci._engine.contents import ContentComparer, zero_runs
from fastoci._engine.layered import LayeredTree
from fastoci._engine.pattern import PatternSet
from fastoci._engine.scanner import keeps_xattr
from fastoci._engine.table import EntryTable
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


def sha256(data):
    return hashlib.sha256(data).digest()


def recorded(**files):
    """Return the table of an image of some files, by their digests, all as `trees` has them."""
    table = EntryTable(b"image", None)
    tree = LayeredTree(table, 7, 1 << 20)
    for name, digest in files.items():
        tree.put(name.encode(), "file", 0o644, os.getuid(), os.getgid(), 1, 5, digest, {})
    tree.finish(b"", PatternSet([]))
    table.arrange()
    return table


class TestDigests:
    """Files of a tree against what is known of others."""

    @pytest.mark.parametrize("room", [1 << 20, 12, 3])
    def test_small_ones_at_once_and_others_in_pieces(self, trees, room):
        new, _ = trees
        base = recorded(a=sha256(b"aaaaa"), b=sha256(b"bbbbb"), c=sha256(b"ccccc"))
        comparison = Comparison(in_order(new), base, recorded=True)
        comparison.run()
        comparer, hashed, buffer = ContentComparer(comparison), [], memoryview(bytearray(room))
        with pytest.raises(ValueError, match="no tree"):
            comparer.run()
        while True:
            while found := comparer.read_small(buffer):
                with pytest.raises(ValueError, match="a digest for each"):
                    comparer.end_small(b"short")
                with pytest.raises(ValueError, match="missing"):
                    comparer.begin()
                with pytest.raises(ValueError, match="missing"):
                    comparer.read_small(buffer)
                data = [bytes(buffer[start:end]) for start, end, zeros in found if not zeros]
                comparer.end_small(b"".join(map(sha256, data)))
                hashed += data
            if not comparer.begin():
                break
            data = b""
            assert comparer.skip() == 0
            while size := comparer.read(buffer):
                data += buffer[:size]
            with pytest.raises(ValueError, match="digest"):
                comparer.end(b"short")
            assert comparer.end(sha256(data))
            hashed.append(data)
        assert hashed == [b"aaaaa", b"other", b"ccccc"]
        assert (comparer.skip(), comparer.read(buffer), comparer.end(bytes(32))) == (0, 0, False)
        assert numbers(comparison.selection()) == [1]

    def test_holes_are_passed_over(self, tmp_path):
        (tmp_path / "tree").mkdir()
        with open(tmp_path / "tree/a", "wb") as file:
            file.truncate(1 << 40)
            file.seek(1 << 39)
            file.write(b"data")
        os.utime(tmp_path / "tree/a", (1, 1))
        table, tree = EntryTable(b"image", None), None
        tree = LayeredTree(table, 7, 1 << 20)
        tree.put(b"a", "file", 0o644, os.getuid(), os.getgid(), 1, 1 << 40, bytes(32), {})
        tree.finish(b"", PatternSet([]))
        table.arrange()
        comparison = Comparison(in_order(tmp_path / "tree"), table, recorded=True)
        comparison.run()
        comparer, found, buffer = ContentComparer(comparison), [], bytearray(4096)
        assert comparer.read_small(buffer) == []
        assert comparer.begin()
        while True:
            skipped, size = comparer.skip(), comparer.read(buffer)
            if not size:
                break
            found.append((skipped, buffer[:4]))
        assert found == [(1 << 39, b"data")]
        assert skipped == (1 << 39) - 4096

    @pytest.mark.parametrize("when", ["before", "while", "small"])
    def test_a_file_that_changes_while_it_is_hashed(self, trees, when):
        comparison = Comparison(in_order(trees[0]), recorded(a=bytes(32), b=bytes(32), c=bytes(32)), recorded=True)
        comparison.run()
        comparer = ContentComparer(comparison)
        if when == "while":
            assert comparer.begin()
            assert comparer.read(bytearray(3)) == 3
        (trees[0] / "a").write_bytes(b"later")
        if when == "while":
            assert not comparer.end(bytes(32))
        elif when == "small":
            assert comparer.read_small(bytearray(100)) == []
        assert not comparer.begin()
        with pytest.raises(EngineFault, match="changed"):
            comparer.files.check()


def test_runs_of_zeros():
    """Whole blocks from the beginning on, and no others."""
    zeros = bytes(4096)
    assert zero_runs(b"") == zero_runs(bytes(4095)) == zero_runs(b"x" + bytes(8190)) == []
    assert zero_runs(zeros) == [(0, 4096)]
    data = b"x" * 4096 + 2 * zeros + bytes(4095) + b"x" + zeros + bytes(100)
    assert zero_runs(data) == zero_runs(memoryview(data)) == [(4096, 12288), (16384, 20480)]


def test_attributes_that_are_the_files_own():
    kept = [b"user.x", b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"]
    dropped = [b"user.overlay.x", b"user.containers.x", b"security.selinux", b"trusted.x", b"system.other", b""]
    assert [name for name in [*kept, *dropped] if keeps_xattr(name)] == kept
