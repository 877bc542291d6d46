"""Packing over and over leaves nothing behind: no descriptor, no thread, no memory."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from fastoci.errors import TreeError
from fastoci.events import LayerScanned
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.packing import pack

TIMES = 50


def resident():
    """Return the bytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def is_sanitized():
    """Return whether AddressSanitizer looks on."""
    with open("/proc/self/maps") as file:
        return "libasan" in file.read()


class Nowhere:
    def write(self, data):
        pass

    def commit(self, digest):
        pass


@pytest.fixture
def tree(tmp_path):
    """Some hundreds of entries, with attributes and links, so that each leak would be of some size."""
    for number in range(300):
        path = tmp_path / f"{number % 20}" / f"{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d" % number * 200)
        os.setxattr(path, "user.a", b"v" * 200)
        path.with_name(f"{number}.link").symlink_to("t" * 200)
    return tmp_path


def pack_well(tree):
    policy = TreePolicy(patterns=("1*", "!12"))
    pack_tree(TreeSource(str(tree), "/opt/app"), policy, LayerOptions(threads=2), Nowhere(), lambda event: None)


def pack_badly(tree):
    """Fail in the scan, and then in the rendering."""
    with pytest.raises(TreeError):
        pack_tree(TreeSource(str(tree)), TreePolicy(), LayerOptions(threads=2), Nowhere(), lambda event: None)
    victim = tree / "3" / "3"
    data = victim.read_bytes()

    def change(event):
        if isinstance(event, LayerScanned):
            victim.write_bytes(data)

    policy = TreePolicy(whiteouts="keep")
    with pytest.raises(TreeError):
        pack_tree(TreeSource(str(tree)), policy, LayerOptions(threads=2), Nowhere(), change)


@pytest.mark.parametrize("work", [pack_well, pack_badly])
def test_nothing_is_left_behind(tree, work):
    if work is pack_badly:
        (tree / "7" / ".wh.x").write_bytes(b"")
    for _ in range(10):
        work(tree)
    gc.collect()
    threads = threading.enumerate()
    descriptors = sorted(os.listdir("/proc/self/fd"))
    memory = resident()
    for _ in range(TIMES):
        work(tree)
    gc.collect()
    assert threading.enumerate() == threads
    assert sorted(os.listdir("/proc/self/fd")) == descriptors
    if is_sanitized():
        pytest.skip("AddressSanitizer keeps freed memory back, so that memory grows")
    # A table of this tree holds some 300 KB, a pool of buffers 3 MiB: fifty of the lesser would be 15 MB.
    assert resident() - memory < 6 * 1024 * 1024


def test_a_table_lives_as_long_as_its_layer(tree):
    layer = pack(tree).layer
    gc.collect()
    assert layer.directories.find(b"3").kind == "directory"
    assert layer.directories.find(b"3/3.link").target == b"t" * 200
    assert layer.directories.find(b"3/nothing") is None
