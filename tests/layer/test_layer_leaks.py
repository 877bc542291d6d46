"""Packing over and over leaves nothing behind: no descriptor, no thread, no memory."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import oracles
from oracles.longform import times
from oracles.packing import pack

# All of Python's objects from the C library's allocator, in one heap, without caches of its threads: what it has handed
# out and not got back is then the same every time, to some hundreds of bytes.
ALLOCATOR = {
    "PYTHONMALLOC": "malloc",
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}


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


@pytest.mark.timeout(times(300, 3600))
@pytest.mark.parametrize("how", ["well", "badly"])
def test_nothing_is_left_behind(tree, how):
    if how == "badly":
        (tree / "7" / ".wh.x").write_bytes(b"")
    path = os.pathsep.join([str(Path(oracles.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "oracles.leaks", how, str(tree)],
        env={**os.environ, "PYTHONPATH": path, **ALLOCATOR},
        stdout=subprocess.PIPE,
        check=True,
    )
    grown = json.loads(done.stdout)
    assert (grown["same descriptors"], grown["threads"]) == (True, 1)
    # The smallest piece that could be left behind each time takes 32 bytes: 3,200 in a stretch of a hundred times.
    assert grown["memory"] < 2048


def test_a_table_lives_as_long_as_its_layer(tree):
    layer = pack(tree).layer
    gc.collect()
    assert layer.directories.find(b"3").kind == "directory"
    assert layer.directories.find(b"3/3.link").target == b"t" * 200
    assert layer.directories.find(b"3/nothing") is None
