"""A real root file system of over a gigabyte: this machine's own /usr, packed, pushed, pulled and started by Docker."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realparts.engines import Engine
    from realparts.program import Fastoci
    from realparts.registries import Registry

USR = Path("/usr")
LEAST = 1_100_000_000
# More than this takes minutes in the engine, and would say nothing that less does not.
MOST = 2_000_000_000

# What a shell, its tools and their libraries are in; left in whatever its size.
NEEDED = ("bin", "sbin", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64")


@dataclass(frozen=True)
class Root:
    """What goes into the image.

    Attributes:
        sources: SRC arguments, in order.
        excludes: Patterns for `--exclude`.
        kept: Every path beneath /usr that is packed, with its status, as bytes relative to it.
    """

    sources: list[str]
    excludes: list[str]
    kept: dict[bytes, os.stat_result]


def walk(top: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield every entry beneath a directory, with its path relative to it."""
    waiting = [b""]
    while waiting:
        directory = waiting.pop()
        with os.scandir(os.path.join(top, directory)) as entries:  # names are bytes, as the kernel has them
            for entry in entries:
                path = os.path.join(directory, entry.name)  # as above
                yield path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)


def weight(entries: dict[bytes, os.stat_result]) -> int:
    """Return the bytes of the regular files, each hardlinked one counted once."""
    files = {(s.st_dev, s.st_ino): s.st_size for s in entries.values() if stat.S_ISREG(s.st_mode)}
    return sum(files.values())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A skeleton with what Debian has beside /usr since it is merged, and /usr itself, trimmed to a bearable size."""
    skeleton = tmp_path_factory.mktemp("root") / "skeleton"
    for name, mode in (
        ("etc", 0o755),
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o755),
        ("root", 0o700),
        ("tmp", 0o1777),
    ):
        (skeleton / name).mkdir(parents=True)
        (skeleton / name).chmod(mode)
    for name in ("bin", "sbin", "lib", "lib64"):
        if (USR / name).is_dir():
            (skeleton / name).symlink_to(f"usr/{name}")
    (skeleton / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")

    kept = dict(walk(b"/usr"))
    excludes: list[str] = []
    groups: dict[bytes, dict[bytes, os.stat_result]] = {}
    for path, status in kept.items():
        groups.setdefault(b"/".join(path.split(b"/")[:2]), {})[path] = status
    # The largest first, as long as enough remains.
    weights = {group: weight(members) for group, members in groups.items()}
    total = sum(weights.values())
    dropped: set[bytes] = set()
    for group in sorted(groups, key=lambda group: -weights[group]):
        name = os.fsdecode(group)
        if total <= MOST:
            break
        # Names without a meaning in a pattern, so that the pattern means nothing else.
        plain = name.replace("/", "").replace("-", "").isalnum()
        if plain and "/" in name and not name.startswith(NEEDED) and total - weights[group] > LEAST:
            excludes.append(name)
            dropped |= groups[group].keys()
            total -= weights[group]
    kept = {path: status for path, status in kept.items() if path not in dropped}

    sources = [str(skeleton), "/usr:/usr"]
    # A machine with little installed has less than a gigabyte: what it has goes in more than once.
    sources += [f"/usr:/srv/copy-{number}" for number in range(1, -(-LEAST // total))]
    return Root(sources, excludes, kept)


def listing(kept: dict[bytes, os.stat_result]) -> set[bytes]:
    """Return one line for each entry, as `find -printf '%y %m %U %G %T@ %s %P\\0'` says it."""
    kinds = {
        stat.S_IFREG: b"f",
        stat.S_IFDIR: b"d",
        stat.S_IFLNK: b"l",
        stat.S_IFIFO: b"p",
        stat.S_IFCHR: b"c",
        stat.S_IFBLK: b"b",
    }
    lines = set()
    for path, status in kept.items():
        kind = kinds.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            continue  # sockets are not packed
        size = status.st_size if kind == b"f" else 0
        # Times are whole seconds in a layer.
        numbers = b"%o %d %d %d %d" % (
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns // 10**9,
            size,
        )
        lines.add(kind + b" " + numbers + b" " + path)
    return lines


def sample(kept: dict[bytes, os.stat_result]) -> list[bytes]:
    """Return the largest files, and every so many of the others."""
    files = sorted(path for path, status in kept.items() if stat.S_ISREG(status.st_mode))
    largest = sorted(files, key=lambda path: -kept[path].st_size)[:10]
    return sorted({*largest, *files[:: max(1, len(files) // 3000)]})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_build_push_pull_start(fastoci: Fastoci, debian_registry: Registry, docker: Engine, root: Root) -> None:
    name = f"{debian_registry.host}/demo/root:1"
    excludes = [word for pattern in root.excludes for word in ("--exclude", pattern)]
    built = fastoci.ok("build", *root.sources, *excludes, "-t", name, "--cmd", "/bin/sh", "--push", timeout=600)
    config = json.loads(fastoci.ok("inspect", "--config", built.line).stdout)
    assert len(config["rootfs"]["diff_ids"]) == len(root.sources)
    assert fastoci.leftovers() == []

    docker("pull", name, timeout=600)
    try:
        image = docker.inspect(name)
        assert image["RepoDigests"] == [built.line]
        assert isinstance(image["Size"], int)
        assert image["Size"] > 1_000_000_000
        assert docker.run(name, "/bin/sh", "-c", "cat /etc/passwd; ls -d /tmp /usr/bin") == (
            "root:x:0:0:root:/root:/bin/sh\n/tmp\n/usr/bin\n"
        )

        # Every entry, as find sees it inside; the host's directories have sizes of their own.
        found = docker.run(name, "/bin/sh", "-c", r"find /usr -mindepth 1 -printf '%y %m %U %G %T@ %s %P\0'")
        lines = set()
        for line in os.fsencode(found).split(b"\0")[:-1]:
            kind, mode, uid, gid, time, size, path = line.split(b" ", 6)
            fields = [kind, mode, uid, gid, time.partition(b".")[0], size if kind == b"f" else b"0", path]
            lines.add(b" ".join(fields))
        expected = listing(root.kept)
        assert sorted(lines - expected)[:10] == []
        assert sorted(expected - lines)[:10] == []

        # The content of some thousand files, the largest among them.
        paths = sample(root.kept)
        names = b"".join(b"/usr/%s\0" % path for path in paths)
        summed = docker.run(name, "/bin/sh", "-c", "xargs -0 sha256sum -z", options=("-i",), stdin=names)
        for line in os.fsencode(summed).split(b"\0")[:-1]:
            digest, _, path = line.partition(b"  ")
            with open(path, "rb") as file:  # a path of bytes
                assert hashlib.file_digest(file, "sha256").hexdigest() == digest.decode(), path
        assert summed.count("\0") == len(paths)
    finally:
        docker.forget(name)
