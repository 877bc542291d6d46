"""The golden tree and its digests: what freezes the bytes of a format version.

`python -m oracles.golden` (in `tests/`) packs the tree and prints what golden.json beside this file would have to hold.
Its bytes go there only with a new format version (docs/layer-format.md).

The tree is the same for every user and on every file system, and reaches every rule of the format that a user without
privileges can reach. What takes root has a tree of its own: devices, owners and a capability.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastoci.layer.compression import GOLDEN_TEXT, deflate_block
from fastoci.layer.options import FORMAT_VERSION, LayerOptions
from fastoci.tree.policy import TreePolicy
from oracles.nasty import BLOCK, CAPABILITY, OWNERS, directory, is_root, write
from oracles.packing import pack

FROZEN = Path(__file__).with_name("golden.json")
LEVELS = (1, 2)
TIME = 1_700_000_000_123_456_789
POLICY = TreePolicy(uid=0, gid=0)
ROOT_POLICY = TreePolicy(mtime_limit=1_600_000_000)
DEST = "/opt/golden"


def build(root: str) -> None:
    """Make the tree that everybody can make. Nothing in it depends on who makes it, but for its owner."""
    rng = random.Random(20261123)
    words = [bytes(rng.choices(b"etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(3000)]
    with directory(root) as top:
        with directory("lib", top) as lib:
            # So many that the CRC-32 of some paths closes a block.
            for number in range(700):
                with directory(f"{number % 17}", lib) as fd:
                    write(fd, f"words-{number:03}.txt", b" ".join(rng.choices(words, k=rng.randint(0, 900))))
        with directory("bin", top) as fd:
            write(fd, "large", b"\n".join(rng.choices(words, k=300_000)), 0o4755)
            write(fd, "even", rng.randbytes(2 * BLOCK + 251_424))
            write(fd, "zeros", bytes(1_000_000))
            write(fd, "holes", b"front", 0o600)
            os.truncate(f"/proc/self/fd/{fd}/holes", BLOCK + 4096)
            for size in (0, 1, 511, 512, 513, BLOCK - 1536, BLOCK - 1024, BLOCK - 512, BLOCK - 511, BLOCK):
                write(fd, f"text {size}", b" ".join(rng.choices(words, k=size // 2))[:size].ljust(size, b"."))
            os.link("large", "../lib/large-too", src_dir_fd=fd, dst_dir_fd=fd)
            os.link("holes", "again", src_dir_fd=fd, dst_dir_fd=fd)
            os.mkfifo("fifo", dir_fd=fd)
        with directory("names", top) as fd:
            _names(fd)
        with directory("xattrs", top) as fd:
            _xattrs(fd)
        with directory("times", top) as fd:
            for number in range(6):
                write(fd, f"{number}", b"%d" % number)
    _settle(root)


def _names(fd: int) -> None:
    write(fd, b"\xff not utf-8", b"x")
    for size in (99, 100, 101, 155, 156, 157, 250):
        for head in (50, 100, 155, 156):
            # names/HEAD/NAME, where HEAD ends at byte `head` and the whole has `size` bytes.
            if 1 <= size - head - 1 <= 255:
                with directory(b"h" * (head - len("names/")), fd) as inner:
                    write(inner, b"n" * (size - head - 1), b"%d" % size)
    for name in ("a-b", "a.b", "a0", "a "):
        write(fd, name, b"beside a directory")
    for name in (b"a", b"a-", b"\xe9" * 120, b"d" * 120):
        with directory(name, fd) as inner:
            write(inner, name, b"inside")
    for size in (1, 99, 100, 101, 155, 4000):
        os.symlink(b"t" * size, f"link {size}", dir_fd=fd)
    os.symlink(b"\xfe" * 101, "link in bytes", dir_fd=fd)


def _xattrs(fd: int) -> None:
    write(fd, "many", b"x")
    for key, value in (
        ("user.text", b"text"),
        ("user.empty", b""),
        ("user.binary", bytes(range(256))),
        ("user.B", b"upper case sorts first"),
        (b"user.\xff", b"a name that is not UTF-8"),
        ("user.overlay.opaque", b"y"),
        ("user.containers.override_stat", b"0:0:0644"),
    ):
        os.setxattr(f"/proc/self/fd/{fd}/many", key, value)
    write(fd, "large", b"x")
    os.setxattr(f"/proc/self/fd/{fd}/large", "user.large", b"v" * 2000)
    with directory("directory", fd) as inner:
        os.setxattr(inner, "user.directory", b"on a directory")


def _settle(root: str) -> None:
    """Give everything the same modes and times, whoever made it, with some times that PAX must say."""
    times = [-1, -1_500_000_000, 0, (8**11 - 1) * 10**9, 8**11 * 10**9 + 1, 10**9 - 1]
    base = os.fsencode(root)
    for above, names, files in os.walk(base, topdown=False):
        for name in names + files:
            path = os.path.join(above, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                os.chmod(path, 0o4755 if b"large" in name else 0o644)
            elif not os.path.islink(path):
                os.chmod(path, 0o755 if name in names else 0o620)
            named = above.endswith(b"/times")
            os.utime(path, ns=(0, times[int(name)] if named else TIME), follow_symlinks=False)
    os.utime(base, ns=(0, TIME))
    os.chmod(base, 0o755)


def build_for_root(root: str) -> None:
    """Make the tree that takes root."""
    with directory(root) as top:
        for number in OWNERS:
            write(top, f"uid {number}", b"x")
            os.chown(f"uid {number}", number, 7, dir_fd=top)
            write(top, f"gid {number}", b"x")
            os.chown(f"gid {number}", 7, number, dir_fd=top)
        for name, kind, major, minor in (
            ("null", stat.S_IFCHR, 1, 3),
            ("largest character", stat.S_IFCHR, 4095, 2**20 - 1),
            ("largest block", stat.S_IFBLK, 4095, 2**20 - 1),
        ):
            os.mknod(name, kind | 0o640, os.makedev(major, minor), dir_fd=top)
        os.link("null", "null too", src_dir_fd=top, dst_dir_fd=top)
        write(top, "capable", b"\x7fELF")
        os.setxattr(f"/proc/self/fd/{top}/capable", "security.capability", CAPABILITY)
        os.chown(top, 5, 6)
    for name in sorted(os.listdir(root)):
        # Devices and their modes are as mknod made them; only the umask must not show.
        os.chmod(os.path.join(root, name), 0o640)
        os.utime(os.path.join(root, name), ns=(0, TIME))
    os.chmod(root, 0o2711)
    os.utime(root, ns=(0, TIME))


def frozen() -> dict[str, dict[str, str]]:
    """Return what golden.json holds of this format version.

    Raises:
        KeyError: It holds nothing of it.
    """
    versions: dict[str, dict[str, dict[str, str]]] = json.loads(FROZEN.read_text())
    return versions[f"format {FORMAT_VERSION}"]


def found(root: str) -> Iterator[tuple[str, str, str]]:
    """Pack both trees, made beneath a directory, and yield for each digest (scope, name, digest).

    The scope is `everywhere`, or the architecture that the digest is of.
    """
    machine = platform.machine()
    for level in LEVELS:
        text = deflate_block(memoryview(GOLDEN_TEXT), level)
        yield machine, f"text, level {level}", hashlib.sha256(text).hexdigest()
    trees = [("tree", build, POLICY, "/")]
    if is_root():
        trees.append(("tree of root", build_for_root, ROOT_POLICY, DEST))
    for name, make, policy, dest in trees:
        path = os.path.join(root, name)
        make(path)
        for level in LEVELS:
            layer = pack(path, dest, policy=policy, options=LayerOptions(threads=2, level=level)).layer
            yield machine, f"{name}, level {level}", layer.descriptor.digest.hex
        yield "everywhere", f"{name}, diff_id", layer.diff_id.hex


def main() -> None:
    """Print golden.json as it would be, with what this machine has to say and what was known of others.

    On stderr it says what the smallest layer is, which the page shows.
    """
    versions = json.loads(FROZEN.read_text()) if FROZEN.exists() else {}
    known = versions.setdefault(f"format {FORMAT_VERSION}", {})
    with tempfile.TemporaryDirectory(prefix="fastoci-golden-") as root:
        for scope, name, digest in found(root):
            known.setdefault(scope, {})[name] = digest
        smallest = os.path.join(root, "empty")
        os.mkdir(smallest)
        empty = pack(smallest)
    json.dump(versions, sys.stdout, indent=2)
    sys.stdout.write("\n")
    # For the page's own example; what fastoci compares isal with stands in fastoci.layer.compression.
    sys.stderr.write(f"the smallest layer, {empty.layer.descriptor.digest}:\n{empty.blob.hex(' ')}\n")


if __name__ == "__main__":
    main()
