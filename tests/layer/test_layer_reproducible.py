"""One tree, one digest: however it was copied, wherever it lies, whoever packs it, in whatever surroundings."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fastoci.tree.policy import TreePolicy
from oracles import golden
from oracles.mounts import ext4, mounted, tmpfs
from oracles.nasty import is_root
from oracles.packing import pack
from oracles.privileges import NOBODY, public_directory, unprivileged
from oracles.unpackers import program

PACK = """
import os, sys
os.umask(int(sys.argv[3], 8))
from fastoci.build import build
from fastoci.layer.options import LayerOptions
from fastoci.tree.policy import TreePolicy
done = build([sys.argv[1]], outputs=[sys.argv[2]], policy=TreePolicy(uid=0, gid=0),
             layer=LayerOptions(threads=int(sys.argv[4])))
print(done.digest, done.layers[0].descriptor.digest)
"""


def made_of(path: str | os.PathLike[str], policy: TreePolicy = golden.POLICY) -> str:
    return str(pack(os.path.realpath(path), policy=policy).layer.descriptor.digest)


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A directory that everybody is let into."""
    with public_directory() as path:
        yield path


@pytest.fixture(scope="module")
def tree(public: Path) -> str:
    golden.build(str(public / "tree"))
    return str(public / "tree")


@pytest.fixture(scope="module")
def digest(tree: str) -> str:
    return made_of(tree)


def cp(tree: str, target: str, tops: Sequence[str] = (".",)) -> None:
    # One command for all of them, or hard links from one to another would be lost.
    subprocess.run([program("cp", "coreutils"), "-a", *(f"{tree}/{top}" for top in tops), target], check=True)


def tar(tree: str, target: str) -> None:
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner"]
    written = subprocess.run(
        [program("tar", "tar"), "-C", tree, *options, "--format=pax", "-cf", "-", "."], check=True, capture_output=True
    ).stdout
    subprocess.run(
        [program("tar", "tar"), "-C", target, *options, "-p", "--warning=no-timestamp", "-xf", "-"],
        input=written,
        check=True,
        capture_output=True,
    )


def rsync(tree: str, target: str) -> None:
    # It makes temporary names and renames them, and writes links last.
    subprocess.run([program("rsync", "rsync"), "-aHX", f"{tree}/", target], check=True)
    os.utime(os.path.join(target, "bin/large"), ns=(5, golden.TIME))  # another time of access


def in_order(tree: str, target: str, arrange: str) -> None:
    """Copy name by name, in an order of its own: rsync's sorts, git's checks files out before links, others do not."""
    source, made = os.fsencode(tree), {}
    paths = [
        os.path.relpath(os.path.join(above, name), source)
        for above, names, files in os.walk(source)
        for name in names + files
    ]
    rng = random.Random(arrange)
    paths = {"reversed": sorted(paths, reverse=True), "shuffled": rng.sample(sorted(paths), len(paths))}[arrange]
    base = os.fsencode(target)
    for path in paths:
        there, status = os.path.join(source, path), os.lstat(os.path.join(source, path))
        here = os.path.join(base, path)
        os.makedirs(os.path.dirname(here), exist_ok=True)
        if stat.S_ISDIR(status.st_mode):
            os.makedirs(here, exist_ok=True)
        elif status.st_nlink > 1 and status.st_ino in made:
            os.link(made[status.st_ino], here, follow_symlinks=False)
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(here)
        else:
            shutil.copyfile(there, here, follow_symlinks=False)
        made[status.st_ino] = here
    for path in sorted(paths, reverse=True):
        there, here = os.path.join(source, path), os.path.join(base, path)
        status = os.lstat(there)
        if not stat.S_ISLNK(status.st_mode):
            for key in os.listxattr(there):
                os.setxattr(here, key, os.getxattr(there, key))
            os.chmod(here, stat.S_IMODE(status.st_mode))
        os.utime(here, ns=(7, status.st_mtime_ns), follow_symlinks=False)


@pytest.mark.parametrize("how", ["cp", "tar", "rsync", "reversed", "shuffled"])
def test_however_it_was_copied(how: str, tree: str, digest: str, tmp_path: Path) -> None:
    target = str(tmp_path)
    {"cp": cp, "tar": tar, "rsync": rsync}.get(how, lambda one, other: in_order(one, other, how))(tree, target)
    assert made_of(target) == digest


def test_it_is_the_golden_digest(tree: str, digest: str) -> None:
    frozen = golden.frozen().get(os.uname().machine)
    if frozen is None:
        pytest.skip("left out: there are no golden digests of this architecture")
    assert digest == f"sha256:{frozen['tree, level 1']}"


