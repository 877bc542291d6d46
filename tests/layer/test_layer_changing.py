"""A tree that changes while it is packed: it comes out as it was scanned, or an error says what changed.

Nothing is ever followed out of the tree, waited for, or put together of two states of one file.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
import shutil
import stat
import tarfile
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci.errors import TreeChangedError
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.clock import let_the_clock_tick
from oracles.longform import times
from oracles.nasty import BLOCK
from oracles.packing import MemorySink, pack, pack_changed
from oracles.randomtrees import TREES, made
from oracles.snapshot import inode_groups, snapshot
from oracles.tarreference import write_pieces, write_tar
from oracles.threads import our_threads

SECRET = b"what lies outside of the tree"


def remove(path):
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def append(path):
    with open(path, "ab") as file:
        file.write(b"more")


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 2)


def rewrite(path):
    """Write as much of something else, and put the modification time back."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"?" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def give_another_mode(path):
    os.chmod(path, 0o700)


MOVED = b"\x01moved"  # no name that hypothesis makes up meets it, and none is too long


def move(path):
    os.rename(path, os.path.join(os.path.dirname(path), MOVED))


def become_a_symlink(path):
    move(path)
    os.symlink(MOVED, path)


def become_a_fifo(path):
    remove(path)
    os.mkfifo(path)


def become_a_directory(path):
    remove(path)
    os.mkdir(path)


OF_FILES = [append, truncate, rewrite, give_another_mode]
OF_ANY = [remove, move, become_a_symlink, become_a_fifo, become_a_directory]


@given(spec=TREES.filter(len), which=st.integers(0, 100), how=st.integers(0, 100))
@settings(max_examples=60)
def test_any_change_to_any_tree_between_scan_and_reading(spec, which, how):
    with made(spec) as root:
        before = snapshot(root)
        path = sorted(before)[which % len(before)]
        full = os.path.join(os.fsencode(root), path)
        changes = OF_ANY + OF_FILES * (before[path].kind == "file")
        change = changes[how % len(changes)]
        # What the change touches: all names of the file, what a directory that goes away holds.
        touched = set(inode_groups(before).get(path, ())) | {path}
        touched |= {one for one in before if one.startswith(path + b"/")}
        for one in list(touched):
            touched |= inode_groups(before).get(one, frozenset())
        data = {one for one in touched if before[one].kind == "file" and before[one].content}
        let_the_clock_tick(os.path.dirname(root))
        sink = MemorySink()
        if data:
            with pytest.raises(TreeChangedError) as caught:
                pack_changed(root, lambda: change(full), sink=sink)
            assert os.fsencode(caught.value.path).removeprefix(os.fsencode(root) + b"/") in data
            assert sink.committed is None
        else:
            layer = pack_changed(root, lambda: change(full), sink=sink)
            tar = write_tar(write_pieces(before))
            assert layer.tar_size == len(tar)
            assert layer.diff_id.hex == hashlib.sha256(tar).hexdigest()


class Changing:
    """A tree whose files become others all the time, in a thread.

    Each state of a file is one number over and over, and its size says which, so that no two states have the same.
    """

    def __init__(self, root, secret):
        self._root = root
        self._secret = secret
        self._stop = threading.Event()
        self._number = itertools.count(1)
        self._thread = threading.Thread(target=self._run)
        for number in range(24):
            (root / f"{number % 4}").mkdir(exist_ok=True)
            self._write(root / f"{number % 4}" / f"{number}")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _write(self, path):
        number = next(self._number)
        # Now and then one of several blocks, as blocks are read by several threads.
        count = number if number % 7 else number + BLOCK // 4
        with open(path, "wb") as file:
            file.write(b"%08d" % number * count)

    def _run(self):
        rng = random.Random(3)
        while not self._stop.is_set():
            path = self._root / f"{rng.randrange(4)}" / f"{rng.randrange(24)}"
            path.parent.mkdir(exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif rng.random() < 0.5:
                path.unlink(missing_ok=True)
            if os.path.lexists(path) and not path.is_file():
                continue
            what = rng.randrange(8)
            if what == 0 and not path.exists():
                path.symlink_to(self._secret)
            elif what == 1 and not path.exists():
                os.mkfifo(path)
            elif what == 2 and not path.exists():
                path.mkdir()
            elif what == 3:
                path.parent.rename(self._root / "away")
                (self._root / "away").rename(path.parent)
            elif not path.is_symlink():
                self._write(path)


def states(packed):
    """Return the content of every file in a layer."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return [archive.extractfile(member).read() for member in archive if member.isfile()]


@pytest.mark.timeout(times(120, 1200))
def test_while_it_changes_all_the_time(tmp_path):
    """Whatever is met at whichever moment: an error that names it, or files each of which is one state of itself."""
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    root = tmp_path / "tree"
    root.mkdir()
    errors = []
    with Changing(root, secret):
        for _ in range(times(80, 3000)):
            sink = MemorySink()
            options = LayerOptions(threads=2, compression="none")
            try:
                pack_tree(TreeSource(str(root)), TreePolicy(), options, sink, lambda event: None)
            except TreeChangedError as error:
                errors.append(error.path)
                assert sink.committed is None
                continue
            assert SECRET not in sink.data
            for content in states(bytes(sink.data)):
                assert len({content[at : at + 8] for at in range(0, len(content), 8)}) <= 1
                assert len(content) % 8 == 0
    assert errors, "nothing ever changed"
    assert [path for path in errors if not path.startswith(str(root))] == []
    assert our_threads() == []
    # And when all is still, it is packed.
    assert pack(root).layer.entries == len(snapshot(root))
