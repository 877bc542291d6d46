"""Where temporary files go that may be as large as a layer."""

from __future__ import annotations

import os
import shutil

from fastoci.ending import Ending
from fastoci.errors import StoreError

__all__ = ["TMPDIR_HINT", "TemporaryDirectory", "large_tmp"]

TMPDIR_HINT = "set TMPDIR to another directory, with room for the layers"

_LARGE_TMP = "/var/tmp"  # noqa: S108 - what is made there has names that cannot be guessed, or none


def large_tmp() -> str:
    """Return the directory for them: `$TMPDIR`, else `/var/tmp`, since `/tmp` is often memory."""
    if path := os.environ.get("TMPDIR"):
        return path
    if os.path.isdir(_LARGE_TMP):
        return _LARGE_TMP
    import tempfile  # which few builds need

    return tempfile.gettempdir()


class TemporaryDirectory(Ending):
    """A directory that is gone with all in it when it is left. A context manager.

    Not `tempfile`'s, which has a moment between its directory and whoever removes it.

    Args:
        base: The directory to make it in.

    Attributes:
        path: Where it stands while it is entered; nobody can guess its name.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self.path = os.path.join(base, f"fastoci-{os.urandom(8).hex()}")

    def begin(self) -> None:
        """Make it.

        Raises:
            StoreError: It cannot be made.
        """
        try:
            os.mkdir(self.path, 0o700)
        except OSError as error:
            what = f"cannot write temporary files to {self._base}"
            raise StoreError.from_os(error, what, path=self._base, hint=TMPDIR_HINT) from error

    def end(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
