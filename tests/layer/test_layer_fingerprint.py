"""Fingerprints and places: any fact that decides a layer's bytes changes the one, and nothing of the tree the other."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastoci.events import discard
from fastoci.layer import fingerprint as fingerprint_module
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import plan_tree
from fastoci.layer.tarball import plan_tar
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from imagekit import make_tar

POLICY = TreePolicy(patterns=("*.o",))
OPTIONS = LayerOptions(threads=2)


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "tree")


def make_tree(tree):
    """Make a tree with something of every kind, all of it of one time."""
    (tree / "sub/empty").mkdir(parents=True)
    (tree / "a").write_bytes(b"a" * 3000)
    (tree / "sub/b").write_bytes(b"b")
    os.link(tree / "a", tree / "sub/hard")
    (tree / "soft").symlink_to("a")
    os.mkfifo(tree / "fifo")
    os.setxattr(tree / "a", "user.note", b"1")
    for directory, names, files in os.walk(tree):
        for name in (*names, *files, "."):
            os.utime(os.path.join(directory, name), (1600000000, 1600000000), follow_symlinks=False)
    return tree


def known(tree, dest="/", policy=POLICY, options=OPTIONS):
    """Return what a tree's layer is known by: its fingerprint and its place."""
    with plan_tree(TreeSource(os.fspath(tree), dest), policy, options, discard) as planned:
        return planned.fingerprint().value, planned.place


def known_tar(path, options=OPTIONS):
    with plan_tar(TreeSource(os.fspath(path)), options, discard) as planned:
        return planned.fingerprint().value, planned.place


def set_times(path, seconds, nanoseconds=0):
    time = seconds * 10**9 + nanoseconds
    os.utime(path, ns=(time, time), follow_symlinks=False)


def rewrite(path, data):
    """Write other bytes of the same size, with the same modification time: only ctime tells."""
    with path.open("r+b") as file:
        file.write(data)
    set_times(path, 1600000000)


def replaced(path):
    """Put a copy in a file's place, with its times."""
    shutil.copy2(path, path.with_name("copy"))
    os.rename(path.with_name("copy"), path)


# What is done to the tree, by name; each is a change that a layer's bytes could show.
CHANGES = {
    "content": lambda tree: rewrite(tree / "sub/b", b"c"),
    "size": lambda tree: (tree / "sub/b").write_bytes(b"bb"),
    "mode": lambda tree: (tree / "sub/b").chmod(0o600),
    "mode of a directory": lambda tree: (tree / "sub").chmod(0o700),
    "mtime": lambda tree: set_times(tree / "sub/b", 1600000001),
    "nanoseconds": lambda tree: set_times(tree / "sub/b", 1600000000, 1),
    "new file": lambda tree: (tree / "z").write_bytes(b""),
    "gone": lambda tree: (tree / "sub/b").unlink(),
    "renamed": lambda tree: (tree / "sub/b").rename(tree / "sub/c"),
    "moved": lambda tree: (tree / "sub/empty").rename(tree / "empty"),
    "link's target": lambda tree: ((tree / "soft").unlink(), (tree / "soft").symlink_to("b")),
    "link no longer hard": lambda tree: replaced(tree / "sub/hard"),
    "another file of the same bytes": lambda tree: replaced(tree / "sub/b"),
    "kind": lambda tree: ((tree / "fifo").unlink(), (tree / "fifo").write_bytes(b"")),
    "attribute": lambda tree: os.setxattr(tree / "a", "user.note", b"2"),
    "attribute's name": lambda tree: (os.removexattr(tree / "a", "user.note"), os.setxattr(tree / "a", "user.n", b"1")),
    "attribute more": lambda tree: os.setxattr(tree / "sub", "user.note", b"1"),
    "excluded": lambda tree: (tree / "sub/b").rename(tree / "sub/b.o"),
}

# What is asked for, by name; each gives a layer other bytes, or may.
WISHES = {
    "level": lambda tree: known(tree, options=replace(OPTIONS, level=2)),
    "compression": lambda tree: known(tree, options=replace(OPTIONS, compression="none")),
    "destination": lambda tree: known(tree, dest="/opt"),
    "uid": lambda tree: known(tree, policy=replace(POLICY, uid=0 if os.getuid() else 1)),
    "gid": lambda tree: known(tree, policy=replace(POLICY, gid=0 if os.getgid() else 1)),
    "limit of times": lambda tree: known(tree, policy=replace(POLICY, mtime_limit=1500000000)),
    "no attributes": lambda tree: known(tree, policy=replace(POLICY, xattrs=False)),
    "patterns": lambda tree: known(tree, policy=replace(POLICY, patterns=("sub/b",))),
}


