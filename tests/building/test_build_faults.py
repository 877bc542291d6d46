"""What goes wrong while a build writes, tells how far it is, or is one of many: one error, and nothing left of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastoci.build import build
from fastoci.errors import StoreError, TreeChangedError
from fastoci.layer.options import LayerOptions
from fastoci.store import writeout
from fastoci.validate import validate
from oracles.longform import times
from oracles.nasty import BLOCK, is_root, make_tree, mixed_data
from oracles.packing import MemorySink, pack, pack_changed
from oracles.threads import our_threads

OUTPUTS = ["oci:{}/image.oci", "oci-archive:{}/image.tar"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("faults") / "tree", 30)


def build_at(tree, directory, output, sink=lambda event: None, threads=2):
    return build(
        [tree], tags=["demo:1"], outputs=[output.format(directory)], layer=LayerOptions(threads=threads), sink=sink
    )


def left(directory):
    """Return what is left of an image: blobs, archives, temporary files; not what makes a directory a layout."""
    files = [os.path.join(above, name) for above, _, names in os.walk(directory) for name in names]
    return [
        path for path in files if os.path.basename(path) not in ("oci-layout", "index.json") and os.path.getsize(path)
    ]


def is_whole(directory):
    """Return whether an image stands there that has everything."""
    archive = directory / "image.tar"
    return validate(f"oci-archive:{archive}" if archive.exists() else f"oci:{directory}/image.oci").is_valid


class MadeUpError(Exception):
    """What goes wrong in these tests."""


@pytest.mark.parametrize("output", OUTPUTS)
def test_whoever_is_told_of_the_progress_fails(tree, tmp_path, output):
    """At each event in turn."""
    events = []
    (tmp_path / "whole").mkdir()
    build_at(tree, tmp_path / "whole", output, events.append)
    assert len(events) >= 4
    for number in range(len(events)):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        seen = []

        def sink(event, seen=seen, number=number):
            seen.append(event)
            if len(seen) == number + 1:
                raise MadeUpError(event)

        before = sorted(os.listdir("/proc/self/fd"))
        # Events that tell how far it is come at most ten a second: there may be fewer next time.
        try:
            build_at(tree, directory, output, sink)
        except MadeUpError:
            assert len(seen) == number + 1, "it was told of more after it had failed"
            assert left(directory) == []
        else:
            assert len(seen) <= number
        assert our_threads() == []
        assert sorted(os.listdir("/proc/self/fd")) == before


class Refusing:
    """A function of `os`, refused at its nth call or from it on; counts them, 0 refuses none."""

    def __init__(self, monkeypatch, name, error, lasting):
        self._function = getattr(os, name)
        self._error = error
        self._lasting = lasting
        self.count = self.at = 0
        monkeypatch.setattr(os, name, self)

    def __call__(self, *arguments, **options):
        self.count += 1
        if self.count == self.at or (self._lasting and 0 < self.at < self.count):
            raise OSError(self._error, os.strerror(self._error))
        return self._function(*arguments, **options)

    def arm(self, at):
        self.count, self.at = 0, at


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("write", errno.ENOSPC),
        ("fsync", errno.EIO),
        ("link", errno.ENOSPC),
        ("rename", errno.EIO),
        ("fstat", errno.EIO),
    ],
)
def test_the_disk_refuses_from_any_moment_on(tree, tmp_path, monkeypatch, output, name, error):
    refusing = Refusing(monkeypatch, name, error, lasting=name != "fstat")
    (tmp_path / "whole").mkdir()
    refusing.arm(0)
    digest = build_at(tree, tmp_path / "whole", output).digest
    calls = refusing.count
    if name in ("write", "fsync"):
        assert calls > 1
    for at in range(1, calls + 1):
        directory = tmp_path / f"{at}"
        directory.mkdir()
        before = sorted(os.listdir("/proc/self/fd"))
        refusing.arm(at)
        try:
            result = build_at(tree, directory, output)
        except StoreError as refused:
            said = refused
        else:
            # What was asked of a file that is not this build's.
            assert name == "fstat"
            assert result.digest == digest
            continue
        finally:
            refusing.arm(0)
        assert said.errno == error
        assert said.hint
        assert isinstance(said.__cause__, OSError)
        # An archive that stands and may not be durable is whole; of a layout nothing that a manifest does not name.
        assert left(directory) == [] or (name == "fsync" and is_whole(directory))
        assert our_threads() == []
        del said
        assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_disk_loses_what_it_took(tree, tmp_path, monkeypatch, output):
    """What is found out beside the writing, while a large file is made."""
    monkeypatch.setattr(writeout, "STEP", 1000)
    lost = threading.Event()
    real_write = os.write

    def fdatasync(fd):
        lost.set()
        raise OSError(errno.EIO, "Input/output error")

    def write(fd, data):
        # The disk is as fast as the writer.
        assert "fastoci-write-out" not in our_threads() or lost.wait(10)
        return real_write(fd, data)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StoreError, match="cannot write") as caught:
        build_at(tree, tmp_path, output)
    assert caught.value.errno == errno.EIO
    assert left(tmp_path) == []
    assert our_threads() == []


CLI = [sys.executable, "-m", "fastoci", "build"]


def run(arguments, **options):
    return subprocess.run([*CLI, *arguments], capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("size", [0, 1000, 300_000])
def test_no_file_may_be_so_large(tree, tmp_path, output, size):
    """The kernel's own refusal, at a write that it takes only a part of."""
    limit = (size, size)
    done = run(
        [tree, "-o", output.format(tmp_path), "--progress", "none"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "cause: file too large" in done.stderr
    assert "ulimit -f" in done.stderr
    assert left(tmp_path) == []


@pytest.mark.skipif(not is_root(), reason="only root can mount a small file system")
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("size", ["64k", "400k"])
def test_a_full_file_system(tree, tmp_path, output, size):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "fastoci", disk], check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        done = run([tree, "-o", output.format(disk), "--progress", "none"])
        assert left(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)
    assert done.returncode == 1, done.stderr
    assert "cause: no space left on device" in done.stderr
    assert "hint:  make room" in done.stderr


@pytest.mark.parametrize("megabytes", [60, 90, 120, 150, 180, 400])
def test_memory_is_short(tree, tmp_path, megabytes):
    """Whatever it is that gets none, the interpreter, a thread's stack or the engine: words, or an image."""
    limit = megabytes << 20
    done = run(
        [tree, "-o", f"oci:{tmp_path}/image.oci", "--progress", "none", "-T", "8"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    if done.returncode == 0:
        assert done.stdout.startswith("oci:")
        return
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith(("error: out of memory\n", "error: cannot start a thread\n")), done.stderr
    assert "hint:  ask for fewer --threads" in done.stderr
    # There may have been too little left to say what was made.
    assert left(tmp_path) == [] or is_whole(tmp_path)


def vanish(path):
    path.unlink()


def vanish_with_its_directory(path):
    shutil.rmtree(path.parent)


def become_a_symlink(path):
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def become_a_fifo(path):
    path.unlink()
    os.mkfifo(path)


def become_a_socket(path):
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def grow(path):
    with open(path, "ab") as file:
        file.write(b"x")


def shrink(path):
    os.truncate(path, 10)


@pytest.mark.parametrize(
    "change",
    [vanish, vanish_with_its_directory, become_a_symlink, become_a_fifo, become_a_socket, grow, shrink],
)
def test_a_file_that_is_another_when_it_is_read(tmp_path, change):
    """It is never followed, never waited for, and always named."""
    victim = tmp_path / "d" / "victim"
    victim.parent.mkdir()
    victim.write_bytes(mixed_data(2 * BLOCK, 2))
    (tmp_path / "other").write_bytes(random.Random(1).randbytes(4 * BLOCK))
    sink = MemorySink()
    with pytest.raises(TreeChangedError) as caught:
        pack_changed(tmp_path, lambda: change(victim), sink=sink)
    assert caught.value.path == str(victim)
    assert caught.value.exit_code == 1
    assert caught.value.hint
    assert caught.value.__cause__ is not None
    assert sink.committed is None
    assert our_threads() == []


@pytest.mark.timeout(times(300, 3600))
def test_several_builds_at_once(tree, tmp_path):
    """From threads of one process, into one layout and into others, each with its own number of workers."""
    expected = build_at(tree, tmp_path / "alone", "oci:{}/image.oci").digest
    before = len(os.listdir("/proc/self/fd"))

    def one(number):
        shared = number % 2 == 0
        directory = tmp_path / ("shared" if shared else f"{number}")
        return build(
            [tree],
            tags=[f"demo:{number}"],
            outputs=[f"oci:{directory}/image.oci"],
            layer=LayerOptions(threads=1 + number % 4),
        ).digest

    count = times(8, 200)
    with ThreadPoolExecutor(6) as builders:
        assert set(builders.map(one, range(count))) == {expected}
    assert our_threads() == []
    assert len(os.listdir("/proc/self/fd")) == before
    index = json.loads((tmp_path / "shared" / "image.oci" / "index.json").read_bytes())
    names = {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]}
    assert names == {f"{number}" for number in range(0, count, 2)} or len(names) == count // 2


def test_one_of_several_builds_fails_alone(tree, tmp_path):
    expected = hashlib.sha256(pack(tree).blob).hexdigest()

    def one(number):
        if number % 3 == 0:

            def events(event):
                raise MadeUpError

            with pytest.raises(MadeUpError):
                build_at(tree, tmp_path / f"{number}", "oci:{}/image.oci", events)
            return expected
        return build_at(tree, tmp_path / f"{number}", "oci:{}/image.oci").layers[0].descriptor.digest.hex

    with ThreadPoolExecutor(4) as builders:
        assert set(builders.map(one, range(12))) == {expected}
    assert our_threads() == []
