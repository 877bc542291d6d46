"""Where an archive's bytes go: a file that appears only when it is whole, or a stream.

Positions count from the archive's first byte. What can be written at an earlier position (`seekable`) needs no second
copy of a blob: room is left for its header, which is written when the blob's size and digest are known.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO

from fastoci.ending import Ending, OpenFile
from fastoci.errors import StoreError
from fastoci.store.atomic import TempFile, write_all
from fastoci.store.faults import explain, explained

__all__ = ["ArchiveOutput", "FileOutput", "StreamOutput", "open_output"]

_STDOUT = 1


class ArchiveOutput(Ending, ABC):
    """Takes the bytes of one archive.

    Attributes:
        name: What to call it in a message.
        position: Bytes written so far.
        seekable: Whether `write_at` and `truncate` work.
    """

    def __init__(self, name: str, *, seekable: bool) -> None:
        self.name = name
        self.position = 0
        self.seekable = seekable

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of `data`.

        Raises:
            StoreError: It was not taken.
        """
        try:
            self.position += self._append(data)
        except OSError as error:
            raise self.error(error) from error

    def write_at(self, position: int, data: bytes) -> None:
        """Write over what stands at an earlier position.

        Raises:
            StoreError: It was not taken.
        """
        with explained(f"cannot write to {self.name}", self.name):
            self._write_at(position, data)

    def truncate(self, position: int) -> None:
        """Take back what follows a position.

        Raises:
            StoreError: It could not be.
        """
        with explained(f"cannot write to {self.name}", self.name):
            self._truncate(position)
        self.position = position

    def error(self, error: OSError) -> StoreError:
        """Return what an OSError while writing means to the user."""
        return explain(error, f"cannot write to {self.name}", self.name)

    @property
    @abstractmethod
    def spool_directory(self) -> Path:
        """Where blobs wait that cannot be written yet."""

    @abstractmethod
    def finish(self) -> None:
        """Make the archive durable, and let it appear."""

    @abstractmethod
    def end(self) -> None:
        """Give up what is not finished, as far as it can be taken back; so does `close`."""

    @abstractmethod
    def _append(self, data: bytes | bytearray | memoryview) -> int: ...

    @abstractmethod
    def _write_at(self, position: int, data: bytes) -> None: ...

    @abstractmethod
    def _truncate(self, position: int) -> None: ...


class FileOutput(ArchiveOutput):
    """A file, in whose place another may stand until the archive is whole.

    Args:
        path: The file, as the user wrote it; where it is a symbolic link, what that leads to is replaced.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, seekable=True)
        self._place = Path(os.path.realpath(path))
        with explained(f"cannot write to {path}", path):
            self._file = TempFile(self._place.parent)

    @property
    def spool_directory(self) -> Path:
        """Beside the file: there should be room enough there."""
        return self._place.parent

    def finish(self) -> None:
        """See ArchiveOutput."""
        with explained(f"cannot write to {self.name}", self.name):
            self._file.link(self._place.name)
        self.close()

    def end(self) -> None:
        """See ArchiveOutput."""
        self._file.close()

    def _append(self, data: bytes | bytearray | memoryview) -> int:
        return self._file.write(data)

    def _write_at(self, position: int, data: bytes) -> None:
        _pwrite_all(self._file.fd, data, position)

    def _truncate(self, position: int) -> None:
        os.ftruncate(self._file.fd, position)
        os.lseek(self._file.fd, position, os.SEEK_SET)


class StreamOutput(ArchiveOutput):
    """A stream, such as stdout. One that is a regular file is seekable, if it begins at its end and does not append.

    Args:
        stream: Where to write. It is left open.
        name: What to call it in a message.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._fd = -1
        self._start = 0
        with contextlib.suppress(io.UnsupportedOperation, AttributeError):
            self._fd = stream.fileno()
        if self._fd >= 0:
            stream.flush()
        super().__init__(name, seekable=self._fd >= 0 and self._is_new_file())
        self._finished = False

    def _is_new_file(self) -> bool:
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode) or fcntl.fcntl(self._fd, fcntl.F_GETFL) & os.O_APPEND:
            return False
        self._start = os.lseek(self._fd, 0, os.SEEK_CUR)
        return found.st_size == self._start

    @property
    def spool_directory(self) -> Path:
        """`$TMPDIR`, else /var/tmp: layers are large, and /tmp is often memory."""
        return Path(os.environ.get("TMPDIR") or "/var/tmp")  # noqa: S108 - spooled files have no name to guess

    def finish(self) -> None:
        """See ArchiveOutput."""
        with explained(f"cannot write to {self.name}", self.name):
            if self._fd < 0:
                self._stream.flush()
        self._finished = True

    def end(self) -> None:
        """See ArchiveOutput: what a pipe has taken stays taken."""
        if self.seekable and not self._finished:
            with contextlib.suppress(OSError):
                self._truncate(0)
        self._finished = True

    def _append(self, data: bytes | bytearray | memoryview) -> int:
        if self._fd >= 0:
            return write_all(self._fd, data)
        view = memoryview(data).cast("B")
        done = 0
        while done < view.nbytes:
            # A raw stream may take less than it is given, a buffered one says so by None or the whole.
            done += self._stream.write(view[done:]) or 0
        return done

    def _write_at(self, position: int, data: bytes) -> None:
        _pwrite_all(self._fd, data, self._start + position)

    def _truncate(self, position: int) -> None:
        os.ftruncate(self._fd, self._start + position)
        os.lseek(self._fd, self._start + position, os.SEEK_SET)


def open_output(target: str | BinaryIO) -> ArchiveOutput:
    """Return where an archive for `target` goes.

    Args:
        target: The path of a file, which is replaced, or of a FIFO or device, which is written to; or a stream.

    Raises:
        StoreError: It cannot be written, or is a directory.
    """
    if not isinstance(target, str):
        return StreamOutput(target, "stdout" if _is_stdout(target) else str(getattr(target, "name", "the stream")))
    with explained(f"cannot write to {target}", target):
        try:
            mode = os.stat(target).st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        if stat.S_ISREG(mode):
            return FileOutput(target)
        # For a directory the kernel says EISDIR.
        stream = OpenFile(target, os.O_WRONLY | os.O_NOCTTY).stream("wb", buffering=0)
        return _OwnedStreamOutput(stream, target)


class _OwnedStreamOutput(StreamOutput):
    """A stream that was opened here."""

    def finish(self) -> None:
        super().finish()
        self._stream.close()

    def end(self) -> None:
        super().end()
        self._stream.close()


def _is_stdout(stream: BinaryIO) -> bool:
    try:
        return stream.fileno() == _STDOUT
    except (io.UnsupportedOperation, AttributeError):
        return False


def _pwrite_all(fd: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
