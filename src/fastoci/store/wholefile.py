"""A file of its own that appears when it is whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from fastoci.ending import Ending
from fastoci.errors import StoreError
from fastoci.store.atomic import TempFile
from fastoci.store.faults import explained

if TYPE_CHECKING:
    from fastoci.spec.digest import Digest

__all__ = ["WholeFile"]


class WholeFile(Ending):
    """A file to be written; it takes a layer's blob, too. A context manager: left without `appear`, it leaves nothing.

    Args:
        path: Where it is going to stand; a file that is there is replaced, anything else refused.

    Raises:
        StoreError: It cannot be made, or something else stands there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._what = f"cannot write {path}"
        directory, self._name = os.path.split(path)
        with explained(self._what, path):
            try:
                is_file = stat.S_ISREG(os.stat(path).st_mode)
            except FileNotFoundError:
                is_file = True
            if not is_file or not self._name:
                # /dev/null would become a file, for everybody.
                raise StoreError(self._what, path=path, cause="something that is no file stands there")
            self._file = TempFile(Path(directory or "."))

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            StoreError: The disk did not take them.
        """
        with explained(self._what, self._path):
            self._file.write(data)

    def commit(self, digest: Digest) -> None:
        """A blob is whole; whoever made the file says when it is to appear."""

    def appear(self) -> None:
        """Make the file durable, and let it appear.

        Raises:
            StoreError: The disk refused.
        """
        with explained(self._what, self._path):
            self._file.link(self._name)

    def end(self) -> None:
        """Give up what has not appeared."""
        self._file.close()
