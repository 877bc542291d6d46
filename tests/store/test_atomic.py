from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastoci.store.atomic import TEMP_PREFIX, TempFile, write_all

DATA = bytes(range(256)) * 5000


def test_a_file_appears_whole(tmp_path, temp_files):
    with TempFile(tmp_path) as file:
        for start in range(0, len(DATA), 100_000):
            file.write(DATA[start : start + 100_000])
        assert not (tmp_path / "x").exists()
        assert file.link("x")
    assert (tmp_path / "x").read_bytes() == DATA
    assert os.listdir(tmp_path) == ["x"]


def test_its_mode_is_the_umask_s(tmp_path, temp_files):
    before = os.umask(0o027)
    try:
        with TempFile(tmp_path) as file:
            file.link("x")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("replace", [True, False])
def test_what_stands_there(tmp_path, temp_files, replace):
    (tmp_path / "x").write_bytes(b"old")
    with TempFile(tmp_path) as file:
        file.write(b"new")
        assert file.link("x", replace=replace) is replace
    assert (tmp_path / "x").read_bytes() == (b"new" if replace else b"old")
    assert os.listdir(tmp_path) == ["x"]


def test_it_is_linked_into_another_directory(tmp_path, temp_files):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    directory = os.open(tmp_path / "b", os.O_RDONLY)
    with TempFile(tmp_path / "a") as file:
        file.write(b"data")
        assert file.link("x", directory=directory, replace=False)
    os.close(directory)
    assert (tmp_path / "b" / "x").read_bytes() == b"data"
    assert os.listdir(tmp_path / "a") == []


def test_left_by_an_exception_it_leaves_nothing(tmp_path, temp_files):
    with contextlib.suppress(KeyboardInterrupt), TempFile(tmp_path) as file:
        file.write(DATA)
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_while_it_is_written_it_has_no_name_or_a_temporary_one(tmp_path, temp_files):
    with TempFile(tmp_path):
        assert all(name.startswith(TEMP_PREFIX) for name in os.listdir(tmp_path))
        assert len(os.listdir(tmp_path)) == (temp_files == "named")


def test_descriptors_are_closed(tmp_path, temp_files):
    before = os.listdir("/proc/self/fd")
    with TempFile(tmp_path) as file:
        file.write(b"x")
        file.link("x")
    file.close()
    with pytest.raises(FileNotFoundError):
        TempFile(tmp_path / "missing")
    assert os.listdir("/proc/self/fd") == before


def test_a_killed_writer_leaves_nothing(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom fastoci.store.atomic import TempFile\n"
        "file = TempFile(Path(sys.argv[1]))\nfile.write(b'x' * 100000)\nprint('written', flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    # Without O_TMPFILE there is no other way than to leave it.
    assert all(name.startswith(TEMP_PREFIX) for name in os.listdir(tmp_path))
    if _has_tmpfile(tmp_path):
        assert os.listdir(tmp_path) == []


def _has_tmpfile(directory: Path) -> bool:
    try:
        os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY))
    except OSError:
        return False
    return True


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:777]))
    with TempFile(tmp_path) as file:
        assert file.write(DATA) == len(DATA)
        file.link("x")
    assert (tmp_path / "x").read_bytes() == DATA


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(data).cast("I")])
def test_anything_with_bytes_in_it_is_written(tmp_path, kind):
    with TempFile(tmp_path) as file:
        assert write_all(file.fd, kind(DATA)) == len(DATA)
        assert file.read_at(0, len(DATA) + 1) == DATA
        assert write_all(file.fd, b"") == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_at_the_end_is_not_worked_around(tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match=os.strerror(number)), TempFile(tmp_path) as file:
        file.link("x")
    assert os.listdir(tmp_path) == []


def test_a_file_system_that_cannot_sync_directories(tmp_path, monkeypatch):
    real_fsync = os.fsync

    def fsync(fd):
        if os.fstat(fd).st_mode & 0o040000:
            raise OSError(errno.EINVAL, "Invalid argument")
        real_fsync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with TempFile(tmp_path) as file:
        assert file.link("x")
