"""Mount points in a tree, against GNU tar: with --one-file-system they are empty, without it they are gone into."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import ExitStack

import pytest

from fastoci.tree.policy import TreePolicy
from oracles.mounts import mounted, tmpfs
from oracles.nasty import is_root
from oracles.packing import pack
from oracles.privileges import public_directory, unprivileged
from oracles.unpackers import program, run

pytestmark = pytest.mark.skipif(not is_root(), reason="only root may mount")

ONE = TreePolicy(one_file_system=True)


@pytest.fixture(scope="module")
def tree():
    """A tree with mounts in it: over what was there, one in another, over a file, and one of the same disk."""
    with ExitStack() as stack:
        top = stack.enter_context(public_directory())
        root = top / "tree"
        for name in ("hidden/by/mount", "deep/er/mount", "same", "z"):
            (root / name).mkdir(parents=True)
            (root / name / "underneath").write_bytes(b"underneath")
        (top / "elsewhere/inside").mkdir(parents=True)
        (top / "elsewhere/inside/file").write_bytes(b"of the same file system")
        (root / "a-file").write_bytes(b"a file")
        (root / "mounted-file").write_bytes(b"")
        mounts = (root / "hidden", root / "deep/er/mount")
        for number, mount in enumerate(mounts):
            stack.enter_context(tmpfs(mount, 0o1751))
            os.chown(mount, 7, 8)
            (mount / "d").mkdir()
            (mount / "d/x").write_bytes(b"on another file system")
            (mount / ".wh.would-be-refused").write_bytes(b"")
            os.utime(mount, (0, 1_600_000_000 + number))
        (mounts[0] / "d/inner").mkdir()
        stack.enter_context(tmpfs(mounts[0] / "d/inner", 0))
        stack.enter_context(mounted(root / "same", "--bind", top / "elsewhere"))
        (mounts[1] / "lone").write_bytes(b"a file that is mounted over a file")
        stack.enter_context(mounted(root / "mounted-file", "--bind", mounts[1] / "lone"))
        yield str(root)


def told(data):
    """Return what an archive says of each path, whoever wrote it, but for the root itself."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(os.path.normpath(member.name), member) for member in archive]
        return {
            path: (
                member.type,
                member.mode,
                member.uid,
                member.gid,
                int(member.mtime // 1),
                (archive.extractfile(member) or io.BytesIO()).read() if member.isreg() else b"",
            )
            for path, member in members
            if path != "."
        }


def by_gnu_tar(path, archive, *options):
    run([program("tar", "tar"), "-C", path, "--format=pax", "--numeric-owner", *options, "-cf", str(archive), "."])
    return told(archive.read_bytes())


def test_as_gnu_tar_has_it(tree, tmp_path):
    found = told(pack(tree, policy=ONE).tar)
    assert found == by_gnu_tar(tree, tmp_path / "gnu.tar", "--one-file-system")
    assert {"hidden", "deep/er/mount", "same/inside/file", "mounted-file", "z/underneath"} <= found.keys()
    assert not [path for path in found if path.startswith(("hidden/", "deep/er/mount/"))]
    assert found["hidden"] == (tarfile.DIRTYPE, 0o1751, 7, 8, 1_600_000_000, b"")
    assert found["mounted-file"][-1] == b"a file that is mounted over a file"


def test_without_it_mounts_are_gone_into(tree, tmp_path):
    found = told(pack(tree, policy=TreePolicy(whiteouts="keep")).tar)
    assert found == by_gnu_tar(tree, tmp_path / "gnu.tar")
    assert "hidden/d/inner" in found


def test_the_source_may_be_a_mount_point_itself(tree, tmp_path):
    policy = TreePolicy(one_file_system=True, whiteouts="keep")
    found = told(pack(f"{tree}/hidden", policy=policy).tar)
    assert found == by_gnu_tar(f"{tree}/hidden", tmp_path / "gnu.tar", "--one-file-system")
    assert found.keys() == {"d", "d/x", "d/inner", ".wh.would-be-refused"}


def test_nothing_is_asked_of_what_is_mounted(tree):
    """Whoever may not look into a mount packs the tree around it all the same."""
    os.chmod(f"{tree}/hidden", 0)
    try:
        with unprivileged():
            found = told(pack(tree, policy=ONE).tar)
    finally:
        os.chmod(f"{tree}/hidden", 0o1751)
    assert found["hidden"][1] == 0
    assert "hidden/d" not in found


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("*", "!hidden/d/x"), []),
        (("*", "!hidden"), ["hidden"]),
        (("hidden", "deep", "same", "z"), ["a-file", "mounted-file"]),
    ],
)
def test_no_pattern_lets_in_what_another_file_system_holds(tree, patterns, expected):
    assert sorted(told(pack(tree, policy=TreePolicy(one_file_system=True, patterns=patterns)).tar)) == expected


def test_the_command_and_its_check(tree, tmp_path, fastoci):
    layout = f"oci:{tmp_path}/image"
    code, _, err = fastoci("build", tree, "-o", layout, "--one-file-system")
    assert code == 0, err
    assert fastoci("validate", layout, "--rebuild", tree, "--one-file-system")[0] == 0
    code, said, _ = fastoci("validate", layout, "--rebuild", tree, "--whiteouts", "keep")
    assert code == 3
    assert "hidden/d/x: only in the tree" in said
