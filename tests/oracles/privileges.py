"""Doing something without root's privileges."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def public_directory() -> Iterator[Path]:
    """Make a directory that everybody is let into, which those of pytest and the one that TMPDIR names may not be."""
    path = tempfile.mkdtemp(prefix="fastoci-tests-", dir="/var/tmp")
    try:
        os.chmod(path, 0o755)
        yield Path(path)
    finally:
        shutil.rmtree(path)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a while, where the tests run as root: the kernel then denies what modes deny."""
    if os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
