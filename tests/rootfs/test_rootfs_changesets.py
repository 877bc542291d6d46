"""Layers over layers: whiteouts, opaque directories, what replaces what, and the metadata that is left in the end."""

from __future__ import annotations

import os
import stat

import pytest
from tarkit import END, LAYER, TIME, entry, folder, hardlink, opaque, symlink, unpack, whiteout

from fastoci.rootfs.changeset import Rootfs
from fastoci.rootfs.limits import Limits, Usage
from fastoci.rootfs.owners import Owners
from imagekit import GZIP
from oracles.nasty import CAPABILITY, is_root
from oracles.snapshot import snapshot
from oracles.unpackers import program, run

LOWER = b"".join(
    [folder("d"), entry("d/one", data=b"1"), folder("d/sub"), entry("d/sub/two", data=b"2"), entry("e", data=b"e")]
)
ALL = ["d", "d/one", "d/sub", "d/sub/two", "e"]


def names(target):
    return sorted(os.fsdecode(path) for path in snapshot(target))


CASES = [
    (whiteout("e"), ["d", "d/one", "d/sub", "d/sub/two"]),
    (whiteout("d"), ["e"]),
    (whiteout("d/sub"), ["d", "d/one", "e"]),
    (whiteout("nothing"), ALL),
    (whiteout("no/such/thing"), ALL),
    (whiteout("e/x"), ALL),
    (opaque("d"), ["d", "e"]),
    (opaque(""), []),
    (opaque("no/such"), ALL),
    (folder("d") + opaque("d") + entry("d/new"), ["d", "d/new", "e"]),
    # The order within a layer says nothing: what is of it stays.
    (folder("d") + entry("d/new") + opaque("d"), ["d", "d/new", "e"]),
    (folder("d") + folder("d/sub") + entry("d/sub/new") + opaque("d"), ["d", "d/sub", "d/sub/new", "e"]),
    (entry("d/sub/new") + opaque("d"), ["d", "d/sub", "d/sub/new", "e"]),
    (entry("e", data=b"new") + whiteout("e"), ALL),
    (whiteout("e") + entry("e", data=b"new"), ALL),
    (folder("d") + entry("d/new") + whiteout("d"), ["d", "d/new", "e"]),
    (whiteout("d") + folder("d"), ["d", "e"]),
    (symlink("d/link", "sub") + opaque("d/link"), ["d", "d/link", "d/sub", "e", "d/one"]),
    # What aufs kept for itself is no whiteout and no file.
    (folder(".wh..wh.plnk") + entry(".wh..wh.aufs") + entry(".wh..wh.orph"), ALL),
    # What is in the way goes, with all that is beneath it.
    (entry("d", data=b"file"), ["d", "e"]),
    (symlink("d", "e"), ["d", "e"]),
    (entry("d", b"6"), ["d", "e"]),
    (hardlink("d", "e"), ["d", "e"]),
    (folder("e"), ALL),
    (folder("d"), ALL),
]


@pytest.mark.parametrize(("upper", "left"), CASES)
def test_a_layer_over_another(upper, left, tmp_path):
    unpack(tmp_path / "out", LOWER, upper)
    assert names(tmp_path / "out") == sorted(left)


@pytest.mark.skipif(not is_root(), reason="umoci restores owners as root alone")
@pytest.mark.parametrize("number", range(len(CASES)))
def test_umoci_makes_the_same_of_it(number, kit, tmp_path):
    layers = [LOWER + END, CASES[number][0] + END]
    kit.add(kit.image(*layers, media_type=GZIP), "latest")
    run([program("umoci", "umoci"), "unpack", "--image", f"{kit}:latest", str(tmp_path / "umoci")])
    unpack(tmp_path / "out", *layers)
    assert names(tmp_path / "umoci/rootfs") == names(tmp_path / "out")


def test_an_opaque_directory_reached_by_a_link_is_where_the_link_leads(tmp_path):
    unpack(tmp_path / "out", LOWER + symlink("link", "d"), opaque("link"))
    assert names(tmp_path / "out") == ["d", "e", "link"]


def test_whiteouts_of_the_lowest_layer_hide_nothing_and_leave_nothing(tmp_path):
    unpack(tmp_path / "out", entry("a") + whiteout("a") + opaque("") + whiteout("b"))
    assert names(tmp_path / "out") == ["a"]


def test_the_last_entry_of_a_name_counts(tmp_path):
    layer = entry("f", data=b"1", mode=0o600) + folder("f", 0o700) + entry("f/x") + entry("f", data=b"2", mode=0o4755)
    unpack(tmp_path / "out", layer + folder("d", 0o700) + entry("d/x") + folder("d", 0o511, mtime=77))
    found = snapshot(tmp_path / "out")
    assert (found[b"f"].content, found[b"f"].mode) == (b"2", 0o4755)
    assert (found[b"d"].mode, found[b"d"].mtime) == (0o511, 77)
    assert b"d/x" in found


