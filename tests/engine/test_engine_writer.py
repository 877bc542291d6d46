"""Writing plain files: what is taken, that it is what Python's reader would have made of it, and who waits for whom.

Nothing here knows of layers: a directory, a piece of a tar, and the files that come of it.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import sys
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastoci._engine import EngineFault
from fastoci._engine.writer import FileWriter
from fastoci.rootfs.limits import Limits, Usage
from fastoci.tar.reader import TarReader
from oracles.longform import times
from oracles.nasty import is_root
from oracles.tarforms import record

sys.path.append(str(Path(__file__).parents[1] / "rootfs"))

from tarkit import BLOCK, TIME, entry, folder, hardlink, symlink, with_checksum

ALL = 1 << 40


@contextmanager
def writing(directory, prefix=b"", path=b"", threads=2, keep=None):
    """A writer at a directory, with its threads; nothing of it is left."""
    writer = FileWriter(threads, os.geteuid() == 0 if keep is None else keep, 12345)
    workers = [threading.Thread(target=writer.run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        writer.enter(fd, path, prefix)
        yield writer
    finally:
        os.close(fd)
        writer.stop()
        for worker in workers:
            worker.join()


def written(writer, data):
    """Have all of it written."""
    found = writer.take(data, 0, ALL)
    writer.settle()
    return found


def taken(directory, data, prefix=b"", **options):
    """Return how many bytes and files were taken, once they are written."""
    with writing(directory, prefix, **options) as writer:
        found = writer.take(data, 0, ALL)
        assert len(writer.names(data, 0, found[1])) == found[1]
        writer.settle()
    return found


def test_files_become_what_their_entries_say(tmp_path):
    data = b"".join(
        entry(f"d/{number}", data=b"%d" % number * number * 60, mode=0o640 + number % 8, mtime=TIME + number)
        for number in range(200)
    )
    assert taken(tmp_path, data, b"d/") == (len(data), 200)
    for number in range(200):
        path = tmp_path / str(number)
        status = path.stat()
        assert path.read_bytes() == b"%d" % number * number * 60
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640 + number % 8, (TIME + number) * 10**9)
        assert status.st_atime_ns == status.st_mtime_ns


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_no_mask_and_no_set_id_bit_is_lost(umask, tmp_path):
    before = os.umask(umask)
    try:
        data = b"".join(entry(f"{mode:o}", data=b"x", mode=mode) for mode in (0, 0o400, 0o644, 0o777, 0o4755, 0o7777))
        taken(tmp_path, data)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        0,
        0o400,
        0o644,
        0o777,
        0o4755,
        0o7777,
    }


@pytest.mark.skipif(not is_root(), reason="only root gives files away")
def test_owners_are_given_where_they_are_wanted(tmp_path):
    data = entry("a", uid=5, gid=6, mode=0o4755) + entry("b", uid=0, gid=7) + entry("c", uid=0, gid=0)
    for keep, owners in ((True, [(5, 6), (0, 7), (0, 0)]), (False, [(0, 0)] * 3)):
        (tmp_path / str(keep)).mkdir()
        taken(tmp_path / str(keep), data, keep=keep)
        found = [(tmp_path / str(keep) / name).stat() for name in "abc"]
        assert [(one.st_uid, one.st_gid) for one in found] == owners
        assert stat.S_IMODE(found[0].st_mode) == 0o4755


@pytest.mark.parametrize(
    "other",
    [
        folder("d"),
        symlink("s", "f"),
        hardlink("h", "f"),
        entry("p", b"6"),
        entry("c", b"3"),
        entry("f", b"7"),
        entry(".wh.f"),
        entry(".wh..wh..opq"),
        entry("."),
        entry(".."),
        entry("./x"),
        entry("../x"),
        entry("/x"),
        entry("d/x"),
        entry("x/"),
        entry(""),
        entry("long", data=b"x" * (1 << 16)),
        entry("x", uid=1 << 30),
        entry("x", mtime=-1),
        entry("x" * 101),
        entry("x", pax={b"mtime": b"1.5"}),
        entry("g", b"g", record(b"path", b"x")),
        entry("f", b"S"),
        entry("x", data=b"y")[:BLOCK],
        entry("x", data=b"y")[: BLOCK + 1],
        entry("x")[: BLOCK - 1],
        bytes(BLOCK),
        b"\1" * BLOCK,
        entry("x")[:148] + b"0000000\0" + entry("x")[156:],
        with_checksum(entry("x")[:257] + bytes(8) + entry("x")[265:]),
        with_checksum(entry("x")[:124] + b"9" * 12 + entry("x")[136:]),
        with_checksum(entry("x")[:100] + bytes(8) + entry("x")[108:]),
    ],
)
def test_what_is_no_plain_file_is_left(other, tmp_path):
    first, second = entry("first", data=b"1"), entry("second", data=b"2")
    # What is cut has nothing after it.
    after = b"" if len(other) % BLOCK or other == entry("x", data=b"y")[:BLOCK] else second
    assert taken(tmp_path, first + other + after) == (len(first), 1)
    assert os.listdir(tmp_path) == ["first"]


def test_names_that_begin_with_a_dot_are_names(tmp_path):
    names = [".a", "..a", "...", ".w", ".wh", ".whx", ".wh", " ", "\\"]
    data = b"".join(entry(name) for name in dict.fromkeys(names))
    assert taken(tmp_path, data)[1] == 8
    assert set(os.listdir(tmp_path)) == set(names)


def test_the_prefix_of_a_ustar_header_counts_and_gnu_has_none(tmp_path):
    info = tarfile.TarInfo("d" * 60 + "/" + "e" * 60 + "/f")
    info.uid, info.gid = os.geteuid(), os.getegid()
    posix = info.tobuf(tarfile.USTAR_FORMAT)
    assert posix[345:350] == b"ddddd"
    prefix = b"d" * 60 + b"/" + b"e" * 60 + b"/"
    assert taken(tmp_path, posix, prefix)[1] == 1
    (tmp_path / "f").unlink()
    assert taken(tmp_path, posix, b"e" * 60 + b"/")[1] == 0
    gnu = with_checksum(posix[:257] + b"ustar  \0" + posix[265:])
    assert taken(tmp_path, gnu, b"e" * 60 + b"/")[1] == 1


def test_a_name_comes_once_until_it_was_settled(tmp_path):
    one, two = entry("f", data=b"one"), entry("f", data=b"two", mode=0o600)
    with writing(tmp_path, path=b"d/e") as writer:
        assert writer.take(one + two, 0, ALL) == (len(one), 1)
        assert writer.is_pending(b"d/e/f")
        assert not writer.is_pending(b"d/e/g")
        assert not writer.is_pending(b"f")
        assert writer.take(one + two, len(one), ALL) == (len(one), 0)
        writer.settle()
        assert not writer.is_pending(b"d/e/f")
        assert (tmp_path / "f").read_bytes() == b"one"
        assert writer.take(one + two, len(one), ALL) == (2 * len(one), 1)
        writer.settle()
    assert (tmp_path / "f").read_bytes() == b"two"


def test_no_more_is_taken_than_may_be(tmp_path):
    data = b"".join(entry(str(number)) for number in range(10))
    with writing(tmp_path) as writer:
        assert writer.take(data, 0, 3) == (3 * BLOCK, 3)
        assert writer.names(data, 0, 3) == [b"0", b"1", b"2"]
        assert writer.take(data, 3 * BLOCK, 0) == (3 * BLOCK, 0)
        writer.settle()
        for at in (-1, len(data) + 1):
            with pytest.raises(ValueError, match=str(at)):
                writer.take(data, at, ALL)
            with pytest.raises(ValueError, match=str(at)):
                writer.names(data, at, 1)
        with pytest.raises(ValueError, match=str(len(data))):
            writer.names(data, 9 * BLOCK, 2)
    assert len(os.listdir(tmp_path)) == 3


def test_more_names_than_are_remembered(tmp_path):
    count = 20_000
    data = b"".join(entry(str(number)) for number in range(count))
    with writing(tmp_path) as writer:
        at = number = 0
        while at < len(data):
            at, more = writer.take(data, at, ALL)
            assert more
            number += more
        writer.settle()
    assert (number, len(os.listdir(tmp_path))) == (count, count)


def test_what_stands_at_a_name_is_replaced_and_a_directory_is_not(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("outside")
    place = tmp_path / "place"
    place.mkdir()
    (place / "file").write_text("old")
    os.link(place / "file", tmp_path / "other")
    os.link(outside, place / "hard")
    (place / "link").symlink_to("../outside")
    (place / "dangling").symlink_to("../nothing")
    os.mkfifo(place / "fifo")
    (place / "directory").mkdir()
    names = ["file", "hard", "link", "dangling", "fifo"]
    data = b"".join(entry(name, data=b"new") for name in names)
    assert taken(place, data + entry("directory", data=b"new")) == (len(data), 5)
    assert {name: (place / name).read_bytes() for name in names} == dict.fromkeys(names, b"new")
    assert all((place / name).lstat().st_nlink == 1 and not (place / name).is_symlink() for name in names)
    assert outside.read_text() == "outside"
    assert (tmp_path / "other").read_text() == "old"
    assert not (tmp_path / "nothing").exists()
    assert (place / "directory").is_dir()


def test_a_refusal_names_the_file_and_nothing_is_written_any_more(tmp_path):
    data = b"".join(entry(f"d/{number}", data=b"x" * (1001 if number == 5 else 9)) for number in range(50))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with writing(tmp_path, b"d/", threads=1) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(EngineFault) as caught:
                written(writer, data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (caught.value.kind, caught.value.path, caught.value.error) == ("write", b"d/5", errno.EFBIG)
        # It is said again to whoever goes on.
        for going_on in (lambda: writer.take(entry("d/x"), 0, ALL), writer.settle):
            with pytest.raises(EngineFault):
                going_on()
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2", "3", "4", "5"]


def test_a_directory_that_is_gone_is_a_refusal(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    with writing(place) as writer:
        place.rmdir()
        with pytest.raises(EngineFault) as caught:
            written(writer, entry("f"))
    assert caught.value.error == errno.ENOENT


def test_descriptors_are_few_and_given_back(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    most = 0
    with writing(tmp_path) as writer:
        for number in range(300):
            path = tmp_path / str(number)
            path.mkdir()
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            writer.enter(fd, b"%d" % number, b"%d/" % number)
            os.close(fd)
            data = entry(f"{number}/f", data=b"x" * 5000)
            assert writer.take(data, 0, ALL) == (len(data), 1)
            most = max(most, len(os.listdir("/proc/self/fd")))
        writer.settle()
    del writer
    assert most <= before + 80
    assert len(os.listdir("/proc/self/fd")) == before
    assert all((tmp_path / f"{number}/f").read_bytes() == b"x" * 5000 for number in range(300))


def test_a_writer_nobody_ran_is_freed_with_all_that_it_holds(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    writer = FileWriter(1, False, 1)
    assert writer.take(entry("f"), 0, ALL) == (0, 0)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    writer.enter(fd, b"", b"")
    os.close(fd)
    assert writer.take(entry("f", data=b"x" * 9), 0, ALL)[1] == 1
    del writer
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(OSError, match="Bad file descriptor"):
        FileWriter(1, False, 1).enter(fd, b"", b"")


_VALID = entry("d/name", data=b"content" * 100, mode=0o751, uid=3, gid=4)


@settings(max_examples=times(500, 50_000), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, BLOCK - 1),
            st.one_of(
                st.binary(min_size=1, max_size=13), st.sampled_from([b"\0", b" ", b"0", b"7", b"/", b".", b"\x80"])
            ),
        ),
        max_size=4,
    ),
    magic=st.sampled_from([b"ustar\x0000", b"ustar  \0", b"ustar\x0000"]),
    size=st.sampled_from([None, 0, BLOCK, BLOCK + 699, len(_VALID)]),
)
def test_what_is_taken_is_what_the_reader_says(changes, magic, size, tmp_path):
    """Whatever stands in a header: it is left, or means the same to both."""
    header = bytearray(_VALID[:257] + magic + _VALID[265:BLOCK])
    for at, new in changes:
        header[at : at + len(new)] = new[: BLOCK - at]
    data = (with_checksum(bytes(header)) + _VALID[BLOCK:])[:size]
    end, count = taken(tmp_path, data, b"d/", keep=False)
    if not count:
        assert end == 0
        return
    reader = TarReader(iter([data]), "the layer", Usage(Limits()))
    found = next(reader.entries())
    content = b"".join(reader.data())
    (name,) = os.listdir(tmp_path)
    path = tmp_path / name
    status = path.lstat()
    try:
        assert found.kind == "file"
        assert found.path == b"d/" + os.fsencode(name)
        assert (stat.S_IMODE(status.st_mode), status.st_size) == (found.mode, found.size)
        assert status.st_mtime_ns == found.mtime
        assert path.read_bytes() == content
        assert end == BLOCK + len(content) + -len(content) % BLOCK
    finally:
        path.unlink()
