"""The kernel's clock, by which changes of files are noticed."""

from __future__ import annotations

import os
import tempfile


def let_the_clock_tick(directory: str | os.PathLike[str]) -> None:
    """Return when files on this file system get later times than any has that was changed before: some milliseconds.

    A change within one tick of another leaves the same times behind, and can be told from it by nothing but the size.
    """
    with tempfile.TemporaryFile(dir=directory) as file:
        before = os.fstat(file.fileno()).st_ctime_ns
        while os.fstat(file.fileno()).st_ctime_ns == before:
            os.fchmod(file.fileno(), 0o600)
