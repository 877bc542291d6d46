"""File systems of other kinds, mounted for as long as a test needs them. Only root may."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from oracles.unpackers import program

Path = str | os.PathLike[str]


@contextmanager
def mounted(target: Path, *options: Path) -> Iterator[None]:
    """Mount something at a directory, or at a file, that is there; the test is left out where this machine does not.

    Args:
        target: Where.
        options: What comes before it on mount(8)'s command line.
    """
    done = subprocess.run(["mount", *options, target], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"left out: this machine does not mount that: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", target], check=True)


@contextmanager
def tmpfs(target: Path, mode: int = 0o755) -> Iterator[None]:
    """Mount an empty file system in memory."""
    with mounted(target, "-t", "tmpfs", "-o", f"mode={mode:o}", "none"):
        yield


@contextmanager
def ext4(target: Path, disk: Path, block_size: int) -> Iterator[None]:
    """Mount a new ext4 with blocks of so many bytes, which stands in the file `disk`."""
    with open(disk, "wb") as file:  # a path of any kind
        file.truncate(64 << 20)
    # Small blocks have no room for large extended attributes but in inodes of their own.
    options = ["-q", "-b", str(block_size), "-I", "512", "-O", "ea_inode"]
    make = [program("mkfs.ext4", "e2fsprogs"), *options, disk]
    subprocess.run(make, check=True, capture_output=True)
    with mounted(target, "-o", "loop", disk):
        os.rmdir(os.path.join(target, "lost+found"))
        yield
