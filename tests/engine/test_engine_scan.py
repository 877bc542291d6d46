"""The scan: what it says of a tree, whichever way it reads extended attributes and however many threads do it."""

from __future__ import annotations

import fcntl
import os
import socket
import threading

import pytest

from fastoci._engine import EngineFault
from fastoci._engine.plan import Plan
from fastoci._engine.scanner import Scanner
from fastoci._engine.table import EntryTable
from fastoci.tree.patterns import compile_patterns
from oracles.nasty import is_root
from oracles.packing import entries, scan
from oracles.snapshot import inode_groups, kept_xattrs

SIZE = 512 * 1024


def described(path, **options):
    table = scan(path, **options)
    Plan(table, block_size=SIZE)
    return entries(table)


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def test_the_table_says_what_is_there(nasty_tree):
    found = {path: (kind, facts) for path, kind, facts in described(nasty_tree.path)}
    assert found.keys() == nasty_tree.entries.keys()
    groups = inode_groups(nasty_tree.entries)
    for path, entry in nasty_tree.entries.items():
        kind, facts = found[path]
        assert not facts["synthetic"]
        assert (facts["mode"], facts["uid"], facts["gid"]) == (entry.mode, entry.uid, entry.gid), path
        assert (facts["mtime"], facts["mtime_ns"]) == divmod(entry.mtime_ns, 10**9), path
        # The first name in the order of paths holds the data; files order as their paths do.
        first = min(groups.get(path, {path}))
        if first != path:
            assert (kind, facts["link"], facts["size"], facts["xattrs"]) == ("hardlink", first, 0, {}), path
            continue
        assert kind == entry.kind, path
        assert facts["xattrs"] == kept_xattrs(entry), path
        assert list(facts["xattrs"]) == sorted(facts["xattrs"]), path
        if kind in ("character", "block"):
            assert (os.major(facts["link"]), os.minor(facts["link"])) == entry.device, path
        elif kind == "symlink":
            assert facts["link"] == entry.content, path
        else:
            assert facts["link"] is None, path
            assert facts["size"] == len(entry.content), path


@pytest.mark.parametrize("threads", [1, 3, 8])
@pytest.mark.parametrize("way", [0, 1, 2])
def test_every_way_and_number_of_threads_gives_the_same_table(nasty_tree, way, threads):
    assert described(nasty_tree.path, way=way, threads=threads) == described(nasty_tree.path)


def test_more_threads_than_directories(tmp_path):
    (tmp_path / "only").write_bytes(b"x")
    assert described(tmp_path, threads=16) == described(tmp_path)


def test_one_thread_is_told_once_that_more_would_help(nasty_tree):
    fd = os.open(nasty_tree.path, os.O_RDONLY | os.O_DIRECTORY)
    table = EntryTable(os.fsencode(nasty_tree.path), fd)
    os.close(fd)
    scanner = Scanner(table, compile_patterns([]), with_xattrs=True, keep_whiteouts=False, cold_after=0)
    assert [scanner.run(may_ask=True) for _ in range(3)] == [True, False, False]
    scanner.finish()
    assert table.scanned == len(nasty_tree.entries)


@pytest.mark.parametrize("way", [0, 1, 2])
def test_the_working_directory_stays(nasty_tree, way):
    before = os.stat(".")
    here = os.getcwd()
    described(nasty_tree.path, way=way, threads=2)
    after = os.stat(".")
    assert os.getcwd() == here
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)


def test_without_extended_attributes(nasty_tree):
    assert all(facts["xattrs"] == {} for _, _, facts in described(nasty_tree.path, xattrs=False))


def test_sockets_are_counted_and_the_first_is_named(nasty_tree):
    for threads in (1, 4):
        table = scan(nasty_tree.path, threads=threads)
        assert (table.sockets, table.first_socket) == (2, b"special/another socket")
        assert table.scanned == len(nasty_tree.entries)


def test_an_excluded_socket_is_nobody_s_concern(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        for patterns in (["s"], ["s", "!other"], ["*", "!other"]):
            assert scan(tmp_path, patterns=patterns).sockets == 0


def test_a_directory_beside_a_file_that_begins_alike(tmp_path):
    # The byte order of whole paths, where a directory's slash counts: - and . come before it, 0 after it.
    for name in ("a0", "a.b", "a-b", "a "):
        (tmp_path / name).write_bytes(b"")
    for name in ("a", "a-"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"")
    assert [path for path, _, _ in described(tmp_path)] == [
        b"a ",
        b"a-",
        b"a-/x",
        b"a-b",
        b"a.b",
        b"a",
        b"a/x",
        b"a0",
    ]


@pytest.mark.parametrize("threads", [1, 4])
def test_a_name_like_a_whiteout_is_a_fault(tmp_path, threads):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".wh.gone").write_bytes(b"")
    with pytest.raises(EngineFault) as caught:
        scan(tmp_path, threads=threads)
    assert (caught.value.kind, caught.value.path) == ("whiteout name", b"d/.wh.gone")
    assert [path for path, _, _ in described(tmp_path, whiteouts=True)] == [b"d", b"d/.wh.gone"]
    assert [path for path, _, _ in described(tmp_path, patterns=["**/.wh.*"])] == [b"d"]
    (tmp_path / "d" / ".wh.gone").rename(tmp_path / "d" / ".wh")
    assert len(described(tmp_path)) == 2


