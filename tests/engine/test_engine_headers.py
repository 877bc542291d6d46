"""The tar stream, to the bit that a slow writer gives it, and as Python's tarfile reads it."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastoci._engine import EngineFault
from fastoci._engine.plan import Plan
from oracles.nasty import BLOCK
from oracles.packing import entries, pack, plan, render, render_all, scan
from oracles.randomtrees import NAMES, TREES, made
from oracles.snapshot import kept_xattrs, packable, snapshot
from oracles.tarreference import header, write_pieces, write_tar

WHERE = {"file": "0", "hardlink": "1", "symlink": "2", "character": "3", "block": "4", "directory": "5", "fifo": "6"}


def test_the_nasty_tree_is_that_of_the_slow_writer(nasty_tree):
    pieces = write_pieces(nasty_tree.entries)
    planned = plan(nasty_tree.path, threads=3)
    expected = write_tar(pieces)
    assert planned.tar_size == len(expected)
    described = entries(planned.table)
    assert [path + b"/" * (kind == "directory") for path, kind, _ in described] == [piece.path for piece in pieces]
    stream = render_all(planned)
    at = 0
    for piece in pieces:
        # Entry by entry, so that a failure shows which one.
        assert stream[at : at + len(piece.headers)] == piece.headers, piece.path
        at += len(piece.headers) + len(piece.padded)
    assert hashlib.sha256(stream).digest() == hashlib.sha256(expected).digest()


@given(TREES)
@settings(max_examples=80)
def test_any_tree_is_that_of_the_slow_writer(spec):
    with made(spec) as root:
        expected = write_tar(write_pieces(packable(snapshot(root))))
        assert render_all(plan(root, block_size=8192, threads=2)) == expected


@given(TREES)
@settings(max_examples=60)
def test_any_tree_is_read_back_by_tarfile(spec):
    with made(spec) as root:
        tree = packable(snapshot(root))
        tar = pack(root).tar
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as archive:
        members = archive.getmembers()
        paths = [os.fsencode(member.name) for member in members]
        # Parents first, and the byte order of the paths with a directory's slash at its end.
        assert [path + b"/" * member.isdir() for path, member in zip(paths, members, strict=True)] == sorted(
            path + b"/" * (entry.kind == "directory") for path, entry in tree.items()
        )
        for path, member in zip(paths, members, strict=True):
            entry = tree[path]
            assert (member.mode, member.uid, member.gid, member.mtime) == (
                entry.mode,
                entry.uid,
                entry.gid,
                entry.mtime,
            )
            assert (member.uname, member.gname) == ("", "")
            xattrs = {
                os.fsencode(key.removeprefix("SCHILY.xattr.")): os.fsencode(value)
                for key, value in member.pax_headers.items()
                if key.startswith("SCHILY.xattr.")
            }
            if member.islnk():
                first = tree[os.fsencode(member.linkname)]
                assert first.inode == entry.inode
                assert os.fsencode(member.linkname) < path
                assert xattrs == {}
                continue
            assert xattrs == kept_xattrs(entry)
            assert member.type.decode() == WHERE[entry.kind]
            if member.isfile():
                assert archive.extractfile(member).read() == entry.content
            elif member.issym():
                assert os.fsencode(member.linkname) == entry.content


def bytes_of_directories(path, directories):
    """Return the stream of an empty tree beneath made up directories: every fact of a header without a file system."""
    table = scan(path)
    for name, mode, uid, gid, mtime, xattrs in directories[:-1]:
        table.adopt_ancestor(name, mode, uid, gid, mtime, xattrs)
    name, *facts = directories[-1]
    table.place_root(name)
    table.restate_root(*facts)
    planned = Plan(table, block_size=BLOCK)
    return render_all(planned)


XATTR_NAMES = st.binary(min_size=1, max_size=30).filter(lambda name: not set(name) & {0, 0x3D})
DIRECTORIES = st.tuples(
    NAMES,
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 2),
    st.integers(0, 2**32 - 2),
    st.one_of(st.integers(-(2**40), 2**40), st.integers(-(2**62), 2**62)),
    st.dictionaries(XATTR_NAMES, st.binary(max_size=200), max_size=3),
)


@given(st.lists(DIRECTORIES, min_size=1, max_size=6))
@example([(b"n" * 99, 0o755, 0, 0, 0, {})])
@example([(b"n" * 100, 0o755, 0, 0, 0, {})])
@example([(b"p" * 154, 0o755, 0, 0, 0, {}), (b"n" * 99, 0o755, 0, 0, 0, {})])
@example([(b"p" * 155, 0o755, 0, 0, 0, {}), (b"n" * 99, 0o755, 0, 0, 0, {})])
@example([(b"p" * 156, 0o755, 0, 0, 0, {}), (b"n" * 99, 0o755, 0, 0, 0, {})])
@example([(b"p" * 155, 0o755, 0, 0, 0, {}), (b"n" * 100, 0o755, 0, 0, 0, {})])
@example([(b"p", 0o755, 0o7777777, 0o10000000, 8**11 - 1, {}), (b"q", 0o755, 2**32 - 2, 0, 8**11, {b"user.a": b""})])
@example([(b"p", 0o755, 0, 0, -(2**62), {b"user.%d" % size: b"v" * size for size in range(970, 990)})])
def test_any_facts_of_directories(tmp_path_factory, directories):
    path = tmp_path_factory.getbasetemp() / "nothing"
    path.mkdir(exist_ok=True)
    expected = b""
    above = b""
    for name, mode, uid, gid, mtime, xattrs in directories:
        above += name + b"/"
        expected += header(above, "directory", mode, uid, gid, 0, mtime, xattrs=xattrs)
    assert bytes_of_directories(path, directories) == expected + bytes(1024)


@pytest.mark.parametrize("size", range(80, 130))
def test_a_record_counts_its_own_digits(tmp_path, size):
    # Around a length of 100 the count of digits changes, and with it the length.
    value = b"v" * (size - len("SCHILY.xattr.user.a="))
    expected = header(b"d/", "directory", 0o755, 0, 0, 0, 0, xattrs={b"user.a": value})
    assert bytes_of_directories(tmp_path, [(b"d", 0o755, 0, 0, 0, {b"user.a": value})]) == expected + bytes(1024)


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 8**11 + 1, 2**43])
def test_sizes_beyond_ustar(tmp_path, size):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(size)
    status = os.stat(tmp_path / "huge")
    planned = plan(tmp_path)
    expected = header(
        b"huge", "file", status.st_mode & 0o7777, status.st_uid, status.st_gid, size, status.st_mtime_ns // 10**9
    )
    assert render(planned, 0) == expected
    assert planned.tar_size == len(expected) + size + -size % 512 + 1024
    # The last piece of the data and the trailer, without what lies between.
    assert render(planned, planned.block_count - 2) == bytes((size + -size % 512) % BLOCK or BLOCK)
    assert render(planned, planned.block_count - 1) == bytes(1024)


def test_headers_that_do_not_fit_into_a_block_are_a_fault(tmp_path):
    (tmp_path / "d").mkdir()
    os.symlink("t" * 4000, tmp_path / "d" / "link")
    with pytest.raises(EngineFault) as caught:
        plan(tmp_path, block_size=4096)
    fault = caught.value
    assert (fault.kind, fault.path, fault.expected, fault.found) == ("headers", b"d/link", 4096, 512 + 4096 + 512)
