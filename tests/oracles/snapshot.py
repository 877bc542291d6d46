"""What is in a directory tree, said without fastoci: the truth that a layer is compared with."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree. `content` is a file's data or a symbolic link's target, `device` (major, minor)."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)
    inode: tuple[int, int] = (0, 0)
    links: int = 1
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def mtime(self) -> int:
        """Whole seconds, floored."""
        return self.mtime_ns // 10**9


Tree = dict[bytes, Entry]


def snapshot(root: str | os.PathLike[str]) -> Tree:
    """Return every name beneath a directory, by its path relative to it, however deep."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return dict(_walk(fd, b""))
    finally:
        os.close(fd)


def _walk(directory: int, prefix: bytes) -> Iterator[tuple[bytes, Entry]]:
    for text in sorted(os.listdir(directory)):
        name = os.fsencode(text)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        content = b""
        if kind == "file":
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
            with open(fd, "rb") as file:
                content = file.read()
        elif kind == "symlink":
            content = os.readlink(name, dir_fd=directory)
        yield (
            prefix + name,
            Entry(
                kind,
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                content,
                (os.major(status.st_rdev), os.minor(status.st_rdev)),
                (status.st_dev, status.st_ino),
                status.st_nlink,
                _xattrs(directory, name),
            ),
        )
        if kind == "directory":
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            try:
                yield from _walk(fd, prefix + name + b"/")
            finally:
                os.close(fd)


def _xattrs(directory: int, name: bytes) -> dict[bytes, bytes]:
    path = b"/proc/self/fd/%d/%s" % (directory, name)
    return {
        os.fsencode(key): os.getxattr(path, key, follow_symlinks=False)
        for key in os.listxattr(path, follow_symlinks=False)
    }


def kept_xattrs(entry: Entry) -> dict[bytes, bytes]:
    """Return the extended attributes that a layer keeps: the file's own, not the host's (docs/architecture.md)."""
    return {
        key: value
        for key, value in entry.xattrs.items()
        if key in (b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default")
        or (key.startswith(b"user.") and not key.startswith((b"user.overlay.", b"user.containers.")))
    }


def packable(tree: Tree) -> Tree:
    """Return a tree without its sockets, which no layer holds."""
    return {path: entry for path, entry in tree.items() if entry.kind != "socket"}


def inode_groups(tree: Tree) -> dict[bytes, frozenset[bytes]]:
    """Return for each path that shares its inode all the paths that do."""
    groups: dict[tuple[int, int], set[bytes]] = {}
    for path, entry in tree.items():
        if entry.kind != "directory":
            groups.setdefault(entry.inode, set()).add(path)
    return {path: frozenset(paths) for paths in groups.values() if len(paths) > 1 for path in paths}


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact of one entry that is not what it should be."""

    path: bytes
    fact: str
    expected: object
    found: object


def differences(expected: Tree, found: Tree) -> list[Difference]:
    """Return where an unpacked tree differs from the source, entry by entry and fact by fact."""
    result = [Difference(path, "entry", expected[path].kind, None) for path in expected.keys() - found.keys()]
    result += [Difference(path, "entry", None, found[path].kind) for path in found.keys() - expected.keys()]
    groups, found_groups = inode_groups(expected), inode_groups(found)
    for path in sorted(expected.keys() & found.keys()):
        wanted, got = _facts(expected[path]), _facts(found[path])
        wanted["names"] = groups.get(path, frozenset((path,)))
        got["names"] = found_groups.get(path, frozenset((path,)))
        keys = kept_xattrs(expected[path]).keys() | kept_xattrs(found[path]).keys()
        for key in keys:
            wanted[f"xattr {os.fsdecode(key)}"] = kept_xattrs(expected[path]).get(key)
            got[f"xattr {os.fsdecode(key)}"] = kept_xattrs(found[path]).get(key)
        result += [
            Difference(path, fact, _short(wanted[fact]), _short(got[fact]))
            for fact in wanted
            if wanted[fact] != got[fact]
        ]
    return result


def _facts(entry: Entry) -> dict[str, object]:
    facts: dict[str, object] = {
        "kind": entry.kind,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": entry.mtime,
        "content": entry.content,
    }
    if entry.kind in ("character", "block"):
        facts["device"] = entry.device
    return facts


def _short(value: object) -> object:
    if isinstance(value, bytes) and len(value) > 100:
        return f"{len(value)} bytes, {hashlib.sha256(value).hexdigest()[:12]}"
    return value
