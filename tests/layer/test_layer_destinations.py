"""Where a tree stands in the image: the directories above it, as the layers below have them."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace

import pytest

from fastoci.errors import UsageError
from fastoci.events import discard
from fastoci.layer.options import LayerOptions
from fastoci.layer.tarball import pack_tar
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.nasty import is_root
from oracles.packing import MemorySink, pack
from oracles.snapshot import Entry, snapshot
from oracles.tarreference import Rules, write_pieces, write_tar

MADE_UP = Entry("directory", 0o755, 0, 0, 0)


@pytest.fixture
def tree(tmp_path):
    """A small tree to be placed somewhere."""
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"data")
    (root / "sub" / "file").write_bytes(b"more")
    root.chmod(0o2711)
    os.utime(root, (0, 1234))
    return root


def root_entry(path):
    parent = snapshot(os.path.dirname(path))
    return parent[os.fsencode(os.path.basename(path))]


def below(tmp_path, name, make):
    """Pack a layer for others to stand on."""
    root = tmp_path / name
    root.mkdir()
    make(root)
    return pack(root).layer


def tar_layer(tmp_path, *members):
    """Pack a tar archive made of (name, type, other facts)."""
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, facts in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            for key, value in facts.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    sink = MemorySink()
    return pack_tar(TreeSource(str(path)), LayerOptions(threads=1), sink, discard)


def expected(tree, prefix, above):
    return write_tar(write_pieces(snapshot(tree), Rules(prefix=prefix, above=above)))


@pytest.mark.parametrize("dest", ["/opt", "/opt/vendor/app", "/a/b/c/d/e/f"])
@pytest.mark.parametrize("epoch", [None, 99])
def test_with_nothing_below(tree, dest, epoch):
    parts = dest.strip("/").encode().split(b"/")
    made_up = replace(MADE_UP, mtime_ns=(epoch or 0) * 10**9)
    above = {b"/".join(parts[:number]): made_up for number in range(1, len(parts))}
    root = {b"/".join(parts): replace(root_entry(tree), links=1)}
    rules = Rules(prefix=b"/".join(parts), above={**above, **root}, mtime_limit=epoch)
    packed = pack(tree, dest, policy=TreePolicy(mtime_limit=epoch))
    assert packed.tar == write_tar(write_pieces(snapshot(tree), rules))
    assert packed.layer.entries == len(parts) + 3


def test_owners_are_for_what_is_found(tree):
    packed = pack(tree, "/opt/app", policy=TreePolicy(uid=5, gid=6))
    with tarfile.open(fileobj=io.BytesIO(packed.tar)) as archive:
        owners = {member.name: (member.uid, member.gid) for member in archive}
    assert owners.pop("opt") == (0, 0)
    assert set(owners.values()) == {(5, 6)}
    assert packed.layer.owner == (os.getuid(), os.getgid())


def make_directories(root):
    (root / "opt" / "app").mkdir(parents=True)
    (root / "opt").chmod(0o1700)
    (root / "opt" / "app").chmod(0o750)
    os.setxattr(root / "opt", "user.of", b"opt")
    os.setxattr(root / "opt" / "app", "user.of", b"app")
    if is_root():
        os.chown(root / "opt", 7, 2**32 - 2)
    os.utime(root / "opt" / "app", (0, -77))
    os.utime(root / "opt", (0, 55))


def test_as_an_earlier_layer_has_them(tree, tmp_path):
    layer = below(tmp_path, "base", make_directories)
    base = snapshot(tmp_path / "base")
    above = {path: base[path] for path in (b"opt", b"opt/app")}
    packed = pack(tree, "/opt/app", earlier=[layer])
    assert packed.tar == expected(tree, b"opt/app", above)
    # And what is deeper than they go is made up.
    packed = pack(tree, "/opt/app/new/deeper", earlier=[layer])
    above |= {b"opt/app/new": MADE_UP, b"opt/app/new/deeper": root_entry(tree)}
    assert packed.tar == expected(tree, b"opt/app/new/deeper", above)


def test_the_last_layer_that_has_them_counts(tree, tmp_path):
    def others(root):
        (root / "opt").mkdir()
        (root / "opt").chmod(0o711)

    one = below(tmp_path, "one", make_directories)
    two = below(tmp_path, "two", others)
    above = {b"opt": snapshot(tmp_path / "two")[b"opt"], b"opt/app": snapshot(tmp_path / "one")[b"opt/app"]}
    assert pack(tree, "/opt/app", earlier=[one, two]).tar == expected(tree, b"opt/app", above)


def test_after_the_policy_of_the_earlier_layer(tree, tmp_path):
    (tmp_path / "base").mkdir()
    make_directories(tmp_path / "base")
    layer = pack(tmp_path / "base", policy=TreePolicy(uid=1, gid=2, mtime_limit=-80, xattrs=False)).layer
    opt = Entry("directory", 0o1700, 1, 2, -80 * 10**9)
    above = {b"opt": opt, b"opt/app": replace(opt, mode=0o750)}
    assert pack(tree, "/opt/app", earlier=[layer]).tar == expected(tree, b"opt/app", above)


def test_a_layer_that_was_placed_itself(tree):
    first = pack(tree, "/opt/app")
    second = pack(tree, "/opt/app/x", earlier=[first.layer])
    above = {b"opt": MADE_UP, b"opt/app": root_entry(tree), b"opt/app/x": root_entry(tree)}
    assert second.tar == expected(tree, b"opt/app/x", above)


def test_an_empty_tree_where_there_is_a_directory(tmp_path):
    layer = below(tmp_path, "base", make_directories)
    (tmp_path / "empty").mkdir()
    packed = pack(tmp_path / "empty", "/opt/app", earlier=[layer])
    base = snapshot(tmp_path / "base")
    assert packed.tar == expected(tmp_path / "empty", b"opt/app", {path: base[path] for path in (b"opt", b"opt/app")})
    assert packed.layer.newest_mtime is None
    assert packed.layer.owner is None


def test_through_symbolic_links(tree, tmp_path):
    def make(root):
        (root / "usr" / "lib").mkdir(parents=True)
        (root / "usr").chmod(0o711)
        (root / "lib").symlink_to("usr/lib")
        (root / "usr" / "absolute").symlink_to("/usr/../usr/./lib/")
        (root / "usr" / "upwards").symlink_to("../../../lib")
        (root / "new").symlink_to("usr/not/yet")

    layer = below(tmp_path, "base", make)
    base = snapshot(tmp_path / "base")
    usr = {b"usr": base[b"usr"], b"usr/lib": base[b"usr/lib"]}
    for dest in ("/lib/modules", "/usr/absolute/modules", "/usr/upwards/modules", "/usr/lib/modules"):
        above = {**usr, b"usr/lib/modules": root_entry(tree)}
        assert pack(tree, dest, earlier=[layer]).tar == expected(tree, b"usr/lib/modules", above), dest
    for dest in ("/lib", "/usr/absolute"):
        assert pack(tree, dest, earlier=[layer]).tar == expected(tree, b"usr/lib", usr), dest
    above = {b"usr": base[b"usr"], b"usr/not": MADE_UP, b"usr/not/yet": root_entry(tree)}
    assert pack(tree, "/new", earlier=[layer]).tar == expected(tree, b"usr/not/yet", above)


def test_through_a_hard_link_to_a_symbolic_link(tree, tmp_path):
    def make(root):
        (root / "real").mkdir()
        (root / "a").symlink_to("real")
        os.link(root / "a", root / "b", follow_symlinks=False)

    layer = below(tmp_path, "base", make)
    above = {b"real": snapshot(tmp_path / "base")[b"real"]}
    for dest in ("/a", "/b"):
        assert pack(tree, dest, earlier=[layer]).tar == expected(tree, b"real", above)
    tar = tar_layer(
        tmp_path,
        ("real", tarfile.DIRTYPE, {"mode": 0o700}),
        ("a", tarfile.SYMTYPE, {"linkname": "real"}),
        ("b", tarfile.LNKTYPE, {"linkname": "a"}),
    )
    assert pack(tree, "/b", earlier=[tar]).tar == expected(tree, b"real", {b"real": replace(MADE_UP, mode=0o700)})


@pytest.mark.parametrize("links", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "a/x"}, {"a": "../a"}])
def test_round_in_a_circle(tree, tmp_path, links):
    def make(root):
        for name, target in links.items():
            (root / name).symlink_to(target)

    with pytest.raises(UsageError, match="circle"):
        pack(tree, "/a/b", earlier=[below(tmp_path, "base", make)])


@pytest.mark.parametrize("dest", ["/file", "/file/x", "/link/x", "/fifo/x"])
def test_something_in_the_way(tree, tmp_path, dest):
    def make(root):
        (root / "file").write_bytes(b"")
        (root / "link").symlink_to("file")
        os.mkfifo(root / "fifo")

    with pytest.raises(UsageError, match=r"leads through a (file|fifo)") as caught:
        pack(tree, dest, earlier=[below(tmp_path, "base", make)])
    assert caught.value.hint
    tar = tar_layer(
        tmp_path,
        ("./file", tarfile.REGTYPE, {"size": 3}),
        ("link", tarfile.SYMTYPE, {"linkname": "file"}),
        ("fifo", tarfile.FIFOTYPE, {}),
    )
    with pytest.raises(UsageError, match=r"leads through a (file|fifo)"):
        pack(tree, dest, earlier=[tar])


def test_over_a_tar_archive(tree, tmp_path):
    layer = tar_layer(
        tmp_path,
        ("./opt/", tarfile.DIRTYPE, {"mode": 0o700}),
        (
            "opt//app",
            tarfile.DIRTYPE,
            {
                "mode": 0o1711,
                "uid": 3,
                "gid": 4,
                "mtime": -5.5,
                "pax_headers": {"SCHILY.xattr.user.a": "b\udcff"},
            },
        ),
        # Of two entries of one path the last counts.
        ("opt", tarfile.DIRTYPE, {"mode": 0o750}),
    )
    above = {
        b"opt": replace(MADE_UP, mode=0o750),
        b"opt/app": Entry("directory", 0o1711, 3, 4, -6 * 10**9, xattrs={b"user.a": b"b\xff"}),
    }
    assert pack(tree, "/opt/app", earlier=[layer]).tar == expected(tree, b"opt/app", above)


@pytest.mark.parametrize("whiteout", [".wh.opt", ".wh..wh..opq", "opt/.wh.app", "opt/.wh..wh..opq"])
def test_what_a_layer_removed_is_not_there_any_more(tree, tmp_path, whiteout):
    base = below(tmp_path, "base", make_directories)
    layer = tar_layer(tmp_path, (whiteout, tarfile.REGTYPE, {}))
    above = {b"opt": MADE_UP, b"opt/app": root_entry(tree)}
    if whiteout.startswith("opt/"):
        above[b"opt"] = snapshot(tmp_path / "base")[b"opt"]
    assert pack(tree, "/opt/app", earlier=[base, layer]).tar == expected(tree, b"opt/app", above)
    # What a still later layer has stands again.
    assert pack(tree, "/opt/app", earlier=[layer, base]).tar == pack(tree, "/opt/app", earlier=[base]).tar


def test_what_a_file_took_the_place_of_is_not_there_any_more(tree, tmp_path):
    base = below(tmp_path, "base", make_directories)
    file = tar_layer(tmp_path, ("opt", tarfile.REGTYPE, {}))
    again = tar_layer(tmp_path, ("opt", tarfile.DIRTYPE, {"mode": 0o700}))
    above = {b"opt": replace(MADE_UP, mode=0o700), b"opt/app": root_entry(tree)}
    assert pack(tree, "/opt/app", earlier=[base, file, again]).tar == expected(tree, b"opt/app", above)


@pytest.mark.parametrize("dest", ["/.wh.a", "/opt/.wh..wh..opq/x"])
def test_a_destination_named_like_a_whiteout(tree, dest):
    with pytest.raises(UsageError, match="whiteout"):
        pack(tree, dest)


def test_a_name_that_no_system_has(tree, tmp_path):
    with pytest.raises(UsageError, match="255"):
        pack(tree, "/" + "n" * 256)
    # An archive can lead to one; beyond 65,535 bytes it would not fit the engine's table.
    layer = tar_layer(tmp_path, ("a", tarfile.SYMTYPE, {"linkname": "n" * 70000}))
    with pytest.raises(UsageError, match="255"):
        pack(tree, "/a/b", earlier=[layer])