@pytest.mark.skipif(not is_root(), reason="only root gives files away")
def test_metadata_of_directories_is_given_last(tmp_path):
    layer = (
        folder("d", 0o2755, uid=7, gid=8, mtime=1000)
        + folder("d/e", 0o555, mtime=2000)
        + entry("d/e/f", uid=5, gid=6)
        + entry("d/g", uid=1, gid=2)
        + folder("late", 0o1777, mtime=3000)
    )
    unpack(tmp_path / "out", layer, entry("late/x/y", data=b"x") + entry("d/e/h"))
    found = snapshot(tmp_path / "out")
    assert [(found[p].mode, found[p].uid, found[p].gid, found[p].mtime) for p in (b"d", b"d/e", b"late")] == [
        (0o2755, 7, 8, 1000),
        # A layer that says nothing of a directory changes nothing of it, not even its time.
        (0o555, 0, 0, 2000),
        (0o1777, 0, 0, 3000),
    ]
    assert (found[b"d/g"].uid, found[b"d/g"].gid) == (1, 2)
    implied = found[b"late/x"]
    assert (implied.kind, implied.mode, implied.uid) == ("directory", 0o755, 0)


@pytest.mark.skipif(not is_root(), reason="only root gives files away")
def test_giving_a_file_away_costs_it_neither_bits_nor_capabilities(tmp_path):
    pax = {b"SCHILY.xattr.security.capability": CAPABILITY}
    unpack(tmp_path / "out", entry("f", data=b"x", mode=0o6755, uid=5, gid=6, pax=pax))
    found = snapshot(tmp_path / "out")[b"f"]
    assert (found.mode, found.uid, found.gid) == (0o6755, 5, 6)
    assert found.xattrs[b"security.capability"] == CAPABILITY


@pytest.mark.skipif(not is_root(), reason="only root makes devices")
def test_devices_and_fifos(tmp_path):
    unpack(
        tmp_path / "out",
        entry("c", b"3", device=(4095, 1), mode=0o620, uid=3)
        + entry("b", b"4", device=(8, (1 << 20) - 1))
        + entry("p", b"6", mode=0o604),
    )
    found = snapshot(tmp_path / "out")
    assert (found[b"c"].kind, found[b"c"].device, found[b"c"].mode) == ("character", (4095, 1), 0o620)
    assert (found[b"b"].kind, found[b"b"].device) == ("block", (8, (1 << 20) - 1))
    assert (found[b"p"].kind, found[b"p"].mode, found[b"p"].mtime) == ("fifo", 0o604, TIME)


def test_a_hard_link_may_lead_into_a_lower_layer_and_onto_itself(tmp_path):
    unpack(tmp_path / "out", LOWER, hardlink("d/x", "e") + hardlink("e", "e") + hardlink("d/x", "./e"))
    assert os.stat(tmp_path / "out/d/x").st_ino == os.stat(tmp_path / "out/e").st_ino
    assert os.stat(tmp_path / "out/e").st_nlink == 2


def test_a_hard_link_to_a_symbolic_link_is_one(tmp_path):
    unpack(tmp_path / "out", symlink("a", "nowhere") + hardlink("b", "a"))
    assert stat.S_ISLNK(os.lstat(tmp_path / "out/b").st_mode)
    assert os.lstat(tmp_path / "out/b").st_nlink == 2


def test_the_root_itself_may_be_described(tmp_path):
    unpack(tmp_path / "out", folder("./", 0o711, mtime=1234) + entry("f"))
    status = os.stat(tmp_path / "out")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o711, 1234)


def test_old_directories_are_files_with_a_slash(tmp_path):
    unpack(tmp_path / "out", entry("d/", b"\0", mode=0o700) + entry("d/f"))
    assert names(tmp_path / "out") == ["d", "d/f"]


def test_times_have_fractions_and_may_lie_before_the_epoch(tmp_path):
    layer = (
        entry("a", pax={b"mtime": b"1600000000.123456789"}) + entry("b", pax={b"mtime": b"-1.5"}) + entry("c", mtime=-7)
    )
    unpack(tmp_path / "out", layer)
    found = snapshot(tmp_path / "out")
    assert [found[name].mtime_ns for name in (b"a", b"b", b"c")] == [1600000000123456789, -1500000000, -7 * 10**9]


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1024), bytes(10240)])
def test_the_end_may_be_short_as_some_writers_have_it(end, tmp_path):
    """umoci's layers of whiteouts end without a block of zeros; GNU tar and Go take them."""
    (tmp_path / "out").mkdir()
    fd = os.open(tmp_path / "out", os.O_RDONLY)
    rootfs = Rootfs(fd, str(tmp_path / "out"), Owners(keep=False), Usage(Limits()))
    try:
        assert rootfs.apply(iter([entry("f", data=b"x") + end]), LAYER) == 1
        assert rootfs.apply(iter([end]), LAYER) == 0
        assert rootfs.apply(iter([entry("g", data=b"x" * 600)[:1112]]), LAYER) == 1
        rootfs.finish()
    finally:
        rootfs.close()
        os.close(fd)
    assert names(tmp_path / "out") == ["f", "g"]
