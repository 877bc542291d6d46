"""Write-out beside the writing: what is written is synced meanwhile, and what the disk loses is not passed over."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

import pytest

from fastoci.store import writeout
from fastoci.store.atomic import TempFile
from oracles.threads import allow_threads, our_threads

STEP = 10_000


class Disk:
    """A disk in the place of fdatasync(2): counts, waits or fails as it is told."""

    def __init__(self):
        self.synced = []  # how large the file was each time
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error = None

    def __call__(self, fd):
        self.synced.append(os.fstat(fd).st_size)
        self.begun.set()
        assert self.may_go_on.wait(10)
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(writeout, "STEP", STEP)
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk)
    before = sorted(os.listdir("/proc/self/fd"))
    yield disk
    assert our_threads() == []
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_what_is_written_is_synced_meanwhile(tmp_path, disk):
    with TempFile(tmp_path) as file:
        file.write(b"x" * (STEP - 1))
        assert our_threads() == [], "what is small needs no thread"
        file.write(b"x")
        assert disk.begun.wait(10)
        assert disk.synced == [STEP]
        file.write(b"x" * STEP)
        assert file.link("blob")
    assert disk.synced in ([STEP], [STEP, 2 * STEP]), "the last piece may be the end's"
    assert (tmp_path / "blob").read_bytes() == b"x" * 2 * STEP


def test_what_comes_during_a_sync_is_synced_by_one_more(tmp_path, disk):
    disk.may_go_on.clear()
    with TempFile(tmp_path) as file:
        file.write(b"x" * STEP)
        assert disk.begun.wait(10)
        for _ in range(20):
            file.write(b"x" * STEP)
        disk.begun.clear()
        disk.may_go_on.set()
        assert disk.begun.wait(10)
        file.link("blob")
    assert disk.synced == [STEP, 21 * STEP]


def write_on(file):
    """Write as long as the disk takes it."""
    for _ in range(10_000):
        file.write(b"x" * STEP)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_what_the_disk_lost_is_said_at_the_next_write(tmp_path, disk, number):
    disk.error = OSError(number, os.strerror(number))
    with TempFile(tmp_path) as file:
        file.write(b"x" * STEP)
        assert disk.begun.wait(10)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            write_on(file)
    assert caught.value is disk.error
    assert len(disk.synced) == 1, "the kernel says it once: nobody syncs until it says nothing"
    assert os.listdir(tmp_path) == []


def test_what_the_disk_lost_is_said_at_the_end_at_the_latest(tmp_path, disk):
    disk.error = OSError(errno.EIO, "Input/output error")
    disk.may_go_on.clear()
    with TempFile(tmp_path) as file:
        file.write(b"x" * STEP)
        assert disk.begun.wait(10)
        disk.may_go_on.set()
        with pytest.raises(OSError, match="Input/output"):
            file.link("blob")
    assert os.listdir(tmp_path) == []


def test_what_is_given_up_waits_for_the_sync_under_way(tmp_path, disk):
    """The thread holds the descriptor by its number, which must not become another file's."""
    disk.may_go_on.clear()
    closed = []
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(TempFile(tmp_path))
        file.write(b"x" * STEP)
        assert disk.begun.wait(10)
        fd = file.fd
        # From another thread, while the end waits for the sync.
        threading.Timer(0.02, lambda: (closed.append(is_open(fd)), disk.may_go_on.set())).start()
    assert closed == [True]
    assert not is_open(fd)


def is_open(fd):
    return os.path.exists(f"/proc/self/fd/{fd}")


def test_what_does_not_last_is_not_synced(tmp_path, disk):
    with TempFile(tmp_path, lasting=False) as file:
        for _ in range(5):
            file.write(b"x" * STEP)
    assert disk.synced == []


def test_a_machine_that_gives_no_more_threads_syncs_at_the_end(tmp_path, disk, monkeypatch):
    allow_threads(monkeypatch, 0)
    with TempFile(tmp_path) as file:
        for _ in range(5):
            file.write(b"x" * STEP)
        assert file.link("blob")
    assert disk.synced == []
    assert (tmp_path / "blob").stat().st_size == 5 * STEP