@pytest.mark.skipif(not is_root(), reason="only root may mount")
@pytest.mark.parametrize("kind", ["tmpfs", "ext4, 1024", "ext4, 4096", "overlay"])
def test_wherever_it_lies(kind: str, tree: str, digest: str, public: Path) -> None:
    """Block sizes, orders of names, inode numbers and sizes of directories are all others there."""
    if kind == "ext4, 1024":
        # The target of a link has to fit into one of its blocks.
        policy, tops = replace(golden.POLICY, patterns=("names",)), ["bin", "lib", "times", "xattrs"]
        digest = made_of(tree, policy)
    else:
        policy, tops = golden.POLICY, ["."]
    place = Path(tempfile.mkdtemp(dir=public))
    there = place / "mounted"
    there.mkdir()
    with ExitStack() as mounts:
        if kind.startswith("ext4"):
            mounts.enter_context(ext4(there, place / "disk", int(kind.split()[-1])))
        else:
            mounts.enter_context(tmpfs(there))
        if kind == "overlay":
            there = mounts.enter_context(overlay(there, tree))
        else:
            cp(tree, str(there), tops)
        os.utime(there, ns=(0, golden.TIME))
        assert made_of(there, policy) == digest


@contextmanager
def overlay(place: Path, tree: str) -> Iterator[Path]:
    """Mount an overlay of a copy of a tree, some of whose files are copied up from the layer below.

    Args:
        place: On a file system of its own: overlayfs does not stand on itself, as it would have to in a container.
        tree: The tree.
    """
    for name in ("lower", "upper", "work", "merged"):
        (place / name).mkdir()
    cp(tree, str(place / "lower"))
    merged = place / "merged"
    options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    with mounted(merged, "-t", "overlay", "-o", options, "none"):
        for path in sorted((merged / "lib").rglob("*.txt"))[::3]:
            os.utime(path, ns=(1, path.stat().st_mtime_ns))
            os.chmod(path, stat.S_IMODE(path.stat().st_mode))
        assert any((place / "upper").rglob("*.txt"))
        yield merged


def test_two_checkouts_of_one_repository(tree: str, tmp_path: Path) -> None:
    """Git keeps neither times nor owners nor all of a mode; the options that make up for it are one line."""
    git = [program("git", "git"), "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    quiet = {"env": {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}, "check": True}
    work = tmp_path / "work"
    shutil.copytree(f"{tree}/lib", work, symlinks=True)
    (work / "run").write_text("#!/bin/sh\n")
    (work / "run").chmod(0o755)
    (work / "link").symlink_to("run")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, "-C", work, *arguments], **quiet)
    found = set()
    for number, umask in enumerate((0o022, 0o077, 0o002)):
        checkout = tmp_path / f"checkout {number}"
        subprocess.run([*git, "clone", "-q", work, checkout], umask=umask, **quiet)
        assert stat.S_IMODE(os.stat(checkout / "run").st_mode) == 0o777 & ~umask
        policy = TreePolicy(uid=0, gid=0, mtime=0, chmod="u=rwX,go=rX", patterns=(".git",))
        found.add(pack(checkout, policy=policy).layer.descriptor.digest)
    assert len(found) == 1


@pytest.mark.skipif(not is_root(), reason="root becomes somebody else here, and comes back")
def test_whoever_packs_it(tree: str, digest: str, public: Path) -> None:
    copy = public / "nobodys"
    cp(tree, str(copy))
    subprocess.run(["chown", "-hR", f"{NOBODY}:{NOBODY}", copy], check=True)
    for path in copy.rglob("*"):
        # Giving a file away took its bits.
        if not path.is_symlink():
            os.chmod(path, stat.S_IMODE(os.lstat(tree + str(path).removeprefix(str(copy))).st_mode))
    with unprivileged():
        found = pack(str(copy), policy=golden.POLICY).layer.descriptor.digest
    assert str(found) == digest


SURROUNDINGS = [
    {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "0"},
    {"LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "1"},
    {"LANG": "tr_TR.UTF-8", "TZ": "America/St_Johns", "PYTHONHASHSEED": "77", "HOME": "/nonexistent", "USER": "me"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "TZ": "right/UTC"},
]


def test_in_whatever_surroundings(tree: str, digest: str, tmp_path: Path) -> None:
    """The image's digest too: neither config nor manifest says when or by whom it was made."""
    said = set()
    for number, (surroundings, umask) in enumerate(zip(SURROUNDINGS, ("000", "022", "077", "027"), strict=True)):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                PACK,
                tree,
                f"oci:{number}",
                umask,
                str(number * 3 + 1),
            ],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **surroundings},
            check=True,
            capture_output=True,
            text=True,
        )
        said.add(done.stdout)
    assert len(said) == 1
    assert said.pop().split()[1] == digest