def test_an_attribute_with_an_equals_sign_in_its_name_is_a_fault(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    os.setxattr(tmp_path / "file", "user.a=b", b"c")
    with pytest.raises(EngineFault) as caught:
        scan(tmp_path)
    assert (caught.value.kind, caught.value.path) == ("xattr name", b"file")
    assert len(described(tmp_path, xattrs=False)) == 1
    # The host's own are dropped before anybody looks at their names.
    os.removexattr(tmp_path / "file", "user.a=b")
    os.setxattr(tmp_path / "file", "user.overlay.a=b", b"c")
    assert described(tmp_path)[0][2]["xattrs"] == {}


def test_a_scan_that_is_stopped_returns(nasty_tree):
    fd = os.open(nasty_tree.path, os.O_RDONLY)
    table = EntryTable(b"source", fd)
    os.close(fd)
    scanner = Scanner(table, compile_patterns(()), with_xattrs=True, keep_whiteouts=False)
    scanner.stop()
    threads = [threading.Thread(target=scanner.run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    scanner.finish()
    assert table.scanned == 0


def test_a_fault_in_one_thread_ends_the_others(tmp_path):
    for number in range(200):
        (tmp_path / f"{number}" / "d").mkdir(parents=True)
    (tmp_path / "150" / "d" / ".wh.x").write_bytes(b"")
    with pytest.raises(EngineFault, match="whiteout"):
        scan(tmp_path, threads=8)


def test_descriptors_are_closed(nasty_tree):
    before = descriptors()
    table = scan(nasty_tree.path, threads=3)
    (opened,) = descriptors() - before
    # Programs that are started meanwhile do not inherit the tree.
    assert fcntl.fcntl(int(opened), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    table.close()
    assert descriptors() == before
    table.close()
    scan(nasty_tree.path)
    assert descriptors() == before


def test_a_table_needs_a_descriptor():
    with pytest.raises(OSError, match="descriptor"):
        EntryTable(b"source", -1)


class TestTable:
    """A table asked for single entries, and placed in the layer."""

    @pytest.fixture
    def table(self, tmp_path):
        for name in ("a", "a/b"):
            (tmp_path / name).mkdir()
        for name in ("a-b", "a/b/c", "a0", "z"):
            (tmp_path / name).write_bytes(name.encode())
        return scan(tmp_path)

    def test_find(self, table):
        Plan(table, block_size=SIZE)
        for path, kind, facts in entries(table):
            assert table.find(path) == (kind, facts)
        for path in (b"", b"b", b"a/b/c/d", b"a-", b"zz", b"/a"):
            assert table.find(path) is None

    def test_an_empty_table_finds_nothing(self, tmp_path):
        (tmp_path / "empty").mkdir()
        table = scan(tmp_path / "empty")
        assert table.find(b"a") is None
        Plan(table, block_size=SIZE)
        assert len(table) == 0
        assert table.find(b"a") is None
        with pytest.raises(IndexError):
            table.describe(0)

    def test_a_root_with_a_name_and_directories_above_it(self, table):
        xattrs = {b"user.b": b"2", b"user.a": b"1"}
        table.adopt_ancestor(b"opt", 0o2711, 7, 8, -9, xattrs)
        table.adopt_ancestor(b"vendor", 0o700, 1, 2, 3, {})
        table.place_root(b"app")
        planned = Plan(table, block_size=SIZE, uid=5, gid=6, mtime_limit=2)
        found = entries(table)
        assert [path for path, _, _ in found] == [
            b"opt",
            b"opt/vendor",
            b"opt/vendor/app",
            b"opt/vendor/app/a-b",
            b"opt/vendor/app/a",
            b"opt/vendor/app/a/b",
            b"opt/vendor/app/a/b/c",
            b"opt/vendor/app/a0",
            b"opt/vendor/app/z",
        ]
        assert found[0][2] == {
            "mode": 0o2711,
            "uid": 7,
            "gid": 8,
            "size": 0,
            "mtime": -9,
            "mtime_ns": 0,
            "link": None,
            "xattrs": {b"user.a": b"1", b"user.b": b"2"},
            "synthetic": True,
        }
        assert not found[2][2]["synthetic"]
        for path, kind, facts in found:
            assert table.find(path) == (kind, facts)
        assert planned.owner == (os.getuid(), os.getgid())
        assert planned.newest_mtime == 2

    def test_a_root_at_the_top_of_the_layer(self, table):
        table.place_root(b"opt")
        Plan(table, block_size=SIZE)
        assert table.describe(0)[0] == b"opt"
        assert table.describe(1)[0] == b"opt/a-b"
        assert table.find(b"opt/a/b/c")[0] == "file"

    def test_a_root_that_an_earlier_layer_has(self, table):
        table.place_root(b"opt")
        table.restate_root(0o1777, 1, 2, 3, {b"user.x": b"y"})
        Plan(table, block_size=SIZE)
        facts = table.describe(0)[2]
        assert (facts["mode"], facts["uid"], facts["gid"], facts["mtime"]) == (0o1777, 1, 2, 3)
        assert (facts["xattrs"], facts["synthetic"]) == ({b"user.x": b"y"}, True)

    def test_what_was_not_found_has_no_owner_and_no_time(self, tmp_path):
        (tmp_path / "empty").mkdir()
        table = scan(tmp_path / "empty")
        table.adopt_ancestor(b"opt", 0o755, 7, 7, 7, {})
        table.place_root(b"app")
        table.restate_root(0o755, 7, 7, 7, {})
        planned = Plan(table, block_size=SIZE)
        assert (len(table), planned.owner, planned.newest_mtime) == (2, None, None)

    def test_the_newest_time_and_the_one_owner(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / name).write_bytes(b"")
            os.utime(tmp_path / name, ns=(0, -5 * 10**9 - 1))
        planned = Plan(scan(tmp_path), block_size=SIZE)
        assert (planned.newest_mtime, planned.owner) == (-6, (os.getuid(), os.getgid()))
        if is_root():
            os.chown(tmp_path / "b", 1, 0)
            assert Plan(scan(tmp_path), block_size=SIZE).owner is None
