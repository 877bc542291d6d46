"""One tree, one digest: however it was copied, wherever it lies, whoever packs it, in whatever surroundings."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oracles import golden
from oracles.nasty import is_root
from oracles.packing import pack
from oracles.privileges import NOBODY, unprivileged
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


def made_of(path: str | os.PathLike[str]) -> str:
    return str(pack(os.path.realpath(path), policy=golden.POLICY).layer.descriptor.digest)


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A directory that everybody is let into."""
    # Not below TMPDIR, which may be somebody's own.
    path = tempfile.mkdtemp(prefix="fastoci-same-", dir="/var/tmp")
    os.chmod(path, 0o755)
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def tree(public: Path) -> str:
    golden.build(str(public / "tree"))
    return str(public / "tree")


@pytest.fixture(scope="module")
def digest(tree: str) -> str:
    return made_of(tree)


def cp(tree: str, target: str) -> None:
    subprocess.run([program("cp", "coreutils"), "-a", f"{tree}/.", target], check=True)


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


@pytest.mark.parametrize("how", ["cp", "tar", "reversed", "shuffled"])
def test_however_it_was_copied(how: str, tree: str, digest: str, tmp_path: Path) -> None:
    target = str(tmp_path)
    {"cp": cp, "tar": tar}.get(how, lambda one, other: in_order(one, other, how))(tree, target)
    assert made_of(target) == digest


def test_it_is_the_golden_digest(tree: str, digest: str) -> None:
    frozen = golden.frozen().get(os.uname().machine)
    if frozen is None:
        pytest.skip("left out: there are no golden digests of this architecture")
    assert digest == f"sha256:{frozen['tree, level 1']}"


def kind_of(path: Path) -> str:
    return subprocess.run(["stat", "-f", "-c", "%T", path], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(not is_root(), reason="only root may mount")
@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "overlay"])
def test_wherever_it_lies(kind: str, tree: str, digest: str, public: Path) -> None:
    """Overlayfs with some of the files copied up from the layer below."""
    place = Path(tempfile.mkdtemp(dir=public))
    mounted = place / "mounted"
    mounted.mkdir()
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "none", mounted]
    elif kind == "ext4":
        with open(place / "disk", "wb") as disk:
            disk.truncate(64 << 20)
        make = [program("mkfs.ext4", "e2fsprogs"), "-q", "-b", "4096", "-I", "512", place / "disk"]
        subprocess.run(make, check=True, capture_output=True)
        command = ["mount", "-o", "loop", place / "disk", mounted]
    else:
        # Overlayfs does not stand on itself, as it would have to in a container.
        subprocess.run(["mount", "-t", "tmpfs", "none", place / "mounted"], check=True)
        for name in ("lower", "upper", "work", "merged"):
            (mounted / name).mkdir()
        cp(tree, str(mounted / "lower"))
        options = f"lowerdir={mounted}/lower,upperdir={mounted}/upper,workdir={mounted}/work"
        command = ["mount", "-t", "overlay", "-o", options, "none", mounted / "merged"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        if done.returncode:
            pytest.skip(f"left out: this machine mounts no {kind}: {done.stderr.strip()}")
        if kind == "overlay":
            merged = mounted / "merged"
            for path in sorted((merged / "lib").rglob("*.txt"))[::3]:
                os.utime(path, ns=(1, path.stat().st_mtime_ns))
                os.chmod(path, stat.S_IMODE(path.stat().st_mode))
            assert any((mounted / "upper").rglob("*.txt"))
            assert made_of(merged) == digest
        else:
            cp(tree, str(mounted))
            shutil.rmtree(mounted / "lost+found", ignore_errors=True)
            os.utime(mounted, ns=(0, golden.TIME))
            assert made_of(mounted) == digest
    finally:
        for path in (mounted / "merged", mounted):
            subprocess.run(["umount", path], check=False, capture_output=True)


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