def test_the_same_tree_is_known_again(tree):
    first = known(tree)
    assert known(tree) == first
    assert known(tree, options=replace(OPTIONS, threads=1)) == first
    assert known(f"{tree}/sub/..") == first
    os.utime(tree / "a", ns=(1, (tree / "a").stat().st_mtime_ns))  # who reads a file changes its atime
    set_times(tree / "a", 1600000000)
    again = known(tree)
    assert again[1] == first[1]
    assert again[0] != first[0], "and by utime also its ctime, which counts"


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_tree_changes_the_fingerprint_alone(tree, change):
    fingerprint, place = known(tree)
    CHANGES[change](tree)
    assert known(tree)[0] != fingerprint
    assert known(tree)[1] == place


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=6, unique=True))
def test_no_two_states_of_a_tree_have_one_fingerprint(tmp_path_factory, changes):
    tree = make_tree(tmp_path_factory.mktemp("states") / "tree")
    seen = [known(tree)[0]]
    for change in changes:
        try:
            CHANGES[change](tree)
        except OSError:
            continue  # an earlier change took away what this one is about
        seen.append(known(tree)[0])
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("wish", WISHES)
def test_what_is_asked_for_is_part_of_both(tree, wish):
    fingerprint, place = known(tree)
    assert WISHES[wish](tree)[0] != fingerprint
    assert WISHES[wish](tree)[1] != place


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_compressor_version", lambda _: "0.0.1"),
        ("FORMAT_VERSION", 2),
        ("BLOCK_SIZE", 1 << 20),
        ("__version__", "0.0.1"),
    ],
)
def test_versions_are_part_of_both(tree, monkeypatch, name, value):
    fingerprint, place = known(tree)
    monkeypatch.setattr(fingerprint_module, name, value)
    assert known(tree)[0] != fingerprint
    assert known(tree)[1] != place


def test_another_machine(tree, monkeypatch):
    fingerprint, place = known(tree)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="z80"))
    assert known(tree)[0] != fingerprint
    assert known(tree)[1] != place


def test_one_file_is_known_by_itself(tree):
    before = known(tree / "a", "/x")
    assert known(tree / "a", "/x") == before
    assert known(tree / "sub/hard", "/x")[0] == before[0]  # another name of the same file
    (tree / "beside").touch()
    assert known(tree / "a", "/x") == before
    os.chmod(tree / "a", 0o600)
    assert known(tree / "a", "/x")[0] != before[0]
    assert known(tree / "a", "/x")[1] == before[1]
    with plan_tree(TreeSource.parse(f"{tree}/a:/x/"), POLICY, OPTIONS, discard) as planned:
        assert planned.place != before[1]
        assert planned.fingerprint().value != before[0]


def test_another_place_of_the_same_tree(tree, tmp_path):
    first = known(tree)
    tree.rename(tmp_path / "other")
    assert known(tmp_path / "other")[1] != first[1]
    assert str(tmp_path) not in first[1]


def test_only_what_has_settled_is_known_for_good(tree, monkeypatch):
    """What was written just now may be written again without its times telling."""
    with plan_tree(TreeSource(str(tree)), POLICY, OPTIONS, discard) as planned:
        assert not planned.fingerprint().settled
    now = os.stat(tree).st_ctime_ns
    for later, settled in ((10**9, False), (3 * 10**9, True)):
        monkeypatch.setattr("time.time_ns", lambda later=later: now + later)
        with plan_tree(TreeSource(str(tree)), POLICY, OPTIONS, discard) as planned:
            assert planned.fingerprint().settled == settled


def test_archives(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(make_tar({"a": b"1"}))
    first = known_tar(path)
    assert known_tar(path) == first
    assert known_tar(path, replace(OPTIONS, level=2))[0] != first[0]
    assert known_tar(path, replace(OPTIONS, level=2))[1] != first[1]
    rewrite(path, make_tar({"a": b"2"}))
    assert known_tar(path)[0] != first[0]
    assert known_tar(path)[1] == first[1]
