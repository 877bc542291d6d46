"""A tree that has everything a file system can hold and a layer must say.

It is built relative to directory descriptors, so that its paths may be longer than the kernel takes in one call. What
needs root is left out without it.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BLOCK = 512 * 1024
SIZES = (0, 1, 63, 64, 65, 511, 512, 513, BLOCK - 513, BLOCK - 512, BLOCK - 511, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK)
LARGE = 3 * BLOCK + 777
TARGETS = (1, 99, 100, 101, 155, 256, 1000, 4000)
OWNERS = (0, 1, 1000, 65534, 2097151, 2097152, 2**31, 2**32 - 2)
TIMES = (
    0,
    1,
    999_999_999,
    -1,
    -1_500_000_000,
    -1_000_000_000,
    -(10**18),
    (8**11 - 1) * 10**9,
    8**11 * 10**9 + 1,
    2**31 * 10**9,
    1_700_000_000_123_456_789,
)
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service=ep as the kernel keeps it (linux/capability.h, struct vfs_cap_data, revision 2)."""


@dataclass(frozen=True, slots=True)
class Nasty:
    """A tree that was built. `sockets` are the paths in it that no layer holds.

    The paths beneath `deep` reach 4,031 bytes, which is a little less than the kernel's limit of 4,096 (PATH_MAX),
    those beneath `deepest` go beyond it.
    """

    path: str
    sockets: tuple[bytes, ...]


def is_root() -> bool:
    """Return whether devices and owners can be made: as root, and not only in a user namespace of one's own."""
    with open("/proc/self/uid_map") as file:
        return os.geteuid() == 0 and file.read().split() == ["0", "0", str(2**32 - 1)]


