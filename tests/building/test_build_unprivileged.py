"""Images of root's, built by somebody who is not root; what may not be read is an error that names it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from fastoci.tree.policy import TreePolicy
from oracles import unpackers
from oracles.nasty import is_root
from oracles.packing import pack
from oracles.privileges import NOBODY, public_directory, unprivileged
from oracles.snapshot import differences, snapshot

MODES = (0o444, 0o600, 0o640, 0o755, 0o711, 0o4755, 0o2750, 0o6511, 0o1777)


@pytest.fixture(scope="module")
def tree():
    """A tree that belongs to nobody, made by nobody where these tests run as root."""
    with public_directory() as top:
        if is_root():
            os.chown(top, NOBODY, NOBODY)
        with unprivileged():
            root = top / "tree"
            for number, mode in enumerate(MODES):
                directory = root / f"d{mode:o}"
                directory.mkdir(parents=True)
                (directory / "file").write_bytes(b"x" * number * 300)
                (directory / "file").chmod(mode)
                (directory / "link").symlink_to("file")
                os.mkfifo(directory / "fifo", 0o640)
                directory.chmod(mode | 0o500)
            os.link(root / "d600/file", root / "also")
            os.setxattr(root / "d755/file", "user.note", b"\0note")
            (root / "d640").chmod(0o750)
            for path in (*root.rglob("*"), root):
                os.utime(path, ns=(0, 1_650_000_000_000_000_000), follow_symlinks=False)
        yield root


def as_roots(entries, **facts):
    return {path: replace(entry, uid=0, gid=0, **facts) for path, entry in entries.items()}


@pytest.mark.skipif(not is_root(), reason="owners are seen where root unpacks")
@pytest.mark.parametrize("unpack", [unpackers.gnu_tar, unpackers.bsdtar, unpackers.umoci])
def test_chown_makes_all_of_it_roots(tree, tmp_path, unpack):
    with unprivileged():
        packed = pack(tree, policy=TreePolicy(uid=0, gid=0))
    assert packed.layer.owner == (NOBODY, NOBODY)
    unpack(packed.blob, tmp_path / "out")
    found = snapshot(tmp_path / "out")
    assert differences(as_roots(snapshot(tree)), found) == []
    assert {entry.mode for entry in found.values()} >= {0o4755, 0o6511}


@pytest.mark.skipif(not is_root(), reason="owners are seen where root unpacks")
@pytest.mark.parametrize("mode", ["755", "u=rwX,go=rX", "go-w,a+X,u-s", "a=,u+rw", "=rx,g+s,o=u"])
def test_chmod_makes_of_it_what_chmod_makes_of_a_copy(tree, tmp_path, mode):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", tree, copy], check=True)
    # Each file once, whatever names it has; and no links, behind which chmod would change the mode.
    files = {path.lstat().st_ino: path for path in copy.rglob("*") if not path.is_symlink()}
    paths = sorted(files.values())
    subprocess.run(["chmod", "--", mode, *paths], check=True, umask=0)
    for path in paths:
        os.utime(path, ns=(0, 1_650_000_000_000_000_000))
    with unprivileged():
        packed = pack(tree, policy=TreePolicy(uid=0, gid=0, chmod=mode))
    unpackers.gnu_tar(packed.blob, tmp_path / "out")
    assert differences(as_roots(snapshot(copy)), snapshot(tmp_path / "out")) == []


# A build by root comes first, and imports what the next one needs: nobody may not be let in to where that is installed.
AS_NOBODY = f"""
import os, sys, tempfile
from fastoci.cli import app
with tempfile.TemporaryDirectory() as work:
    os.mkdir(work + "/tree")
    assert app.run(["build", work + "/tree", "-o", "oci:" + work + "/out", "--chown", "0", "-q"]) == 0
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
sys.stdout.flush()
os.write(1, b"---\\n")
sys.exit(app.run(sys.argv[1:]))
"""


def run_as_nobody(*arguments, cwd):
    """Run a command as nobody, for good; what it says on stdout stands after a line of dashes."""
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *map(str, arguments)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": str(cwd), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_warns_of_one_owner_and_chown_ends_that(tree):
    out = tree.parent / "out"
    done = run_as_nobody("build", tree, "-o", f"oci:{out}:1", cwd=tree.parent)
    assert done.returncode == 0, done.stderr
    owner = f"{os.stat(tree).st_uid}:{os.stat(tree).st_gid}"
    count = len(snapshot(tree))
    assert f"warning: all {count} entries belong to {owner}; --chown 0:0 makes them root's" in done.stderr
    done = run_as_nobody("build", tree, "-o", f"oci:{out}:2", "--chown", "0:0", cwd=tree.parent)
    assert (done.returncode, "warning" in done.stderr) == (0, False), done.stderr


UNREADABLE = [
    ("d/file", stat.S_IFREG, 0o200, "cannot open {}/d/file", "d/file"),
    ("d/sub", stat.S_IFDIR, 0o300, "cannot open the directory {}/d/sub", "d/sub"),
    ("d/sub", stat.S_IFDIR, 0o400, "cannot ask for the status of {}/d/sub/in", "d/sub/in"),
    ("d/sub", stat.S_IFDIR, 0o000, "cannot open the directory {}/d/sub", "d/sub"),
]


@pytest.mark.parametrize(("name", "kind", "mode", "said", "excluded"), UNREADABLE)
def test_what_may_not_be_read_is_named(name, kind, mode, said, excluded):
    with public_directory() as top:
        root = top / "tree"
        (root / "d").mkdir(parents=True)
        path = root / name
        if kind == stat.S_IFDIR:
            path.mkdir()
            (path / "in").write_bytes(b"in")
        else:
            path.write_bytes(b"x")
        if is_root():
            for one in (top, root, *root.rglob("*")):
                os.chown(one, NOBODY, NOBODY)
        path.chmod(mode)
        try:
            done = run_as_nobody("build", root, "-o", f"oci:{top}/out", "--chown", "0:0", cwd=top)
            assert (done.returncode, done.stdout.partition("---\n")[2]) == (1, ""), done.stderr
            assert f"error: {said.format(root)}\ncause: permission denied\n" in done.stderr
            assert f"hint:  run as its owner or as root, or --exclude {excluded}\n" in done.stderr
            assert "Traceback" not in done.stderr
            assert not (top / "out/index.json").exists()
            with unprivileged():
                assert pack(root, policy=TreePolicy(patterns=(name,))).layer.entries == 1
        finally:
            path.chmod(0o700)


@pytest.mark.skipif(not is_root(), reason="root reads what nobody may")
def test_root_packs_what_nobody_may_read(tmp_path):
    """As a copy of a system is packed: directories without any bit among it."""
    root = tmp_path / "tree"
    for mode in (0, 0o100, 0o200, 0o300, 0o111):
        (root / f"{mode:o}").mkdir(parents=True)
        (root / f"{mode:o}/file").write_bytes(b"inside")
        (root / f"{mode:o}/file").chmod(mode)
        (root / f"{mode:o}").chmod(mode)
    unpackers.gnu_tar(pack(root).blob, tmp_path / "out")
    assert differences(snapshot(root), snapshot(tmp_path / "out")) == []
