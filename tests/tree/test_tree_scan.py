"""Scanning a source: errors in words, with the path as the user gave it."""

from __future__ import annotations

import errno
import functools
import os
import pickle
import threading

import pytest

from fastoci._engine import EngineFault
from fastoci._engine.scanner import Scanner
from fastoci.errors import FastociError, TreeChangedError, TreeError, TreeNameError
from fastoci.events import discard
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.tree import scan as scanning
from fastoci.tree.faults import explain
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import scan_tree
from fastoci.tree.source import TreeSource
from oracles.packing import MemorySink, pack, pack_changed
from oracles.privileges import unprivileged
from oracles.threads import allow_threads, our_threads


def scan(path, policy=None, threads=2):
    return scan_tree(TreeSource(str(path)), policy or TreePolicy(), threads)


@pytest.fixture
def tree(tmp_path):
    """A tree that anybody may read, at a place that anybody may reach by the descriptor it is given."""
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_bytes(b"data")
    for path in (root, root / "sub", root / "sub" / "file"):
        path.chmod(0o755)
    return root


@pytest.fixture
def reachable(tree):
    """The tree by a path that nobody's lack of rights stands in the way of."""
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    yield f"/proc/self/fd/{fd}"
    os.close(fd)


def test_a_tree_that_is_not_there(tmp_path):
    with pytest.raises(TreeError, match="there is no directory") as caught:
        scan(tmp_path / "nothing")
    error = caught.value
    assert (error.path, error.errno, error.cause) == (
        str(tmp_path / "nothing"),
        errno.ENOENT,
        "no such file or directory",
    )
    assert error.hint


def test_a_file_as_a_tree(tree):
    with pytest.raises(TreeError, match="neither a directory nor a tar archive") as caught:
        scan(tree / "sub" / "file")
    assert caught.value.errno == errno.ENOTDIR


def test_a_tree_behind_a_symbolic_link(tree):
    (tree.parent / "link").symlink_to("tree")
    assert scan(tree.parent / "link").scanned == 2


def test_a_path_that_no_system_has():
    with pytest.raises(TreeError, match="null"):
        scan("a\0b")
    with pytest.raises(TreeError, match="too long"):
        scan("a" * 5000)


def test_an_unreadable_tree(tree):
    tree.chmod(0)
    with unprivileged(), pytest.raises(TreeError, match="permission denied") as caught:
        scan(tree)
    assert caught.value.errno == errno.EACCES
    tree.chmod(0o755)


def test_an_unreadable_directory(tree, reachable):
    (tree / "sub").chmod(0)
    with unprivileged(), pytest.raises(TreeError, match="cannot open the directory") as caught:
        scan(reachable)
    error = caught.value
    assert (error.path, error.errno, error.cause) == (f"{reachable}/sub", errno.EACCES, "permission denied")
    assert "--exclude sub" in error.hint


def test_an_unreadable_file(tree, reachable):
    (tree / "sub" / "file").chmod(0)
    with unprivileged(), pytest.raises(TreeError, match="cannot open") as caught:
        pack(reachable)
    assert (caught.value.path, caught.value.errno) == (f"{reachable}/sub/file", errno.EACCES)
    assert "--exclude sub/file" in caught.value.hint


@pytest.mark.parametrize("slash", ["", "/", "///"])
def test_the_path_is_the_user_s(tree, slash):
    (tree / ".wh.x").write_bytes(b"")
    with pytest.raises(TreeNameError) as caught:
        scan(f"{tree}{slash}")
    assert caught.value.path == f"{tree}/.wh.x"


