"""Archives that want out, or more than there is: each is refused or kept within, and outside nothing changes."""

from __future__ import annotations

import os
import tracemalloc

import pytest
from tarkit import (
    BLOCK,
    END,
    LAYER,
    entry,
    folder,
    hardlink,
    opaque,
    pieces,
    record,
    symlink,
    unpack,
    whiteout,
    with_checksum,
)

from fastoci.errors import InvalidImageError, StoreError
from fastoci.rootfs.limits import Limits
from oracles.snapshot import snapshot


@pytest.fixture
def cell(tmp_path):
    """A directory to unpack into, with something beside it that must not change."""
    outside = tmp_path / "outside"
    (outside / "dir").mkdir(parents=True)
    (outside / "secret").write_text("secret")
    (outside / "dir/file").write_text("file")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root")
    os.utime(outside, (1, 1))
    target = tmp_path / "cell"
    target.mkdir()
    before = {path: value for path, value in snapshot(tmp_path).items() if not path.startswith(b"cell")}
    yield target
    after = {path: value for path, value in snapshot(tmp_path).items() if not path.startswith(b"cell")}
    assert after == before


def in_cell(cell):
    return {os.fsdecode(path): value for path, value in snapshot(cell).items()}


@pytest.mark.parametrize(
    ("layers", "cause"),
    [
        ([entry("../escaped", data=b"x")], "leads above the root"),
        ([entry("a/../../escaped", data=b"x")], "leads above the root"),
        ([folder("a"), entry("a/b/../../../escaped")], "leads above the root"),
        ([folder("..")], "leads above the root"),
        ([symlink("../link", "x")], "leads above the root"),
        ([entry("f"), hardlink("g", "../outside/secret")], "leads above the root"),
        ([hardlink("g", "outside/secret")], "not there"),
        ([hardlink("g", "/etc/passwd")], "not there"),
        ([hardlink("g", "g")], "not there"),
        ([folder("d"), hardlink("g", "d")], "is a directory"),
        ([folder("d"), hardlink("g", ".")], "not there"),
        ([symlink("out", "../outside"), hardlink("g", "out/secret")], "not there"),
        ([symlink("out", "/outside"), hardlink("g", "out/secret")], "not there"),
        ([symlink("proc", "/proc/self/root"), hardlink("g", "proc/etc/passwd")], "in a circle"),
        ([entry("f"), entry("f/x")], "no directory"),
        ([entry("f"), entry("f/x/y")], "no directory"),
        ([entry("fifo", b"6"), entry("fifo/x")], "no directory"),
        ([symlink("a", "b"), symlink("b", "a"), entry("a/x")], "in a circle"),
        ([symlink("a", "a/a"), entry("a/x")], "in a circle"),
        ([folder("x"), symlink("a", "x"), symlink("x/b", "../x/" * 700), entry("a/b/b/f")], "in a circle"),
        ([entry(".wh.")], "whiteout of no name"),
        ([entry(".wh..")], "whiteout of no name"),
        ([entry("d/.wh...")], "whiteout of no name"),
        ([entry("x" * 40_000)], "a path of 40,000 bytes"),
        ([entry(".", b"2", link="/outside")], "the root can only be a directory"),
        ([entry("./", b"1", link="f")], "the root can only be a directory"),
        ([entry("f", b"2")], "a link to nowhere"),
        ([entry("f", b"9")], "of the unknown type '9'"),
        ([entry("dev", b"3", device=(4096, 1 << 20))], "device"),
        ([entry("f", pax={b"path": b"a\0b"})], "no valid name"),
        ([entry("f", pax={b"uid": b"-1"})], "no valid owner"),
        ([entry("f", pax={b"uid": b"4294967295"})], "an owner that no system has"),
        (
            [with_checksum(entry("c", b"3")[:329] + b"\x80\0\0\1\0\0\0\0" + bytes(175))],
            "a device number that no system",
        ),
        ([entry("f", pax={b"mtime": b"1e9"})], "no valid time"),
        ([entry("f", pax={b"mtime": b"9" * 20})], "a time that no system has"),
        ([entry("f", pax={b"size": b"-5"})], "no valid size"),
        ([entry("f", b"x", b"12 path=abc")], "malformed record"),
        ([entry("f", b"x", b"9999999 path=abc\n")], "malformed record"),
        ([entry("f", b"x", record(b"path", b"g"))], "belongs to no entry"),
        ([entry("f", b"x", size=(1 << 20) + 1)], "over 1,048,576"),
        ([entry("f", b"x", record(b"a", b"x" * 600_000)) * 2], "over 1,048,576"),
        ([entry("f", data=b"abc")[: BLOCK - 1]], "middle of an entry"),
        ([entry("f", size=10_000)], "middle of an entry"),
        ([entry("f", size=10_000, pax={b"size": b"99999999"})], "middle of an entry"),
        ([b"\1" * BLOCK], "checksum"),
        ([with_checksum(entry("f")[:124] + b"9" * 12 + entry("f")[136:BLOCK])], "no valid size"),
        ([entry("f", b"S", b"x" * BLOCK)], "sparse"),
        ([entry("f", data=b"x" * 600, pax={b"GNU.sparse.map": b"0,100", b"GNU.sparse.size": b"600"})], "is for 100"),
        ([entry("f", data=b"x" * 9, pax={b"GNU.sparse.map": b"5,5,0,4", b"GNU.sparse.size": b"9"})], "backwards"),
        ([entry("f", data=b"x" * 9, pax={b"GNU.sparse.map": b"5,9", b"GNU.sparse.size": b"9"})], "leaves the file"),
        ([entry("f", data=b"x" * 9, pax={b"GNU.sparse.map": b"5", b"GNU.sparse.size": b"9"})], "map is cut"),
        ([entry("f", data=b"x" * 9, pax={b"GNU.sparse.map": b"a,b", b"GNU.sparse.size": b"9"})], "no number"),
        ([entry("f", data=b"x" * 9, pax={b"GNU.sparse.major": b"7"})], "unknown version"),
        (
            [
                entry(
                    "f",
                    data=b"99999999\n" + bytes(503),
                    pax={b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9"},
                )
            ],
            "too long",
        ),
    ],
)
def test_it_is_refused_in_words(layers, cause, cell):
    with pytest.raises(InvalidImageError) as caught:
        unpack(cell, b"".join(layers))
    assert cause in str(caught.value.cause)
    assert caught.value.what == f"{LAYER} cannot be unpacked"


@pytest.mark.parametrize(
    ("layers", "where"),
    [
        # As docker has it, which unpacks in a chroot, and umoci and containerd, which resolve beneath the root.
        ([symlink("out", "../outside"), entry("out/new", data=b"x")], "outside/new"),
        ([symlink("out", "../../../../../outside/dir"), entry("out/new", data=b"x")], "outside/dir/new"),
        ([symlink("out", "/etc"), entry("out/passwd", data=b"x")], "etc/passwd"),
        ([symlink("out", "/"), entry("out/etc/passwd", data=b"x")], "etc/passwd"),
        ([symlink("a", "/b"), symlink("b", "../c"), entry("a/new", data=b"x")], "c/new"),
        ([folder("d"), symlink("d/up", ".."), entry("d/up/new", data=b"x")], "new"),
        ([folder("d"), symlink("d/out", "../../outside"), entry("d/out/secret", data=b"x")], "outside/secret"),
        ([folder("d"), symlink("d", "../outside"), entry("d/secret", data=b"x")], "outside/secret"),
        ([folder("d"), entry("d/f"), symlink("d", "/outside"), entry("d/secret", data=b"x")], "outside/secret"),
        ([folder("usr/lib"), symlink("lib", "usr/lib"), entry("lib/x/y", data=b"x")], "usr/lib/x/y"),
        ([symlink("f", "../outside/secret"), entry("f", data=b"x")], "f"),
        ([symlink("f", "/etc/passwd"), entry("f", data=b"x")], "f"),
        ([entry("/etc/passwd", data=b"x")], "etc/passwd"),
        ([entry("///etc//./passwd", data=b"x")], "etc/passwd"),
        ([entry("a/../b/../etc/passwd", data=b"x")], "etc/passwd"),
        ([symlink("self", "/proc/self/cwd"), entry("self/new", data=b"x")], "proc/self/cwd/new"),
        ([symlink("here", "."), entry("here/here/here/new", data=b"x")], "new"),
    ],
)
def test_it_stays_within(layers, where, cell):
    unpack(cell, b"".join(layers))
    assert in_cell(cell)[where].content == b"x"


def test_a_hard_link_within_is_never_written_through(cell):
    """A link's other names keep what they have when one name gets another file."""
    unpack(cell, entry("a", data=b"old") + hardlink("b", "a"), entry("b", data=b"new"))
    assert (in_cell(cell)["a"].content, in_cell(cell)["b"].content) == (b"old", b"new")


def test_a_link_to_outside_that_stood_there_is_replaced_and_not_followed(cell):
    os.symlink("../outside/secret", cell / "f")
    os.symlink("../outside/dir", cell / "d")
    os.link(cell.parent / "outside/secret", cell / "hard")
    layer = entry("f", data=b"x") + folder("d", 0o700) + entry("d/file", data=b"x") + entry("hard", data=b"x")
    try:
        unpack(cell, layer, occupied=True)
        assert {name: value.content for name, value in in_cell(cell).items() if value.kind == "file"} == {
            "f": b"x",
            "d/file": b"x",
            "hard": b"x",
        }
    finally:
        (cell / "hard").unlink()


@pytest.mark.parametrize(
    "hide", [whiteout("out/secret"), whiteout("out"), opaque("out"), whiteout("d/out/file"), opaque("")]
)
def test_a_whiteout_reaches_nothing_outside(hide, cell):
    os.symlink("../outside", cell / "out")
    os.makedirs(cell / "d")
    os.symlink("../../outside/dir", cell / "d/out")
    unpack(cell, hide, occupied=True)


def test_deep_paths_need_few_descriptors_and_little_time(cell):
    names = [f"{number:x}" for number in range(1500)]
    deep = "/".join(names)
    layer = entry(f"{deep}/f", data=b"x") + entry(f"{deep}/g", data=b"x") + folder("/".join(names[:700]), 0o711)
    before = len(os.listdir("/proc/self/fd"))
    unpack(cell, layer, whiteout(deep), whiteout(names[0]))
    assert len(os.listdir("/proc/self/fd")) == before
    assert in_cell(cell) == {}


@pytest.mark.parametrize(
    ("limits", "layer", "what"),
    [
        (Limits(entries=10), entry("f") * 11, "too many entries"),
        (Limits(entries=10), entry("f", b"x", record(b"a", b"b")) * 11, "too many entries"),
        (Limits(entries=10), entry("a/" * 20 + "f"), "too many entries"),
        (Limits(size=10_000), entry("f", pax={b"GNU.sparse.map": b"", b"GNU.sparse.size": b"10001"}), "too large"),
    ],
)
def test_a_bomb_is_refused(limits, layer, what, cell):
    with pytest.raises(InvalidImageError, match=what) as caught:
        unpack(cell, layer, limits=limits)
    assert "--max-" in str(caught.value.hint)


def test_a_directory_with_attributes_without_end_does_not_fill_the_memory(cell, monkeypatch):
    monkeypatch.setattr("fastoci.rootfs.limits._HELD", 1_000_000)
    layer = b"".join(folder(f"d{number}", pax={b"SCHILY.xattr.user.a": b"x" * 50_000}) for number in range(21))
    with pytest.raises(InvalidImageError, match="attributes take over"):
        unpack(cell, layer)


def test_a_name_that_the_file_system_does_not_take_is_its_refusal(cell):
    with pytest.raises(StoreError) as caught:
        unpack(cell, entry("x" * 256))
    assert caught.value.cause == "file name too long"
    assert "unpack elsewhere" in str(caught.value.hint)


def test_attributes_that_are_the_hosts_are_left_out_and_counted(cell):
    pax = {
        b"SCHILY.xattr.trusted.overlay.opaque": b"y",
        b"SCHILY.xattr.security.selinux": b"label",
        b"SCHILY.xattr.user.overlay.redirect": b"/etc",
        b"SCHILY.xattr.user.fine": b"value",
    }
    refused = unpack(cell, entry("f", pax=pax))
    assert dict(in_cell(cell)["f"].xattrs) == {b"user.fine": b"value"}
    assert sum(refused.values()) == 3


@pytest.mark.parametrize("step", [1, 7, 511, 512, 513])
def test_pieces_may_be_cut_anywhere(step, cell):
    layer = folder("d") + entry("d/f", data=b"x" * 3000) + entry("g", b"x", record(b"path", b"long" * 50)) + entry("h")
    unpack(cell, layer, step=step)
    assert in_cell(cell)["d/f"].content == b"x" * 3000
    assert "long" * 50 in in_cell(cell)


def test_memory_does_not_grow_with_a_file(cell):
    tracemalloc.start()
    try:
        size = 64 << 20
        from fastoci.rootfs.changeset import Rootfs
        from fastoci.rootfs.limits import Usage
        from fastoci.rootfs.owners import Owners

        def stream():
            yield entry("f", size=size)
            for _ in range(size >> 20):
                yield b"x" * (1 << 20)
            yield END

        fd = os.open(cell, os.O_RDONLY)
        rootfs = Rootfs(fd, str(cell), Owners(keep=False), Usage(Limits()))
        rootfs.apply(stream(), LAYER)
        rootfs.close()
        os.close(fd)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert (cell / "f").stat().st_size == size
    assert list(pieces(b"abc", 2)) == [b"ab", b"c"]
