"""What becomes of what is found: owners, times, extended attributes, whiteouts and what is left out."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from fastoci.errors import TreeNameError, UsageError
from fastoci.events import Warned
from fastoci.tree.policy import OWNER_LIMIT, TreePolicy
from oracles.packing import pack
from oracles.snapshot import packable, snapshot
from oracles.tarreference import Rules, write_pieces, write_tar


def names(packed):
    with tarfile.open(fileobj=io.BytesIO(packed.tar), errors="surrogateescape") as archive:
        return [member.name for member in archive]


@pytest.mark.parametrize(
    ("policy", "rules"),
    [
        (TreePolicy(uid=0, gid=0), Rules(uid=0, gid=0)),
        (TreePolicy(uid=5), Rules(uid=5)),
        (TreePolicy(gid=2097152), Rules(gid=2097152)),
        (TreePolicy(uid=OWNER_LIMIT - 1, gid=OWNER_LIMIT - 1), Rules(uid=2**32 - 2, gid=2**32 - 2)),
        (TreePolicy(mtime_limit=0), Rules(mtime_limit=0)),
        (TreePolicy(mtime_limit=1_500_000_000), Rules(mtime_limit=1_500_000_000)),
        (TreePolicy(mtime_limit=-10), Rules(mtime_limit=-10)),
        (TreePolicy(xattrs=False), Rules(xattrs=False)),
        (TreePolicy(1, 2, 3, xattrs=False), Rules(1, 2, 3, xattrs=False)),
        (TreePolicy(mtime=5), Rules(mtime=5)),
        (TreePolicy(mtime=-(2**40)), Rules(mtime=-(2**40))),
        (TreePolicy(mtime=7, mtime_limit=6), Rules(mtime=7, mtime_limit=6)),
        (TreePolicy(chmod="0"), Rules(modes=lambda kind, mode: mode & 0o6000 if kind == "directory" else 0)),
        (
            TreePolicy(chmod="a=,u+rw"),
            Rules(modes=lambda kind, mode: mode & 0o6000 | 0o600 if kind == "directory" else 0o600),
        ),
        (TreePolicy(chmod="go-w,a-st"), Rules(modes=lambda _, mode: mode & 0o755)),
    ],
)
def test_the_nasty_tree_under_a_policy(nasty_tree, policy, rules):
    packed = pack(nasty_tree.path, policy=policy)
    assert packed.tar == write_tar(write_pieces(nasty_tree.entries, rules))
    times = [entry.mtime if policy.mtime is None else policy.mtime for entry in nasty_tree.entries.values()]
    limit = policy.mtime_limit
    assert packed.layer.newest_mtime == (max(times) if limit is None else min(limit, max(times)))


def test_sockets_are_skipped_with_one_warning(nasty_tree):
    (warning,) = [event for event in pack(nasty_tree.path).events if isinstance(event, Warned)]
    assert "special/another socket" in warning.message
    assert "1 more" in warning.message


def test_one_owner(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"")
    assert pack(tmp_path, policy=TreePolicy(uid=9, gid=9)).layer.owner == (os.getuid(), os.getgid())


def test_whiteouts(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".wh.x").write_bytes(b"")
    with pytest.raises(TreeNameError) as caught:
        pack(tmp_path)
    assert caught.value.path == f"{tmp_path}/d/.wh.x"
    assert "--whiteouts keep" in caught.value.hint
    assert "--exclude d/.wh.x" in caught.value.hint
    assert names(pack(tmp_path, policy=TreePolicy(whiteouts="keep"))) == ["d", "d/.wh.x"]
    assert names(pack(tmp_path, policy=TreePolicy(patterns=("d/.wh.x",)))) == ["d"]


EVERYTHING = ".hidden a a/b a/b/c a/b/c/file a/b/keep a/other cache cache/keep cache/keep/z cache/x cache/x/y empty top"


class TestPatterns:
    """What patterns leave out of a layer, and which directories stay for what is let in again."""

    @pytest.fixture
    def tree(self, tmp_path):
        for name in ("a/b/c/file", "a/b/keep", "a/other", "cache/x/y", "cache/keep/z", "top", ".hidden"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
        (tmp_path / "empty").mkdir()
        return tmp_path

    @pytest.mark.parametrize(
        ("patterns", "expected"),
        [
            ((), EVERYTHING),
            (("a", "cache"), ".hidden empty top"),
            (("a/b",), ".hidden a a/other cache cache/keep cache/keep/z cache/x cache/x/y empty top"),
            (("*", "!a/b/keep"), "a a/b a/b/keep"),
            (("*", "!a"), "a a/b a/b/c a/b/c/file a/b/keep a/other"),
            (("**", "!cache/keep"), "cache cache/keep cache/keep/z"),
            (("**/keep",), ".hidden a a/b a/b/c a/b/c/file a/other cache cache/x cache/x/y empty top"),
            (("*", "!**/keep"), "a a/b a/b/keep cache cache/keep cache/keep/z"),
            (("*", "!empty"), "empty"),
            (("*", "!nothing/like/it"), ""),
            (
                ("a", "!a/b", "a/b/c"),
                ".hidden a a/b a/b/keep cache cache/keep cache/keep/z cache/x cache/x/y empty top",
            ),
            (("?op", "[ace]*"), ".hidden"),
            (("/a", "./cache/", "em*ty"), ".hidden top"),
        ],
    )
    def test_what_stays(self, tree, patterns, expected):
        policy = TreePolicy(patterns=patterns)
        packed = pack(tree, policy=policy)
        assert names(packed) == expected.split()
        # To the bit what a tree of the rest alone gives: a directory that stays keeps its own facts.
        rest = {path: entry for path, entry in snapshot(tree).items() if os.fsdecode(path) in expected.split()}
        assert packed.tar == write_tar(write_pieces(rest))

    def test_a_hard_link_to_what_is_left_out(self, tree):
        os.link(tree / "a" / "other", tree / "z")
        packed = pack(tree, policy=TreePolicy(patterns=("*", "!z")))
        assert packed.tar == write_tar(write_pieces({b"z": snapshot(tree)[b"z"]}))

    def test_a_hard_link_into_another_source(self, tree, tmp_path_factory):
        """A link leads nowhere outside of its own layer: each has the file itself."""
        other = tmp_path_factory.mktemp("other")
        os.link(tree / "a" / "other", other / "z")
        os.link(other / "z", other / "zz")
        os.link(tree / "a" / "b" / "c" / "file", tree / "second")
        first = pack(tree)
        second = pack(other, earlier=[first.layer])
        for packed, root in ((first, tree), (second, other)):
            assert packed.tar == write_tar(write_pieces(snapshot(root)))
        with tarfile.open(fileobj=io.BytesIO(second.tar)) as archive:
            assert [(member.name, member.type, member.linkname) for member in archive] == [
                ("z", tarfile.REGTYPE, ""),
                ("zz", tarfile.LNKTYPE, "z"),
            ]

    def test_patterns_are_relative_to_the_source_not_to_the_destination(self, tree):
        assert names(pack(tree, "/a", policy=TreePolicy(patterns=("a", "cache", "empty")))) == [
            "a",
            "a/.hidden",
            "a/top",
        ]

    def test_a_name_that_is_not_utf8(self, tree):
        for name in (b"\xff\xfe", b"\xffkept"):
            (tree / os.fsdecode(name)).write_bytes(b"")
        packed = pack(tree, policy=TreePolicy(patterns=("[a-z]*", ".*", os.fsdecode(b"\xff\xfe"))))
        assert names(packed) == [os.fsdecode(b"\xffkept")]

    @pytest.mark.parametrize("pattern", ["!", "[", "a[", "[x-]", "\\"])
    def test_a_pattern_without_a_meaning(self, tree, pattern):
        with pytest.raises(UsageError, match="illegal exclude pattern") as caught:
            pack(tree, policy=TreePolicy(patterns=(pattern,)))
        assert caught.value.cause


def test_every_attribute_of_the_host_is_dropped(nasty_tree):
    host = packable(snapshot(nasty_tree.path))[b"xattrs/of the host"]
    assert host.xattrs
    with tarfile.open(fileobj=io.BytesIO(pack(nasty_tree.path).tar), errors="surrogateescape") as archive:
        assert archive.getmember("xattrs/of the host").pax_headers == {}
