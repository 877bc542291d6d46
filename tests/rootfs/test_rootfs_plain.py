"""Small files written by the engine's threads: errors with the file's path, memory that stays, nothing left running."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import threading

import pytest
from tarkit import END, LAYER, entry, folder, unpack, whiteout

from fastoci.errors import FastociError, InvalidImageError, StoreError
from fastoci.rootfs.changeset import Rootfs
from fastoci.rootfs.limits import Limits, Usage
from fastoci.rootfs.owners import Owners
from oracles.snapshot import snapshot

# 0 is one after the other, by the calling thread.
THREADS = [0, 1, 3]


def files(directory, count, size=9, first=0):
    return b"".join(entry(f"{directory}/{number}", data=b"x" * size) for number in range(first, first + count))


@pytest.mark.parametrize("threads", THREADS)
def test_a_refusal_is_said_with_the_file(threads, tmp_path):
    layer = folder("d") + files("d", 300) + entry("d/large", data=b"x" * 1001) + files("d", 300, first=300)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    running = threading.active_count()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StoreError) as caught:
            unpack(tmp_path / "out", layer, threads=threads)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.what == f"cannot unpack {tmp_path}/out/d/large"
    assert (caught.value.path, caught.value.errno) == (f"{tmp_path}/out/d/large", errno.EFBIG)
    assert threading.active_count() == running


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("most", [1, 2, 50, 51, 52])
def test_the_limit_of_entries_is_exact(most, threads, tmp_path):
    layer = folder("d") + files("d", 51)
    with pytest.raises(InvalidImageError, match="too many entries"):
        unpack(tmp_path / "few", layer, limits=Limits(entries=most - 1), threads=threads)
    # What was taken and not written when it ended is left.
    assert len(snapshot(tmp_path / "few")) in ((most - 1,) if not threads else range(most))
    unpack(tmp_path / "enough", layer, limits=Limits(entries=52), threads=threads)
    assert len(snapshot(tmp_path / "enough")) == 52


@pytest.mark.parametrize("threads", THREADS)
def test_a_whiteout_hides_nothing_of_its_own_layer_however_it_was_written(threads, tmp_path):
    lower = folder("d") + files("d", 20)
    upper = folder("d") + files("d", 5, 30) + b"".join(whiteout(f"d/{number}") for number in range(10))
    unpack(tmp_path, lower, upper, threads=threads)
    found = {path: len(one.content) for path, one in snapshot(tmp_path / "d").items()}
    assert found == {b"%d" % number: 30 if number < 5 else 9 for number in [*range(5), *range(10, 20)]}


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_of_the_archive_comes_after_what_stands_before_it(threads, tmp_path):
    with pytest.raises(FastociError, match="cannot be unpacked"):
        unpack(tmp_path, folder("d") + files("d", 40) + b"\1" * 512, threads=threads)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_mapped_owners_are_given_to_each_file(tmp_path):
    layer = folder("d", uid=0, gid=0) + b"".join(entry(f"d/{number}", uid=number, gid=1) for number in range(30))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    rootfs = Rootfs(fd, str(tmp_path), Owners(uids=[(0, 5000, 100)], gids=[(0, 7000, 2)]), Usage(Limits()))
    try:
        rootfs.apply(iter([layer + END]), LAYER)
        rootfs.finish()
    finally:
        rootfs.close()
        os.close(fd)
    assert {int(path): (one.uid, one.gid) for path, one in snapshot(tmp_path / "d").items()} == {
        number: (5000 + number, 7001) for number in range(30)
    }


# Peak memory is a process's: it is measured in one of its own. A piece of the stream holds a thousand files.
_MANY = """
import json, os, resource, sys
from fastoci.rootfs.changeset import Rootfs
from fastoci.rootfs.limits import Limits, Usage
from fastoci.rootfs.owners import Owners
from tarkit import END, LAYER, entry, folder

place, count = sys.argv[1], int(sys.argv[2])

def stream():
    yield folder("d")
    for number in range(0, count, 64):
        # The same files over and over, or the file system would hold them all.
        yield b"".join(entry(f"d/{one % 512:05}", data=b"x" * 15000) for one in range(number, number + 64))
    yield END

fd = os.open(place, os.O_RDONLY)
rootfs = Rootfs(fd, place, Owners(keep=False), Usage(Limits()), threads=2)
entries = rootfs.apply(stream(), LAYER)
rootfs.finish()
rootfs.close()
print(json.dumps([entries, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


def test_memory_does_not_grow_with_their_number(tmp_path):
    peaks = []
    for count in (64, 8192):
        path = os.pathsep.join([os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))])
        done = subprocess.run(
            [sys.executable, "-c", _MANY, str(tmp_path), str(count)],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            check=True,
        )
        entries, peak = json.loads(done.stdout)
        assert entries == count + 1
        peaks.append(peak)
    # 123 MB went through: of them 8 MiB of files wait, and a piece or two of the stream.
    assert peaks[1] - peaks[0] < 24 << 20