def test_a_name_that_is_not_utf8(tree):
    os.rename(tree / "sub", os.fsencode(tree) + b"/caf\xe9")
    with pytest.raises(TreeChangedError, match="vanished") as caught:
        pack_changed(tree, lambda: os.unlink(os.fsencode(tree) + b"/caf\xe9/file"))
    assert caught.value.path == f"{tree}/caf\udce9/file"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            EngineFault("changed", b"a/b", 0, 10485760, 10489856),
            "src/a/b changed while it was packed: size 10,485,760 → 10,489,856",
        ),
        (EngineFault("changed", b"a", 0, 5, 5), "src/a changed while it was packed: its times"),
        (EngineFault("changed", b"a", errno.ENOENT, 5, -1), "src/a vanished while it was packed"),
        (EngineFault("changed", b"a", errno.ESTALE, 5, 5), "src/a was replaced while it was packed"),
        (EngineFault("changed", b"", errno.ESTALE, 0, 0), "src was replaced while it was packed"),
        (EngineFault("xattr name", b"a", 0, 0, 0), "src/a has an extended attribute with '=' in its name"),
        (EngineFault("headers", b"a", 0, 524288, 600000), "its headers take 600,000 bytes; there is room for 524,288"),
        (
            EngineFault("size", b"a", 0, 2**62, 2**63 - 1),
            "src/a is too large for the layer: it has 9,223,372,036,854,775,807 bytes, holes included; there is room",
        ),
        (EngineFault("read", b"a", errno.EIO, 0, 0), "cannot read src/a: input/output error"),
        (EngineFault("xattr", b"a", errno.EIO, 0, 0), "cannot read the extended attributes of src/a"),
        (EngineFault("stat", b".", errno.EIO, 0, 0), "cannot ask for the status of src: "),
        (EngineFault("read link", b"a", errno.EIO, 0, 0), "cannot read the symbolic link src/a"),
        (EngineFault("read directory", b"", errno.EIO, 0, 0), "cannot list the directory src: "),
    ],
)
def test_faults_in_words(fault, said):
    error = explain(fault, "src")
    assert said in str(error)
    assert isinstance(error, TreeError)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.hint) == (str(error), error.path, error.hint)


def test_an_interrupted_scan(tree, monkeypatch):
    class Interrupted(threading.Thread):
        def join(self, timeout=None):
            super().join(timeout)
            if not Interrupted.done:
                Interrupted.done = True
                raise KeyboardInterrupt

    Interrupted.done = False
    monkeypatch.setattr(threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        scan(tree)
    assert our_threads() == []


def test_a_scan_thread_that_fails(tree, monkeypatch):
    class Broken:
        def __init__(self, *args, **options):
            self.scanner = Scanner(*args, **options)
            self.stop = self.scanner.stop
            self.finish = self.scanner.finish

        def run(self, *, may_ask):
            raise MemoryError

    monkeypatch.setattr("fastoci.tree.scan.Scanner", Broken)
    with pytest.raises(MemoryError):
        scan(tree)


def test_no_thread_to_be_had(tree, monkeypatch):
    allow_threads(monkeypatch, 1)
    with pytest.raises(FastociError, match="cannot start a thread"):
        scan(tree, threads=3)
    assert our_threads() == []


def test_errors_leave_no_descriptor(tree):
    (tree / "sub" / ".wh.x").write_bytes(b"")
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(TreeNameError):
            pack_tree(TreeSource(str(tree)), TreePolicy(), LayerOptions(), MemorySink(), discard)
    assert sorted(os.listdir("/proc/self/fd")) == before


class TestAColdTree:
    """Every tree is taken here for one that is not in the page cache: the first thread that has read a directory asks
    for more."""

    @pytest.fixture(autouse=True)
    def cold(self, monkeypatch):
        monkeypatch.setattr(scanning, "Scanner", functools.partial(Scanner, cold_after=0))

    @pytest.fixture
    def tree(self, tmp_path):
        for number in range(60):
            directory = tmp_path / "tree" / f"{number % 7}" / f"{number}"
            directory.mkdir(parents=True)
            (directory / "file").write_bytes(b"x" * number)
        return tmp_path / "tree"

    @pytest.mark.parametrize("threads", [1, 2, scanning.COLD_SCAN_THREADS])
    def test_is_scanned_by_more_threads(self, tree, monkeypatch, threads):
        started = allow_threads(monkeypatch, 100)
        table = scan(tree, threads=threads)
        assert len(started) == scanning.COLD_SCAN_THREADS
        assert table.scanned == 7 + 60 + 60
        assert our_threads() == []

    def test_gives_the_same_layer(self, tree, monkeypatch):
        cold = pack(tree).layer
        monkeypatch.setattr(scanning, "Scanner", Scanner)
        assert pack(tree).layer.descriptor == cold.descriptor

    @pytest.mark.parametrize("more", [0, 5])
    def test_is_scanned_by_as_many_threads_as_there_are(self, tree, monkeypatch, more):
        started = allow_threads(monkeypatch, 2 + more)
        assert scan(tree, threads=2).scanned == 7 + 60 + 60
        assert len(started) == 2 + more
        assert our_threads() == []

    def test_that_holds_what_no_layer_can(self, tree):
        (tree / "6" / "6" / ".wh.x").touch()
        with pytest.raises(TreeNameError):
            scan(tree)
        assert our_threads() == []

    def test_that_nobody_waits_for(self, tree):
        def fail(event):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pack_tree(TreeSource(str(tree)), TreePolicy(), LayerOptions(threads=2), MemorySink(), fail)
        assert our_threads() == []
