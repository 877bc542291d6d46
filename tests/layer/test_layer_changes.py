"""The layer that makes one tree of another: it has what it must have and no more, and makes exactly that tree."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import tarfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from fastoci.errors import TreeChangedError, TreeError, TreeNameError
from fastoci.events import Notice, Warned
from fastoci.layer.changes import plan_changes
from fastoci.layer.fingerprint import place_of
from fastoci.layer.options import LayerOptions
from fastoci.tree import changes as changes_module
from fastoci.tree.changes import TreeBase
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.changesets import apply, copy_tree
from oracles.changesreference import changes
from oracles.longform import times
from oracles.nasty import is_root
from oracles.packing import pack, pack_changes
from oracles.privileges import unprivileged
from oracles.randomtrees import PAIRS, made
from oracles.snapshot import differences, packable, snapshot
from oracles.tarreference import Rules, write_pieces, write_tar

NUMBERS = itertools.count()


def names(packed):
    """Return the names in a layer, directories with their slash."""
    with tarfile.open(fileobj=BytesIO(packed.tar), errors="surrogateescape") as archive:
        return [member.name + "/" * member.isdir() for member in archive]


def check(tree, base, scratch, **options):
    """Pack what a tree changes of a base: it is the slow writer's layer, and makes that tree of a copy of the base."""
    packed = pack_changes(tree, base, **options)
    new, old = packable(snapshot(tree)), packable(snapshot(base))
    assert packed.tar == write_tar(write_pieces(changes(new, old)))
    copy = Path(scratch) / f"copy-{next(NUMBERS)}"
    copy_tree(base, copy)
    apply(packed.tar, copy)
    assert differences(new, packable(snapshot(copy))) == []
    shutil.rmtree(copy)
    return packed


@pytest.fixture
def base(tmp_path):
    return make_tree(tmp_path / "base")


