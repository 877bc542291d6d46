"""Writing plain files: what is taken, that it is what Python's reader would have made of it, and who waits for whom.

Nothing here knows of layers: a directory, a piece of a tar, and the files that come of it.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastoci._engine import EngineFault
from fastoci._engine.directories import Directories
from fastoci._engine.writer import FileWriter
from fastoci.rootfs.limits import Limits, Usage
from fastoci.tar.reader import TarReader
from oracles.longform import times
from oracles.nasty import is_root
from oracles.tarforms import record

sys.path.append(str(Path(__file__).parents[1] / "rootfs"))

from tarkit import BLOCK, TIME, entry, folder, hardlink, symlink, with_checksum

ALL = 1 << 40
BASIS = 12345


@contextmanager
def writing(directory, threads=2, keep=None, occupied=False, directories=None, uids=(), gids=()):
    """A writer at a directory, with its threads; nothing of it is left."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    keep = os.geteuid() == 0 if keep is None else keep
    writer = FileWriter(fd, directories or at_root(directory), BASIS, threads, keep, uids, gids, occupied)
    os.close(fd)
    workers = [threading.Thread(target=writer.run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield writer
    finally:
        writer.stop()
        for worker in workers:
            worker.join()
        writer.close()


def at_root(directory):
    """What is said of directories before anything was made: of the root that it is there."""
    directories = Directories(BASIS)
    directories.entered(b"", os.stat(directory).st_ino, TIME, 0)
    return directories


def written(writer, data):
    """Have all of it written."""
    found = writer.take(data, 0, ALL)
    writer.settle()
    return found


def taken(directory, data, **options):
    """Return how many bytes and entries were taken, once they are made."""
    with writing(directory, **options) as writer:
        found = writer.take(data, 0, ALL)
        assert len(writer.paths(data, 0, found[1])) == found[1]
        writer.settle()
    return found[:2]


def finished(directory, data, keep=None, give=None, **options):
    """Have all of it made, and directories what they are to be."""
    directories = at_root(directory)
    found = taken(directory, data, keep=keep, directories=directories, **options)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        directories.finish(fd, os.geteuid() == 0 if keep is None else keep, give or pytest.fail)
    finally:
        os.close(fd)
    return found


def test_files_become_what_their_entries_say(tmp_path):
    data = b"".join(
        entry(f"d/{number}", data=b"%d" % number * number * 60, mode=0o640 + number % 8, mtime=TIME + number)
        for number in range(200)
    )
    data = folder("d") + data
    assert taken(tmp_path, data) == (len(data), 201)
    for number in range(200):
        path = tmp_path / f"d/{number}"
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
        folder("./"),
        folder("d/x"),
        symlink("d/s", "f"),
        symlink("s", "f" * 101),
        symlink("s", "f")[:156] + b"2" + bytes(100) + symlink("s", "f")[257:],
        hardlink("h", "f"),
        entry("p", b"6"),
        entry("c", b"3"),
        entry("f", b"7"),
        entry(".wh.f"),
        entry(".wh..wh..opq"),
        entry("."),
        entry(".."),
        entry("x/./y"),
        entry("x//y"),
        entry("./.."),
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
    above, below = "d" * 60, "e" * 60
    posix = []
    for name, kind in ((above, b"5"), (f"{above}/{below}", b"5"), (below, b"5"), (f"{above}/{below}/f", b"0")):
        info = tarfile.TarInfo(name)
        info.type, info.uid, info.gid = kind, os.geteuid(), os.getegid()
        posix.append(info.tobuf(tarfile.USTAR_FORMAT))
    assert posix[3][345:350] == b"ddddd"
    assert taken(tmp_path, b"".join(posix))[1] == 4
    assert (tmp_path / above / below / "f").exists()
    gnu = with_checksum(posix[3][:257] + b"ustar  \0" + posix[3][265:])
    assert taken(tmp_path, b"".join(posix[:3]) + gnu)[1] == 4
    assert (tmp_path / below / "f").exists()


def test_directories_become_what_they_are_to_be_when_all_is_in_them(tmp_path):
    data = (
        folder("./a", mode=0o555, mtime=TIME + 1)
        + entry("./a/f", data=b"x")
        + folder("a/b/", mode=0o2711, mtime=TIME + 2)
        + folder("a/b/c", mode=0, mtime=TIME + 3)
        + entry("a/b/c/f")
        + symlink("a/b/c/s", "f", mtime=TIME + 4)
        + entry("a/g")
        + folder("e", mode=0o7777, mtime=TIME + 5)
        + folder("a", mode=0o755, mtime=TIME + 6)
    )
    assert finished(tmp_path, data) == (len(data), 9)
    found = {name: (tmp_path / name).lstat() for name in ("a", "a/b", "a/b/c", "e", "a/b/c/s")}
    assert {name: (stat.S_IMODE(one.st_mode), one.st_mtime_ns // 10**9 - TIME) for name, one in found.items()} == {
        "a": (0o755, 6),
        "a/b": (0o2711, 2),
        "a/b/c": (0, 3),
        "e": (0o7777, 5),
        "a/b/c/s": (0o777, 4),
    }
    assert tmp_path.stat().st_mtime == TIME
    assert os.readlink(tmp_path / "a/b/c/s") == "f"


def test_deep_ways_are_left_and_finished_all_the_same(tmp_path):
    ways = ["/".join("d" * (number + 1)) for number in range(200)]
    data = b"".join(folder(way, mtime=TIME + number) for number, way in enumerate(ways[:49]))
    directories = at_root(tmp_path)
    assert taken(tmp_path, data, directories=directories)[1] == 47
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        # As whoever sees to the others would do it, and deeper than there are descriptors on one way.
        path = tmp_path / ways[number]
        path.mkdir(exist_ok=True)
        directories.made(ways[number].encode(), path.stat().st_ino, 0o750, 0, 0, TIME + number, 5)
        (path / "f").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    directories.finish(fd, False, pytest.fail)
    os.close(fd)
    for number, way in enumerate(ways):
        found = (tmp_path / way).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o750, (TIME + number) * 10**9 + 5)
    assert len(os.listdir("/proc/self/fd")) == before


def test_whoever_has_more_to_say_of_a_directory_is_asked(tmp_path):
    directories = at_root(tmp_path)
    for name in ("a", "a/b", "c"):
        (tmp_path / name).mkdir()
        inode = (tmp_path / name).stat().st_ino
        directories.made(name.encode(), inode, 0o700, 0, 0, TIME, 0, "first")
        directories.made(name.encode(), inode, 0o700, 0, 0, TIME, 0, name if name != "c" else None)
    given = []
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        directories.finish(fd, False, lambda at, entry: given.append((os.readlink(f"/proc/self/fd/{at}"), entry)))
    finally:
        os.close(fd)
    assert given == [(f"{tmp_path}/a/b", "a/b"), (f"{tmp_path}/a", "a")]
    with pytest.raises(ZeroDivisionError):
        finished_with(tmp_path, lambda at, entry: 1 // 0)


def finished_with(directory, give):
    directories = Directories(BASIS)
    directories.made(b"", os.stat(directory).st_ino, 0o700, 0, 0, TIME, 0, "root")
    fd = os.open(directory, os.O_RDONLY)
    try:
        directories.finish(fd, False, give)
    finally:
        os.close(fd)


def test_a_directory_that_is_another_one_by_then_is_left(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "place").mkdir()
    directories = at_root(tmp_path / "place")
    data = folder("a", mode=0o711) + folder("a/b", mode=0o711) + folder("c", mode=0o711) + folder("d", mode=0o711)
    assert taken(tmp_path / "place", data, directories=directories)[1] == 4
    (tmp_path / "place/a/b").rmdir()
    (tmp_path / "place/a/b").symlink_to("../../outside")
    (tmp_path / "place/c").rename(tmp_path / "moved")
    (tmp_path / "place/c").mkdir(0o700)
    (tmp_path / "place/d").rmdir()
    fd = os.open(tmp_path / "place", os.O_RDONLY)
    directories.finish(fd, False, pytest.fail)
    os.close(fd)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("place/a", "place/c", "moved")}
    assert modes == {"place/a": 0o711, "place/c": 0o700, "moved": 0o700}
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) != 0o711


def test_only_directories_are_entered_of_which_something_is_said(tmp_path):
    (tmp_path / "known").mkdir()
    (tmp_path / "unknown").mkdir()
    (tmp_path / "link").symlink_to("known")
    directories = at_root(tmp_path)
    directories.entered(b"known", (tmp_path / "known").stat().st_ino, TIME, 0)
    assert (b"known" in directories, b"unknown" in directories, b"" in directories) == (True, False, True)
    assert (b"known/x" in directories, b"x" in Directories(1), b"" in Directories(1)) == (False, False, False)
    good = entry("known/f")
    with writing(tmp_path, directories=directories, occupied=True) as writer:
        beyond = [entry("unknown/f"), entry("link/f"), entry("known/x/f")]
        for bad in (*beyond, entry("known", data=b"x"), entry("unknown")):
            assert writer.take(good + bad, 0, ALL) == (len(good), 1, 0)
            writer.settle()
        # What a link's name is entered by is no link any more.
        directories.made(b"link", 1, 0o700, 0, 0, TIME, 0)
        assert writer.take(entry("link/f"), 0, ALL) == (0, 0, 0)
    assert sorted(os.listdir(tmp_path)) == ["known", "link", "unknown"]
    assert os.listdir(tmp_path / "unknown") == []


@pytest.mark.skipif(not is_root(), reason="only root gives files away")
def test_owners_are_mapped(tmp_path):
    data = (
        entry("a", uid=0, gid=9)
        + folder("d", uid=1000, gid=9)
        + symlink("d/l", "x", uid=1009, gid=9)
        + entry("b", uid=1009, gid=0)
    )
    mapping = {"uids": [(0, 5000, 1), (1000, 6000, 10)], "gids": [(9, 7000, 1)]}
    assert finished(tmp_path, data, **mapping) == (len(data) - BLOCK, 3)
    found = {name: (tmp_path / name).lstat() for name in ("a", "d", "d/l")}
    owners = {name: (one.st_uid, one.st_gid) for name, one in found.items()}
    assert owners == {"a": (5000, 7000), "d": (6000, 7000), "d/l": (6009, 7000)}
    assert taken(tmp_path, entry("x", uid=1010, gid=9), **mapping)[1] == 0


def test_a_name_comes_once_until_it_was_settled(tmp_path):
    above = folder("d") + folder("d/e")
    one, two, three = entry("d/e/f", data=b"one"), entry("d/e/f", data=b"two", mode=0o600), symlink("d/e/f", "x")
    data = above + one + two + three
    with writing(tmp_path) as writer:
        assert writer.take(data, 0, ALL) == (len(above + one), 3, 4)
        assert writer.is_pending(b"d/e/f")
        assert not writer.is_pending(b"d/e/g")
        assert not writer.is_pending(b"f")
        assert writer.take(data, len(above + one), ALL) == (len(above + one), 0, 0)
        assert writer.take(folder("d/e/f"), 0, ALL) == (0, 0, 0)
        writer.settle()
        assert not writer.is_pending(b"d/e/f")
        assert (tmp_path / "d/e/f").read_bytes() == b"one"
        assert writer.take(data, len(above + one), ALL) == (len(above + one + two), 1, 0)
        writer.settle()
        assert (tmp_path / "d/e/f").read_bytes() == b"two"
        assert writer.take(data, len(above + one + two), ALL) == (len(data), 1, 0)
        writer.settle()
    assert os.readlink(tmp_path / "d/e/f") == "x"


def test_a_way_that_was_left_is_found_again(tmp_path):
    """Whoever removes a directory says so first; what is made there next is made in the one that is there then."""
    with writing(tmp_path) as writer:
        written(writer, folder("d") + folder("d/e"))
        writer.leave()
        (tmp_path / "d/e").rmdir()
        (tmp_path / "d/e").mkdir()
        assert written(writer, entry("d/e/f"))[1] == 1
    assert (tmp_path / "d/e/f").exists()


def test_no_more_is_taken_than_may_be(tmp_path):
    data = b"".join(entry(str(number)) for number in range(10))
    with writing(tmp_path) as writer:
        assert writer.take(data, 0, 3) == (3 * BLOCK, 3, 0)
        assert writer.paths(data, 0, 3) == [b"0", b"1", b"2"]
        assert writer.take(data, 3 * BLOCK, 0) == (3 * BLOCK, 0, 0)
        writer.settle()
        for at in (-1, len(data) + 1):
            with pytest.raises(ValueError, match=str(at)):
                writer.take(data, at, ALL)
            with pytest.raises(ValueError, match=str(at)):
                writer.paths(data, at, 1)
        with pytest.raises(ValueError, match=str(len(data))):
            writer.paths(data, 9 * BLOCK, 2)
    assert len(os.listdir(tmp_path)) == 3


def test_more_names_than_are_remembered(tmp_path):
    count = 20_000
    data = b"".join(entry(str(number)) for number in range(count))
    with writing(tmp_path) as writer:
        at = number = 0
        while at < len(data):
            at, more, _ = writer.take(data, at, ALL)
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
    assert taken(place, data + entry("directory", data=b"new"), occupied=True) == (len(data), 5)
    assert {name: (place / name).read_bytes() for name in names} == dict.fromkeys(names, b"new")
    assert all((place / name).lstat().st_nlink == 1 and not (place / name).is_symlink() for name in names)
    assert outside.read_text() == "outside"
    assert (tmp_path / "other").read_text() == "old"
    assert not (tmp_path / "nothing").exists()
    assert (place / "directory").is_dir()


def test_a_refusal_names_the_file_and_nothing_is_written_any_more(tmp_path):
    data = folder("d") + b"".join(
        entry(f"d/{number}", data=b"x" * (1001 if number == 5 else 9)) for number in range(50)
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with writing(tmp_path, threads=1) as writer:
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
    assert sorted(os.listdir(tmp_path / "d")) == ["0", "1", "2", "3", "4", "5"]


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
            data = folder(f"{number}") + entry(f"{number}/f", data=b"x" * 5000)
            assert writer.take(data, 0, ALL)[:2] == (len(data), 2)
            most = max(most, len(os.listdir("/proc/self/fd")))
        writer.settle()
    assert most <= before + 140
    assert len(os.listdir("/proc/self/fd")) == before
    assert all((tmp_path / f"{number}/f").read_bytes() == b"x" * 5000 for number in range(300))


def test_a_writer_nobody_ran_is_freed_with_all_that_it_holds(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    writer = FileWriter(fd, at_root(tmp_path), BASIS, 1, False, [], [], False)
    os.close(fd)
    data = folder("d") + folder("d/e") + entry("d/e/f", data=b"x" * 9)
    assert writer.take(data, 0, ALL)[1] == 3
    writer.stop()
    writer.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ValueError, match="0"):
        writer.take(data, 0, ALL)
    with pytest.raises(OSError, match="Bad file descriptor"):
        FileWriter(fd, at_root(tmp_path), BASIS, 1, False, [], [], False)
    assert len(os.listdir("/proc/self/fd")) == before


_VALID = {
    "file": entry("d/name", data=b"content" * 100, mode=0o751, uid=3, gid=4),
    "directory": folder("./d/name/", mode=0o751, uid=3, gid=4),
    "symlink": symlink("d/name", "target", uid=3, gid=4),
}


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
    form=st.sampled_from(sorted(_VALID)),
    magic=st.sampled_from([b"ustar\x0000", b"ustar  \0", b"ustar\x0000"]),
    size=st.sampled_from([None, 0, BLOCK, BLOCK + 699, BLOCK + 1024]),
)
def test_what_is_taken_is_what_the_reader_says(changes, form, magic, size, tmp_path):
    """Whatever stands in a header: it is left, or means the same to both."""
    valid = _VALID[form]
    header = bytearray(valid[:257] + magic + valid[265:BLOCK])
    for at, new in changes:
        header[at : at + len(new)] = new[: BLOCK - at]
    data = (with_checksum(bytes(header)) + valid[BLOCK:])[:size]
    above = folder("d", mtime=TIME)
    root = tmp_path / "root"
    root.mkdir()
    try:
        end, count = finished(root, above + data, keep=False)
        if count == 1:
            assert end == len(above)
            return
        reader = TarReader(iter([data]), "the layer", Usage(Limits()))
        found = next(reader.entries())
        content = b"".join(reader.data())
        (name,) = [os.fsencode(path.relative_to(root)) for path in root.rglob("*") if path.name != "d"] or [b"d"]
        assert b"/".join(part for part in found.path.split(b"/") if part not in (b"", b".")) == name
        path = root / os.fsdecode(name)
        status = path.lstat()
        kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}[stat.S_IFMT(status.st_mode)]
        assert (kind, status.st_mtime_ns) == (found.kind, found.mtime)
        assert kind == "symlink" or stat.S_IMODE(status.st_mode) == found.mode
        assert kind != "symlink" or os.fsencode(os.readlink(path)) == found.target
        assert kind != "file" or (path.read_bytes(), status.st_size) == (content, found.size)
        assert end == len(above) + BLOCK + len(content) + -len(content) % BLOCK
    finally:
        subprocess.run(["rm", "-rf", root], check=True)
