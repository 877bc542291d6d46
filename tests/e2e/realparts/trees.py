"""Trees to make images of, and a way to say what is in a tree that owes nothing to fastoci."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import tarfile
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from realparts.processes import capture, require

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HELLO_C = r"""
#include <stdio.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s WHOM\n", argv[0]);
        return 2;
    }
    printf("Hello, %s!\n", argv[1]);
    return 0;
}
"""


@pytest.fixture(scope="session")
def hello_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of one static program, `bin/hello-cloud`, and an empty `tmp` for everybody beside it."""
    gcc = require("gcc", "gcc libc6-dev")
    work = tmp_path_factory.mktemp("hello")
    source = work / "hello.c"
    source.write_text(HELLO_C)
    tree = work / "rootfs"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin").chmod(0o755)
    capture([gcc, "-static", "-O2", "-s", "-o", str(tree / "bin/hello-cloud"), str(source)])
    (tree / "bin/hello-cloud").chmod(0o755)
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)
    return tree


CAPABILITY = "security.capability"

# What an engine puts into a container's root by itself.
MADE_BY_ENGINES = ("dev", "etc", "proc", "sys", "run", ".dockerenv")


@dataclass(frozen=True)
class Entry:
    """One entry of a tree: what a layer says of it, except for its extended attributes."""

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    content: str  # a digest, a link's target, a device's numbers
    links: tuple[str, ...] = ()  # the other names of the same file
    capability: bytes = b""  # the value of security.capability

    def without_links(self) -> Entry:
        """Return it as a tar says it, where a hardlink is a member like another."""
        return replace(self, links=())


def _kind(mode: int) -> str:
    return {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "symlink",
        stat.S_IFIFO: "fifo",
        stat.S_IFCHR: "char",
        stat.S_IFBLK: "block",
        stat.S_IFSOCK: "socket",
    }[stat.S_IFMT(mode)]


def _file_digest(path: str) -> str:
    with open(path, "rb") as file:  # the path may hold bytes that are not UTF-8; it stays as os.walk gave it
        return hashlib.file_digest(file, "sha256").hexdigest()


def _capability(path: str) -> bytes:
    try:
        return os.getxattr(path, CAPABILITY, follow_symlinks=False)
    except OSError:
        return b""


def describe(tree: Path) -> dict[str, Entry]:
    """Return what is in a directory tree, by path relative to it; the top directory itself is left out."""
    found: dict[str, Entry] = {}
    names: dict[tuple[int, int], list[str]] = {}
    for directory, subdirectories, files in os.walk(tree):
        for name in subdirectories + files:
            full = os.path.join(directory, name)  # as above
            path = os.path.relpath(full, tree)
            status = os.lstat(full)
            kind = _kind(status.st_mode)
            content = ""
            if kind == "file":
                content = _file_digest(full)
            elif kind == "symlink":
                content = os.readlink(full)  # as above
            elif kind in ("char", "block"):
                content = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
            if kind == "file" and status.st_nlink > 1:
                names.setdefault((status.st_dev, status.st_ino), []).append(path)
            found[path] = Entry(
                kind,
                stat.S_IMODE(status.st_mode),
                (status.st_uid, status.st_gid),
                status.st_mtime_ns // 10**9,
                content,
                capability=_capability(full),
            )
    for paths in names.values():
        for path in paths:
            found[path] = replace(found[path], links=tuple(sorted(set(paths) - {path})))
    return found


def describe_tar(data: bytes, *, without: Iterable[str] = ()) -> dict[str, Entry]:
    """Return what a tar archive would unpack to, in the words of `describe`, but for paths beneath `without`.

    Hardlinks are not compared by name: an engine may choose another first name.
    """
    skipped = tuple(without)
    found: dict[str, Entry] = {}
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        for member in archive:
            path = os.path.normpath(member.name)
            if path == "." or any(path == skip or path.startswith(f"{skip}/") for skip in skipped):
                continue
            target = archive.getmember(member.linkname) if member.islnk() else member
            kind, content = "file", ""
            if target.isreg():
                content = hashlib.sha256((archive.extractfile(target) or BytesIO()).read()).hexdigest()
            elif target.isdir():
                kind = "directory"
            elif target.issym():
                kind, content = "symlink", target.linkname
            elif target.isfifo():
                kind = "fifo"
            else:
                kind, content = ("char" if target.ischr() else "block"), f"{target.devmajor}:{target.devminor}"
            capability = target.pax_headers.get(f"SCHILY.xattr.{CAPABILITY}", "").encode(errors="surrogateescape")
            owner = (member.uid, member.gid)
            found[path] = Entry(kind, member.mode & 0o7777, owner, int(member.mtime), content, capability=capability)
    return found


def without_times(tree: dict[str, Entry]) -> dict[str, Entry]:
    """Return a tree without its directories' times: docker lets them be when something in them is removed."""
    return {path: replace(entry, mtime=0) if entry.kind == "directory" else entry for path, entry in tree.items()}


@pytest.fixture
def odd_tree(tmp_path: Path) -> Path:
    """A small tree with one of everything that engines and unpackers must agree on."""
    tree = tmp_path / "odd"
    (tree / "sub/deeper").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "empty").chmod(0o700)
    (tree / "sticky").mkdir()
    (tree / "sticky").chmod(0o1777)
    (tree / "plain").write_bytes(b"plain\n")
    (tree / "nothing").write_bytes(b"")
    (tree / "block").write_bytes(bytes(range(256)) * 2)  # exactly one tar record
    (tree / "large").write_bytes(os.urandom(3_000_000) + bytes(2_000_000))
    (tree / "setuid").write_bytes(b"#!/bin/sh\n")
    (tree / "setuid").chmod(0o4755)
    (tree / "setgid").write_bytes(b"#!/bin/sh\n")
    (tree / "setgid").chmod(0o2755)
    (tree / "capable").write_bytes(b"#!/bin/sh\n")
    (tree / os.fsdecode(b"not utf-8: caf\xe9")).write_bytes(b"latin")
    (tree / "unreadable").write_bytes(b"secret")
    (tree / "unreadable").chmod(0)
    os.link(tree / "plain", tree / "sub/linked")
    os.link(tree / "plain", tree / "also-linked")
    (tree / "relative").symlink_to("sub/linked")
    (tree / "absolute").symlink_to("/plain")
    (tree / "dangling").symlink_to("no/where")
    os.mkfifo(tree / "fifo", 0o620)
    (tree / "a name with spaces, ünïcode and a\nnewline").write_bytes(b"x")
    (tree / "sub/deeper" / ("n" * 255)).write_bytes(b"long name")
    long = tree / "sub"
    for _ in range(8):
        long = long / ("d" * 60)
        long.mkdir()
    (long / ("f" * 200)).write_bytes(b"long path")
    if os.geteuid() == 0:
        os.chown(tree / "plain", 1000, 1001)
        os.chown(tree / "sub", 70_000, 70_001)
        # cap_net_bind_service=ep, in the kernel's struct vfs_cap_data (linux/capability.h), revision 2
        os.setxattr(tree / "capable", CAPABILITY, struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
        os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(tree / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    # Modification times last, children before parents; one before 1970 and one past 2038.
    for number, path in enumerate(sorted(tree.rglob("*"), reverse=True)):
        os.utime(path, (0, 1_700_000_000 + number), follow_symlinks=False)
    os.utime(tree / "nothing", (0, 5_000_000_000))
    os.utime(tree, (0, 1_600_000_000))
    return tree
