"""A layer unpacked by programs that are not ours, and compared entry by entry with the tree it was made of."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from fastoci.tree.policy import TreePolicy
from oracles import unpackers
from oracles.nasty import BLOCK, is_root
from oracles.packing import pack
from oracles.snapshot import differences, kept_xattrs, snapshot

BEYOND_THE_KERNEL = "deepest"  # its paths are over 4,096 bytes long, which no program here takes in one piece
AT_THE_LIMIT = "deep"  # its paths are 4,031 bytes long, and too long where a directory is put before them


@pytest.fixture(scope="module")
def blob(nasty_tree):
    return pack(nasty_tree.path, policy=TreePolicy(patterns=(BEYOND_THE_KERNEL,))).blob


def assert_same(expected, target, excuse=lambda difference: None):
    assert [difference for difference in differences(expected, snapshot(target)) if excuse(difference) is None] == []


def test_the_nasty_tree_is_nasty(nasty_tree):
    entries = nasty_tree.entries
    kinds = {entry.kind for entry in entries.values()}
    assert kinds >= {"file", "directory", "symlink", "fifo"}
    assert len(nasty_tree.sockets) == 2
    assert max(map(len, entries)) > 4096
    assert {len(path.rsplit(b"/")[-1]) for path in entries} >= {1, 255}
    assert {len(entry.content) for entry in entries.values()} >= {0, 1, 511, 512, 513, BLOCK - 1, BLOCK, BLOCK + 1}
    assert min(entry.mtime for entry in entries.values()) < -1
    assert any(entry.mtime_ns < 0 and entry.mtime_ns % 10**9 for entry in entries.values())
    assert any(entry.links > 1 for entry in entries.values())
    keys = {key for entry in entries.values() for key in entry.xattrs}
    assert keys >= {b"user.binary", b"user.containers.override_stat", b"user.\xff"}
    if not is_root():
        pytest.skip("only root can make devices and owners")
    assert kinds >= {"character", "block"}
    assert keys >= {b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"}
    assert {entry.uid for entry in entries.values()} >= {2097151, 2097152, 2**32 - 2}
    assert {entry.device for entry in entries.values()} >= {(4095, 2**20 - 1)}


def test_gnu_tar(nasty_tree, blob, tmp_path):
    unpackers.gnu_tar(blob, tmp_path / "unpacked")
    assert_same(nasty_tree.without(BEYOND_THE_KERNEL), tmp_path / "unpacked")


def test_bsdtar(nasty_tree, blob, tmp_path):
    unpackers.bsdtar(blob, tmp_path / "unpacked")
    assert_same(nasty_tree.without(BEYOND_THE_KERNEL), tmp_path / "unpacked", unpackers.excused_bsdtar)


def test_python_tarfile(nasty_tree, blob, tmp_path):
    expected = nasty_tree.without(BEYOND_THE_KERNEL)
    unpackers.python_tarfile(blob, tmp_path / "unpacked")
    assert_same(expected, tmp_path / "unpacked", unpackers.excused_tarfile(expected))


def test_python_tarfile_reads_the_extended_attributes(nasty_tree, blob):
    with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz", errors="surrogateescape") as archive:
        members = {os.fsencode(member.name): member for member in archive}
    for path, entry in nasty_tree.without(BEYOND_THE_KERNEL).items():
        member = members[path]
        found = {
            os.fsencode(key.removeprefix("SCHILY.xattr.")): os.fsencode(value)
            for key, value in member.pax_headers.items()
            if key.startswith("SCHILY.xattr.")
        }
        assert found == ({} if member.islnk() else kept_xattrs(entry)), path


@pytest.mark.skipif(not is_root(), reason="umoci restores owners and devices as root alone")
def test_umoci(nasty_tree, tmp_path):
    blob = pack(nasty_tree.path, policy=TreePolicy(patterns=(AT_THE_LIMIT, BEYOND_THE_KERNEL))).blob
    unpackers.umoci(blob, tmp_path / "unpacked")
    assert_same(nasty_tree.without(AT_THE_LIMIT, BEYOND_THE_KERNEL), tmp_path / "unpacked", unpackers.excused_umoci)


@pytest.mark.parametrize("unpack", [unpackers.gnu_tar, unpackers.bsdtar, unpackers.python_tarfile, unpackers.umoci])
def test_an_empty_tree(unpack, tmp_path):
    if unpack is unpackers.umoci and not is_root():
        pytest.skip("umoci restores owners and devices as root alone")
    (tmp_path / "tree").mkdir()
    unpack(pack(tmp_path / "tree").blob, tmp_path / "unpacked")
    assert snapshot(tmp_path / "unpacked") == {}


def bytes_read():
    """Return how many bytes this process has read, by whatever call (proc(5), `/proc/pid/io`)."""
    with open("/proc/self/io") as file:
        return int(file.readline().partition(" ")[2])


def test_holes_are_written_and_not_read(tmp_path):
    """The kernel counts what is read; GNU tar finds zeros."""
    root = tmp_path / "tree"
    root.mkdir()
    with open(root / "holes", "wb") as file:
        for at in (0, 20 << 20, 40 << 20):
            file.seek(at)
            file.write(b"data" * 1024)
        file.truncate(64 << 20)
    if os.stat(root / "holes").st_blocks * 512 > 1 << 20:
        pytest.skip("left out: this file system keeps no holes")
    before = bytes_read()
    packed = pack(root)
    # The kernel says where data is by its pages, of 64 KiB at most.
    assert bytes_read() - before < 1 << 20
    unpackers.gnu_tar(packed.blob, tmp_path / "unpacked")
    assert_same(snapshot(root), tmp_path / "unpacked")
