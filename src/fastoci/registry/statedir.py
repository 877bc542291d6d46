"""What is kept between runs: small JSON documents in the user's state directory, read with suspicion.

`$FASTOCI_STATE_DIR`, else `$XDG_STATE_HOME/fastoci`, else `~/.local/state/fastoci`. Losing any of it costs time and
never an image. So a document that is torn, foreign or too old counts as none, and a directory that cannot be written
costs one warning. Documents can hold upload sessions, which are secrets: they are the user's alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import tempfile
import time
from typing import TYPE_CHECKING, Any

from fastoci.ending import OpenFile
from fastoci.errors import reason
from fastoci.events import Sink, Warned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["StateDirectory", "StateLock", "default_path"]

FORMAT = 1
_LARGEST = 64 << 10  # bytes of a document; ours have one or two KiB
_ATTEMPTS = 8

_warned: set[str] = set()  # directories that a warning was given for: one for each is enough for a whole process


def default_path() -> str:
    """Return the state directory that the environment names."""
    if path := os.environ.get("FASTOCI_STATE_DIR"):
        return path
    base = os.environ.get("XDG_STATE_HOME", "")
    # A relative path there is to be ignored (XDG Base Directory Specification).
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "fastoci")


class StateLock:
    """A lock held on one document; lost with the process, whatever ends it."""

    def __init__(self, path: str, file: OpenFile) -> None:
        self._path = path
        self._file = file

    def release(self) -> None:
        """Let others have it."""
        if self._file.fd < 0:
            return
        with self._file, contextlib.suppress(OSError):
            os.unlink(self._path)  # while it is ours: who waits for it looks whether it is still there


class StateDirectory:
    """A directory of documents of one kind. Any thread may use it.

    Args:
        kind: Its name in the state directory: `uploads`, `hosts`, `layers`.
        sink: Told once if it cannot be written.
        life: The age in seconds from which on a document is of no use.
        path: The state directory; None is the one that the environment names.
        wall: The wall clock, seconds since 1970.
    """

    def __init__(
        self, kind: str, sink: Sink, *, life: float, path: str | None = None, wall: Callable[[], float] = time.time
    ) -> None:
        self._top = path or default_path()
        self._path = os.path.join(self._top, kind)
        self._sink = sink
        self._life = life
        self._wall = wall
        self._swept = False

    def read(self, name: str) -> Mapping[str, Any] | None:
        """Return a document, None where there is none that can be trusted.

        Args:
            name: Its name: letters and digits.
        """
        try:
            with OpenFile(self._file(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as file:
                found = os.fstat(file.fd)
                if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                    return None
                document = json.loads(os.read(file.fd, _LARGEST))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            return None
        written = document.get("time")
        if isinstance(written, bool) or not isinstance(written, int | float):
            return None
        # A little of the future is another machine's clock; more of it is a broken one.
        return document if -3600.0 < self._wall() - written < self._life else None

    def write(self, name: str, document: Mapping[str, Any]) -> bool:
        """Replace a document, so that whoever reads it finds the old one or the new one; say whether that worked.

        It is not made durable: after a power failure the old one, or a torn one, costs what had been saved.
        """
        if not self._swept:
            self._swept = True
            self._sweep()
        data = json.dumps({"format": FORMAT, "time": self._wall(), **document}).encode("ascii")
        temporary = None
        try:
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            fd, temporary = tempfile.mkstemp(dir=self._path, prefix=".")
            try:
                written = os.write(fd, data)
            finally:
                os.close(fd)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - as the next write would say it
            os.replace(temporary, self._file(name))
            temporary = None
        except OSError as error:
            self._complain(error)
            return False
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
        return True

    def remove(self, name: str) -> None:
        """Remove a document, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(self._file(name))

    def lock(self, name: str) -> StateLock | None:
        """Lock a document, there or not; None where another process or thread has it, or no lock can be had."""
        path = os.path.join(self._path, f"{name}.lock")
        for _ in range(_ATTEMPTS):
            try:
                os.makedirs(self._path, mode=0o700, exist_ok=True)
                file = OpenFile(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                self._complain(error)
                return None
            try:
                fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Who had it before may have removed the file, and the lock is on one that nobody else finds.
                if os.path.samestat(os.fstat(file.fd), os.stat(path)):
                    return StateLock(path, file)
            except FileNotFoundError:
                pass
            except OSError:  # busy, or a file system without locks
                return None
        return None

    def _sweep(self) -> None:
        """Remove what is too old, and what a killed process left half-written."""
        limit = self._wall() - self._life
        with contextlib.suppress(OSError), os.scandir(self._path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    # A lock's file never ages in use: it is made anew each time, and an upload ends within its session.
                    if entry.stat(follow_symlinks=False).st_mtime < limit:
                        os.unlink(entry.path)

    def _file(self, name: str) -> str:
        return os.path.join(self._path, f"{name}.json")

    def _complain(self, error: OSError) -> None:
        if self._top in _warned:
            return
        _warned.add(self._top)
        self._sink(
            Warned(
                f"cannot write to {self._top}: {reason(error)}; the work goes on, but if it is killed it starts over",
                hint="FASTOCI_STATE_DIR names another directory",
            )
        )