@contextmanager
def directory(name: str | bytes, parent: int | None = None) -> Iterator[int]:
    """Make a directory, or take the one that is there, and give its descriptor."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


def write(parent: int, name: str | bytes, data: bytes = b"", mode: int = 0o644) -> None:
    """Make a file."""
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
    with open(fd, "wb") as file:
        file.write(data)
        os.fchmod(fd, mode)


def mixed_data(size: int, seed: int) -> bytes:
    """Return text, random bytes and zeros in turn."""
    rng = random.Random(seed)
    data = bytearray()
    while len(data) < size:
        data += b"%x %d\n" % (rng.getrandbits(16), rng.randrange(50)) * rng.randrange(1, 200)
        data += rng.randbytes(rng.randrange(3000))
        data += bytes(rng.randrange(2000))
    return bytes(data[:size])


def make_tree(root: Path, count: int) -> str:
    """Make a tree of so many small files, and one of three blocks; return its path."""
    for number in range(count):
        path = root / f"{number % 5}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mixed_data(number * 900, number))
    (root / "large").write_bytes(mixed_data(3 * BLOCK, 1))
    return str(root)


def build(root: str) -> Nasty:
    """Make the tree at `root`, and beside it a directory `outside` with another name of one of its files."""
    sockets: list[bytes] = []
    with directory(root) as top, directory(root + ".outside") as outside:
        _files(top)
        _modes(top)
        _symlinks(top)
        _hardlinks(top, outside)
        _names(top)
        _lengths(top)
        _chain(top)
        _deep(top, "deep", 20)
        _deep(top, "deepest", 24)
        sockets += _special(top, root)
        _xattrs(top)
        _owners(top)
        with directory("times", top) as fd:
            for number, time in enumerate(TIMES):
                write(fd, f"{number:02}", b"time")
                os.symlink("to", f"link-{number:02}", dir_fd=fd)
                with directory(f"directory-{number:02}", fd) as inner:
                    write(inner, "x")
                for name in (f"{number:02}", f"link-{number:02}", f"directory-{number:02}"):
                    os.utime(name, ns=(0, time), dir_fd=fd, follow_symlinks=False)
            os.utime("../times", ns=(0, -1), dir_fd=fd)
    return Nasty(root, tuple(sorted(sockets)))


def _files(top: int) -> None:
    with directory("files", top) as fd:
        for size in SIZES:
            write(fd, f"{size}", mixed_data(size, size))
        write(fd, "large", mixed_data(LARGE, 1))
        write(fd, "random", random.Random(2).randbytes(LARGE))
        write(fd, "zeros", bytes(LARGE))
        write(fd, "holes")
        with open(os.open("holes", os.O_WRONLY, dir_fd=fd), "wb") as file:
            # Data at the front, a hole, data in the middle, and a hole to the end that no block bounds.
            file.write(b"front")
            file.seek(BLOCK + 4096)
            file.write(b"middle")
            file.truncate(2 * BLOCK + 12345)
        write(fd, "hole only")
        os.truncate(f"/proc/self/fd/{fd}/hole only", 100_001)


def _modes(top: int) -> None:
    with directory("modes", top) as fd:
        for mode in (0, 0o1, 0o400, 0o644, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777):
            if is_root() or mode & 0o400:
                write(fd, f"file {mode:o}", b"mode", mode)
        for mode in (0, 0o111, 0o300, 0o500, 0o700, 0o755, 0o1777, 0o2775, 0o4700, 0o7777):
            if not is_root() and mode & 0o500 != 0o500:
                continue
            name = f"directory {mode:o}"
            with directory(name, fd) as inner:
                write(inner, "inside")
                os.fchmod(inner, mode)


def _symlinks(top: int) -> None:
    with directory("symlinks", top) as fd:
        for size in TARGETS:
            os.symlink(("t" * 50 + "/" * (size > 50) + "x" * size)[:size], f"{size}", dir_fd=fd)
        os.symlink("100", "to a link", dir_fd=fd)
        os.symlink("/absolute/nowhere", "dangling", dir_fd=fd)
        os.symlink("../files", "to a directory", dir_fd=fd)
        os.symlink("../..", "outwards", dir_fd=fd)
        os.symlink("loop", "loop", dir_fd=fd)
        os.symlink(b"not utf-8 \xff", "short bytes", dir_fd=fd)
        os.symlink(b"not utf-8 \xff" * 20, "long bytes", dir_fd=fd)
        os.symlink("ünï" * 50, "long utf-8", dir_fd=fd)


def _hardlinks(top: int, outside: int) -> None:
    with directory("hardlinks", top) as fd, directory("elsewhere", fd) as other:
        write(fd, "m-file", b"linked" * 300)
        os.link("m-file", "z-file", src_dir_fd=fd, dst_dir_fd=other)
        os.link("m-file", "a-file", src_dir_fd=fd, dst_dir_fd=fd)
        write(fd, "empty")
        os.link("empty", "empty too", src_dir_fd=fd, dst_dir_fd=fd)
        write(fd, "one name here", b"the others are outside")
        os.link("one name here", "first", src_dir_fd=fd, dst_dir_fd=outside)
        os.link("one name here", "second", src_dir_fd=fd, dst_dir_fd=outside)
        write(fd, "two names here", b"and one outside")
        os.link("two names here", "third", src_dir_fd=fd, dst_dir_fd=outside)
        os.link("two names here", "two names there", src_dir_fd=fd, dst_dir_fd=other)
        os.symlink("nowhere", "symlink", dir_fd=fd)
        os.link("symlink", "symlink too", src_dir_fd=fd, dst_dir_fd=other, follow_symlinks=False)
        os.mkfifo("fifo", dir_fd=fd)
        os.link("fifo", "fifo too", src_dir_fd=fd, dst_dir_fd=other)
        # The target of a link does not split as a path does: from 101 bytes on it needs a record of its own.
        with directory("l" * 90, fd) as long:
            for size in (99, 100, 101, 200):
                name = "f" * (size - len("hardlinks/" + "l" * 90 + "/")) or "f"
                if len(name) > 1 or size == 101:
                    write(long, name.ljust(1, "f"), b"%d" % size)
                    os.link(name, f"zz {size}", src_dir_fd=long, dst_dir_fd=fd)
            write(long, b"\xff" * 30, b"bytes")
            os.link(b"\xff" * 30, "zz bytes", src_dir_fd=long, dst_dir_fd=fd)
        if is_root():
            os.mknod("device", stat.S_IFCHR | 0o600, os.makedev(1, 7), dir_fd=fd)
            os.link("device", "device too", src_dir_fd=fd, dst_dir_fd=other)
            write(fd, "capable", b"linked and capable")
            os.link("capable", "capable too", src_dir_fd=fd, dst_dir_fd=fd)
            os.setxattr(f"/proc/self/fd/{fd}/capable", "security.capability", CAPABILITY)


def _names(top: int) -> None:
    with directory("names", top) as fd:
        plain = (
            "-rf",
            "--help",
            " leading",
            "trailing ",
            "new\nline",
            "back\\slash",
            "tab\t",
            "*",
            "?",
            "[a]",
            "'",
            '"',
        )
        others = (
            "$HOME",
            "\x01\x7f",
            "...",
            "..a",
            ".hidden",
            "é",
            "e\u0301",
            "☺" * 85,
            "=",
            "a=b",
            "%s",
            "#",
            "~",
            "C:",
            # Alike to people, to file systems that fold letters, or to programs that take names for paths.
            "Case",
            "case",
            "CASE",
            "İ",
            "i\u0307",
            "ends like a directory\\",
            "ends like a directory\uff0f",
            "ends like a directory\u2215",
            "--",
            "-C",
            "a.",
            ". ",
            ".\u2044",
            "@",
            "\ufeff",
            "line\r",
        )
        for name in plain + others:
            write(fd, name, name.encode())
        for raw in (b"\xff", b"\xc3", b"latin\xe9", b"\xed\xa0\x80", b"\x80" * 255):
            write(fd, raw, raw)
        write(fd, "n" * 255, b"255")
        # A directory's slash counts in the order of paths: `a-b`, `a.b` and `a/…` and `a0`.
        for name in ("a-b", "a.b", "a0", "b-", "b!"):
            write(fd, name, b"beside")
        for name in ("a", "b", "a-", "-"):
            with directory(name, fd) as inner:
                write(inner, "x", b"inside")
                with directory("-", inner) as innermost:
                    write(innermost, "-", b"innermost")


def _lengths(top: int) -> None:
    """Make paths of exactly so many bytes, that split at a slash and that do not."""
    with directory("lengths", top) as fd:
        for size in (99, 100, 101, 102, 155, 156, 157, 200, 255, 256, 257, 258, 300):
            for head in (40, 98, 99, 100, 154, 155, 156, 200):
                # lengths/HEAD/NAME, where HEAD ends at byte `head` and the whole has `size` bytes.
                middle = head - len("lengths/")
                rest = size - head - 1
                if 1 <= rest <= 255:
                    with directory(b"h" * middle, fd) as inner:
                        write(inner, b"n" * rest, b"%d" % size)
                        # The same for a directory, whose slash is one of the bytes.
                        if rest > 1:
                            with directory(b"d" * (rest - 1), inner):
                                pass
        with directory(b"\xff" * 150, fd) as inner:
            write(inner, b"\xfe" * 150, b"a long path that is not UTF-8")
        with directory("ü" * 60, fd) as inner:
            write(inner, "ï" * 60, b"a long path that is UTF-8")


def _chain(top: int) -> None:
    """Make directories in directories, more than the engine keeps descriptors of."""
    with directory("chain", top) as first:
        fd = os.dup(first)
        for depth in range(70):
            write(fd, "at", b"%d" % depth)
            with directory("d", fd) as inner:
                os.close(fd)
                fd = os.dup(inner)
        os.close(fd)


def _deep(top: int, name: str, levels: int) -> None:
    with directory(name, top) as first:
        fd = os.dup(first)
        for depth in range(levels):
            write(fd, "at", b"%d" % depth)
            with directory(bytes([ord("a") + depth]) * 200, fd) as inner:
                os.close(fd)
                fd = os.dup(inner)
        write(fd, "bottom", b"thousands of bytes down")
        os.symlink("bottom", "link", dir_fd=fd)
        os.close(fd)


def _special(top: int, root: str) -> list[bytes]:
    sockets = []
    with directory("special", top) as fd:
        os.mkfifo("fifo", 0o620, dir_fd=fd)
        for name in ("socket", "another socket"):
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(f"/proc/self/fd/{fd}/{name}")
            sockets.append(f"special/{name}".encode())
        if is_root():
            for name, kind, major, minor in (
                ("null", stat.S_IFCHR, 1, 3),
                ("zero", stat.S_IFCHR, 0, 0),
                ("largest character", stat.S_IFCHR, 4095, 2**20 - 1),
                ("loop", stat.S_IFBLK, 7, 0),
                ("largest block", stat.S_IFBLK, 4095, 2**20 - 1),
            ):
                os.mknod(name, kind | 0o640, os.makedev(major, minor), dir_fd=fd)
    return sockets


def _xattrs(top: int) -> None:
    with directory("xattrs", top) as fd:
        at = f"/proc/self/fd/{fd}"
        values = {
            "user.text": "tëxt".encode(),
            "user.empty": b"",
            "user.binary": bytes(range(256)),
            "user.newline": b"\n=\n\x00",
            "user.B": b"upper case sorts first",
            "user.overlayed": b"kept: it only begins like one that is not",
        }
        write(fd, "many")
        for key, value in values.items():
            os.setxattr(f"{at}/many", key, value)
        write(fd, "large")
        os.setxattr(f"{at}/large", "user.large", b"v" * 3000)
        write(fd, "bytes")
        os.setxattr(f"{at}/bytes", b"user.\xff", b"a name that is not UTF-8")
        with directory("directory", fd) as inner:
            os.setxattr(inner, "user.directory", b"on a directory")
        write(fd, "of the host")
        host = ["user.overlay.opaque", "user.overlay.metacopy", "user.containers.override_stat"]
        for key in host + ["trusted.overlay.opaque", "trusted.mine"] * is_root():
            # An overlay keeps its own to itself, and a container's root may lack what `trusted` takes (CAP_SYS_ADMIN).
            with suppress(PermissionError):
                os.setxattr(f"{at}/of the host", key, b"y")
        if shutil.which("setfacl"):
            write(fd, "acl")
            with directory("default acl", fd):
                pass
            # No -d on a directory that anything is unpacked into: what is made there would inherit it.
            subprocess.run(["setfacl", "-m", "u:1234:r,g:5678:rw", "acl"], cwd=at, pass_fds=[fd], check=True)
            subprocess.run(["setfacl", "-m", "u:1:rwx,d:u:1234:rwx", "default acl"], cwd=at, pass_fds=[fd], check=True)
        if is_root():
            write(fd, "capable", b"\x7fELF", 0o755)
            setcap = shutil.which("setcap", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
            if setcap:
                subprocess.run([setcap, "cap_net_raw,cap_sys_admin=ep", "capable"], cwd=at, pass_fds=[fd], check=True)
            write(fd, "setuid and capable", b"\x7fELF", 0o4755)
            os.setxattr(f"{at}/setuid and capable", "security.capability", CAPABILITY)


def _owners(top: int) -> None:
    if not is_root():
        return
    with directory("owners", top) as fd:
        for number in OWNERS:
            write(fd, f"uid {number}")
            os.chown(f"uid {number}", number, 0, dir_fd=fd)
            write(fd, f"gid {number}")
            os.chown(f"gid {number}", 0, number, dir_fd=fd)
            os.symlink("x", f"link {number}", dir_fd=fd)
            os.chown(f"link {number}", number, number, dir_fd=fd, follow_symlinks=False)
        write(fd, "setuid", mode=0o755)
        os.chown("setuid", 1000, 1000, dir_fd=fd)
        os.chmod("setuid", 0o6755, dir_fd=fd)
