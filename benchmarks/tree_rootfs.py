"""`rootfs`: this machine's own root filesystem, or as much of it as is wanted, copied with links, owners and xattrs.

A copy, because the machine's own changes between two runs, and because both forms need a bound. The parts come in the
order in which they stand below, until there is enough.
"""

from __future__ import annotations

import glob
import os
import subprocess
from collections.abc import Iterator

__all__ = ["copy_rootfs"]

_PARTS = (
    "/etc",
    "/var/lib/dpkg",
    "/usr/libexec",
    "/usr/sbin",
    "/usr/share",
    "/usr/lib/*-linux-gnu",
    "/usr/bin",
    "/usr/lib/python3*",
    "/usr/include",
    "/usr/lib/*",
)


def copy_rootfs(root: str, least: int, most: int) -> None:
    """Copy parts of / into an empty directory.

    Args:
        root: The directory.
        least: How many bytes are enough.
        most: A part with which there would be more bytes than that is left out.
    """
    chosen: list[str] = []
    total = 0
    for part in _parts():
        size = _size(part)
        if total + size <= most:
            chosen.append(part)
            total += size
        if total >= least:
            break
    # GNU cp keeps hard links between all that one command copies; from `/`, since it looks for parents from where it
    # is. What may not be read is left out.
    command = ["cp", "--archive", "--parents", "--one-file-system", *(part.lstrip("/") for part in chosen), root]
    subprocess.run(command, cwd="/", check=False)


def _parts() -> Iterator[str]:
    seen: set[str] = set()
    for pattern in _PARTS:
        for part in sorted(glob.glob(pattern)):
            if part not in seen and os.path.isdir(part) and not os.path.islink(part):
                seen.add(part)
                yield part


def _size(path: str) -> int:
    sizes: dict[int, int] = {}
    for directory, _, names in os.walk(path):
        found = (os.lstat(os.path.join(directory, name)) for name in names)
        sizes.update((status.st_ino, status.st_size) for status in found)
    return sum(sizes.values())