@pytest.fixture
def tree(base, tmp_path):
    """The same tree again, to be changed."""
    copy_tree(base, tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture
def comparing(monkeypatch):
    """Return what takes something to be done when both trees have been scanned, and before any bytes are compared."""

    def when(act):
        def compare(*arguments, **options):
            comparison = real(*arguments, **options)
            act()
            return comparison

        monkeypatch.setattr(changes_module, "Comparison", compare)

    real = changes_module.Comparison
    return when


def make_tree(root):
    (root / "dir/sub").mkdir(parents=True)
    (root / "many").mkdir()
    (root / "file").write_bytes(b"content")
    (root / "dir/file").write_bytes(b"x" * 3000)
    (root / "dir/sub/deep").write_bytes(b"deep")
    for number in range(4):
        (root / "many" / f"{number}").write_bytes(b"%d" % number)
    os.link(root / "dir/file", root / "dir/sub/link")
    os.link(root / "dir/file", root / "link")
    (root / "soft").symlink_to("file")
    os.mkfifo(root / "fifo")
    for directory, found, files in os.walk(root):
        for name in (*found, *files, "."):
            os.utime(os.path.join(directory, name), (1600000000, 1600000000), follow_symlinks=False)
    return root


def keep_times(*directories):
    """Return a context in which directories' times do not change by what happens to their names."""

    class Kept:
        def __enter__(self):
            self.found = {path: os.stat(path) for path in directories}

        def __exit__(self, *_):
            for path, status in self.found.items():
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return Kept()


@given(PAIRS)
@settings(max_examples=times(30, 600), suppress_health_check=[HealthCheck.too_slow])
def test_any_tree_of_any_other(tmp_path_factory, pair):
    with made(pair[0]) as old, made(pair[1]) as new:
        check(new, old, tmp_path_factory.getbasetemp())


@given(PAIRS)
@settings(max_examples=times(8, 100), suppress_health_check=[HealthCheck.too_slow])
def test_any_tree_with_itself(pair):
    with made(pair[1]) as root:
        assert pack_changes(root, root).tar == bytes(1024)


def test_the_nasty_tree_of_nothing_and_back(nasty_tree, tmp_path):
    """All of it is new; and all of it is gone."""
    (tmp_path / "empty").mkdir()
    made_new = pack_changes(nasty_tree.path, tmp_path / "empty")
    assert made_new.tar == pack(nasty_tree.path).tar
    gone = names(pack_changes(tmp_path / "empty", nasty_tree.path))
    top = {os.fsdecode(path) for path in nasty_tree.entries if b"/" not in path}
    assert sorted(gone) == sorted(f".wh.{name}" for name in top)


def test_the_same_tree_is_an_empty_layer(base, tree, tmp_path):
    packed = check(tree, base, tmp_path)
    assert (packed.tar, packed.layer.entries, packed.layer.newest_mtime) == (bytes(1024), 0, None)
    assert [event.message for event in packed.events if isinstance(event, Notice)] == [
        f"tree: nothing differs from {base}, and the layer is empty"
    ]


# What is done to the tree, and what is then in the layer.
CHANGES = {
    "bytes alone": (
        lambda tree: rewrite(tree / "file", b"CONTENT"),
        ["file"],
    ),
    "mode": (lambda tree: (tree / "file").chmod(0o600), ["file"]),
    "mtime": (lambda tree: os.utime(tree / "file", (1, 1)), ["file"]),
    **(
        {
            "owner": (lambda tree: os.chown(tree / "file", 1, -1), ["file"]),
            "group": (lambda tree: os.chown(tree / "dir/sub", -1, 2), ["dir/", "dir/sub/"]),
        }
        if is_root()
        else {}
    ),
    "nanoseconds, which no layer has": (lambda tree: os.utime(tree / "file", ns=(1, 1600000000 * 10**9 + 5)), []),
    "an attribute": (lambda tree: os.setxattr(tree / "file", "user.a", b"1"), ["file"]),
    "a directory's mode": (lambda tree: (tree / "dir/sub").chmod(0o700), ["dir/", "dir/sub/"]),
    "a link's target": (
        lambda tree: (remove(tree / "soft"), symlink(tree / "soft", "dir")),
        ["soft"],
    ),
    "a new file": (lambda tree: write(tree / "dir/new", b""), ["dir/", "dir/new"]),
    "a file gone": (lambda tree: remove(tree / "dir/sub/deep"), ["dir/", "dir/sub/", "dir/sub/.wh.deep"]),
    "a directory gone": (lambda tree: remove(tree / "many"), [".wh.many"]),
    "some of many": (
        lambda tree: [remove(tree / f"many/{number}") for number in range(3)],
        ["many/", "many/.wh.0", "many/.wh.1", "many/.wh.2"],
    ),
    "all of many": (
        lambda tree: [remove(tree / f"many/{number}") for number in range(4)],
        ["many/", "many/.wh..wh..opq"],
    ),
    "all of many, and others in their place": (
        lambda tree: [(remove(tree / f"many/{number}"), write(tree / f"many/n{number}", b"")) for number in range(4)],
        ["many/", "many/.wh..wh..opq", "many/n0", "many/n1", "many/n2", "many/n3"],
    ),
    "a directory becomes a file": (lambda tree: (remove(tree / "dir/sub"), write(tree / "dir/sub", b"")), None),
    "a directory with links becomes a link": (
        lambda tree: (remove(tree / "many"), symlink(tree / "many", "dir")),
        ["many"],
    ),
    "a file becomes a directory": (
        lambda tree: (remove(tree / "file"), write(tree / "file/in", b"")),
        ["file/", "file/in"],
    ),
    "a file becomes a pipe": (lambda tree: (remove(tree / "file"), os.mkfifo(tree / "file")), ["file"]),
    "all names of a file are in the layer": (
        lambda tree: (tree / "link").chmod(0o600),
        ["dir/", "dir/file", "dir/sub/", "dir/sub/link", "link"],
    ),
    "a name more": (
        lambda tree: os.link(tree / "link", tree / "more"),
        ["dir/", "dir/file", "dir/sub/", "dir/sub/link", "link", "more"],
    ),
    "a name less is a whiteout": (lambda tree: remove(tree / "dir/file"), ["dir/", "dir/.wh.file"]),
    "a name that is a file of its own": (
        lambda tree: (shutil.copy2(tree / "link", tree / "copy"), os.rename(tree / "copy", tree / "link")),
        ["link"],
    ),
    "a socket in a file's place": (lambda tree: (remove(tree / "file"), bind(tree / "file")), [".wh.file"]),
    "a name that sorts elsewhere as a directory": (
        lambda tree: (remove(tree / "file"), write(tree / "file/in", b""), write(tree / "file-", b"")),
        ["file-", "file/", "file/in"],
    ),
}


def rewrite(path, data):
    """Write other bytes of the same size, with the same modification time."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove(path):
    with keep_times(path.parent):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def write(path, data):
    path.parent.mkdir(exist_ok=True)
    with keep_times(path.parent):
        path.write_bytes(data)


def symlink(path, target):
    with keep_times(path.parent):
        path.symlink_to(target)


def bind(path):
    with keep_times(path.parent), socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_in_the_layer(base, tree, tmp_path, what):
    change, expected = CHANGES[what]
    change(tree)
    found = names(check(tree, base, tmp_path))
    if expected is not None:
        assert found == expected


@pytest.mark.parametrize(("offset", "size"), [(0, 700_000), (262_143, 700_000), (699_999, 700_000), (524_288, 524_289)])
def test_one_byte_of_a_large_file(tmp_path, offset, size):
    for name in ("base", "tree"):
        (tmp_path / name).mkdir()
        with open(tmp_path / name / "large", "wb") as file:
            file.write(b"x" * size)
            file.seek(offset)
            file.write(b"y" if name == "tree" else b"x")
        os.utime(tmp_path / name / "large", (1, 1))
    assert names(pack_changes(tmp_path / "tree", tmp_path / "base")) == ["large"]
    assert names(pack_changes(tmp_path / "base", tmp_path / "base")) == []


def test_holes_are_zeros_and_cost_nothing(tmp_path):
    """A file of a tebibyte is the same as another; as one with zeros where that has a hole; and not as a third one."""
    size = 1 << 40
    for name in ("base", "same", "zeros", "other"):
        (tmp_path / name).mkdir()
        with open(tmp_path / name / "sparse", "wb") as file:
            file.truncate(size)
            file.seek(size // 2)
            file.write(b"data")
            if name == "zeros":
                file.seek(size // 4)
                file.write(bytes(5000))
            if name == "other":
                file.seek(size - 1)
                file.write(b"x")
        os.utime(tmp_path / name / "sparse", (1, 1))
    policy, options = TreePolicy(), LayerOptions(threads=1, compression="none")
    for name, entries in (("same", 0), ("zeros", 0), ("other", 1)):
        source = TreeSource(str(tmp_path / name))
        planning = plan_changes(source, TreeBase(str(tmp_path / "base")), policy, options, lambda _: None)
        with planning as planned:
            assert planned.blocks.facts().entries == entries


class TestPolicy:
    """Compared is what a layer would say."""

    def test_both_trees_go_through_it(self, base, tree):
        for path in ("file", "dir", "many/1"):
            (tree / path).chmod(0o700)
            os.utime(tree / path, (2, 2))
        if is_root():
            os.chown(tree / "file", 1, 2)
        policy = TreePolicy(uid=0, gid=0, mtime=7, chmod="755")
        assert names(pack_changes(tree, base, policy=policy)) == []
        assert names(pack_changes(tree, base, policy=TreePolicy(uid=0, gid=0, mtime=7))) == [
            "dir/",
            "file",
            "many/",
            "many/1",
        ]

    def test_the_limit_of_times(self, base, tree):
        os.utime(tree / "file", (1700000000, 1700000000))
        assert names(pack_changes(tree, base, policy=TreePolicy(mtime_limit=1500000000))) == []

    def test_attributes_that_are_left_out(self, base, tree):
        os.setxattr(tree / "file", "user.note", b"1")
        assert names(pack_changes(tree, base, policy=TreePolicy(xattrs=False))) == []

    def test_what_is_in_the_layer_is_as_the_policy_says(self, base, tree):
        write(tree / "dir/new", b"new")
        policy = TreePolicy(uid=5, gid=6, mtime=7, chmod="u=rwX,go=")
        rules = Rules(5, 6, mtime=7, modes=lambda kind, mode: mode & 0o7000 | (0o700 if kind == "directory" else 0o600))
        found = snapshot(tree)
        expected = write_pieces({path: found[path] for path in (b"dir", b"dir/new")}, rules)
        assert pack_changes(tree, base, policy=policy).tar == write_tar(expected)

    def test_what_is_excluded_is_in_neither(self, base, tree):
        """A directory of which something may be left is never opaque."""
        write(tree / "new.log", b"")
        remove(tree / "dir/sub/deep")
        for number in range(4):
            remove(tree / "many" / f"{number}")
        write(base / "many/kept.log", b"")
        write(base / "old.log", b"")
        assert names(pack_changes(tree, base, policy=TreePolicy(patterns=("**/*.log", "dir/sub")))) == [
            "many/",
            "many/.wh.0",
            "many/.wh.1",
            "many/.wh.2",
            "many/.wh.3",
        ]

    def test_what_is_let_in_again(self, base, tree):
        write(tree / "dir/sub/deep", b"DEEP")
        write(tree / "file", b"other")
        assert names(pack_changes(tree, base, policy=TreePolicy(patterns=("*", "!dir/sub/deep")))) == [
            "dir/",
            "dir/sub/",
            "dir/sub/deep",
        ]


class TestDestination:
    """Both trees stand at the place of the one."""

    def test_directories_above(self, base, tree):
        remove(tree / "many/1")
        packed = pack_changes(tree, base, "/opt/app")
        assert names(packed) == ["opt/", "opt/app/", "opt/app/many/", "opt/app/many/.wh.1"]
        assert packed.layer.directories.find(b"opt/app/many").kind == "directory"
        assert packed.layer.directories.find(b"opt/app/dir") is None

    def test_the_root_itself(self, base, tree):
        tree.chmod(0o711)
        assert names(pack_changes(tree, base, "/opt")) == ["opt/"]
        assert names(pack_changes(tree, base)) == []

    def test_the_root_as_an_earlier_layer_has_it(self, base, tree, tmp_path):
        (tmp_path / "below/opt").mkdir(parents=True)
        below = pack(tmp_path / "below").layer
        tree.chmod(0o711)
        assert names(pack_changes(tree, base, "/opt", earlier=[below])) == []


class TestRefusals:
    """What ends the work, in words."""

    def test_names_like_whiteouts(self, base, tree):
        (tree / "dir/.wh.x").write_bytes(b"")
        with pytest.raises(TreeNameError, match="whiteout") as caught:
            pack_changes(tree, base)
        assert caught.value.path == f"{tree}/dir/.wh.x"
        with pytest.raises(TreeNameError) as caught:
            pack_changes(base, tree)
        assert caught.value.path == f"{tree}/dir/.wh.x"

    def test_a_base_that_is_not_there(self, tree, tmp_path):
        with pytest.raises(TreeError, match="there is no directory") as caught:
            pack_changes(tree, tmp_path / "nothing")
        assert caught.value.path == str(tmp_path / "nothing")

    @pytest.mark.parametrize("which", ["base", "tree"])
    def test_what_has_become_one_file(self, base, tree, tmp_path, which):
        with pytest.raises(TreeError, match="cannot compare") as caught:
            pack_changes(
                tree / "file" if which == "tree" else tree, base / "file" if which == "base" else base, "/opt/x"
            )
        assert caught.value.path == str(tmp_path / which / "file")

    @pytest.mark.skipif(not is_root(), reason="only root can become somebody else")
    @pytest.mark.parametrize("which", ["base", "tree"])
    def test_a_file_that_may_not_be_read(self, base, tree, tmp_path, which, comparing):
        (tmp_path / which / "file").chmod(0)
        with ExitStack() as stack:
            comparing(lambda: stack.enter_context(unprivileged()))
            with pytest.raises(TreeError, match="cannot open") as caught:
                pack_changes(tree, base, policy=TreePolicy(chmod="644"))
        assert caught.value.path == str(tmp_path / which / "file")

    @pytest.mark.parametrize("which", ["base", "tree"])
    def test_a_file_that_changes_before_it_is_compared(self, base, tree, tmp_path, which, comparing):
        comparing(lambda: rewrite(tmp_path / which / "file", b"CONTENT"))
        with pytest.raises(TreeChangedError, match="changed") as caught:
            pack_changes(tree, base)
        assert caught.value.path == str(tmp_path / which / "file")

    @pytest.mark.parametrize("gone", ["base", "tree"])
    def test_a_directory_that_vanishes_before_it_is_compared(self, base, tree, tmp_path, gone, comparing):
        comparing(lambda: shutil.rmtree(tmp_path / gone / "many"))
        with pytest.raises(TreeChangedError, match="vanished") as caught:
            pack_changes(tree, base)
        assert caught.value.path.startswith(f"{tmp_path}/{gone}/many")

    def test_a_file_that_changes_after_it_was_compared(self, base, tree):
        rewrite(tree / "file", b"CONTENT")
        with pytest.raises(TreeChangedError, match="changed"):
            pack_changes(tree, base, change=lambda: rewrite(tree / "file", b"content"))


def test_sockets_of_the_tree_are_spoken_of_and_those_of_the_base_are_not(base, tree):
    bind(tree / "new")
    bind(base / "old")
    packed = pack_changes(tree, base)
    assert names(packed) == []
    assert [event.message for event in packed.events if isinstance(event, Warned)] == [
        "skipped the socket new: a layer cannot hold sockets"
    ]


def test_what_is_one_file_in_both_trees_is_not_read(base, tree, monkeypatch):
    """A tree of hard links to the base: nobody compares any bytes."""
    shutil.rmtree(tree)
    shutil.copytree(base, tree, copy_function=os.link, symlinks=True, ignore=lambda *_: ["fifo"])
    for directory in ("", "dir", "dir/sub", "many"):
        os.utime(tree / directory, (1600000000, 1600000000))

    class Nobody:
        run = None

        def __init__(self, _):
            pytest.fail("bytes are compared")

    monkeypatch.setattr(changes_module, "ContentComparer", Nobody)
    assert names(pack_changes(tree, base)) == [".wh.fifo"]


def known(tree, base):
    source, options = TreeSource(os.fspath(tree)), LayerOptions(threads=1)
    with plan_changes(source, TreeBase(os.fspath(base)), TreePolicy(), options, lambda _: None) as planned:
        return planned.fingerprint().value, planned.place


def test_what_the_layer_is_known_by(base, tree, tmp_path):
    """The fingerprint is that of what is in the layer; the place says what the tree is compared with."""
    copy_tree(base, tmp_path / "other")
    remove(tree / "many/1")
    first, place = known(tree, base)
    assert (first, place) == known(tree, base)
    other, elsewhere = known(tree, tmp_path / "other")
    assert (other == first, elsewhere == place) == (True, False)
    assert place != place_of(TreeSource(str(tree)), TreePolicy(), LayerOptions(threads=1))
    remove(tmp_path / "other/many/1")
    remove(tmp_path / "other/many/2")
    write(tmp_path / "other/more", b"")
    seen = {first, known(tree, tmp_path / "other")[0], known(base, tree)[0], known(tree, tree)[0]}
    assert len(seen) == 4
