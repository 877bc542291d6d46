"""Files that appear only whole: written without a name, then linked under it.

An unnamed file (O_TMPFILE) is gone with the process that wrote it, however that ends. Where the file system or the
kernel has none, or /proc is not mounted, a file whose name begins with `TEMP_PREFIX` stands in, which only a killed
process leaves behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from fastoci.ending import Ending, OpenFile
from fastoci.store.writeout import WriteOut

__all__ = ["TEMP_PREFIX", "TempFile", "sync_directory", "write_all"]

TEMP_PREFIX = ".fastoci-"
_MODE = 0o666  # less the umask
_COPY_SIZE = 1 << 20

# open(2): kernels without O_TMPFILE answer EISDIR, file systems without it EOPNOTSUPP; overlays and FUSE add the rest.
_NO_TMPFILE = frozenset({errno.EISDIR, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENOENT})


def write_all(fd: int, data: bytes | bytearray | memoryview) -> int:
    """Write all of `data`, without copying it.

    Returns:
        How many bytes that were.

    Raises:
        OSError: The kernel did not take all of it.
    """
    view = memoryview(data).cast("B")
    size = view.nbytes
    done = os.write(fd, view)
    while done < size:
        done += os.write(fd, view[done:])
    return size


def sync_directory(fd: int) -> None:
    """Make a directory's entries durable, where its file system can."""
    try:
        os.fsync(fd)
    except OSError as error:
        # fsync(2): EINVAL says that this kind of file has nothing to sync, as on some network and FUSE file systems.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


class TempFile(Ending):
    """A new file, open for reading and writing, that has no name yet. Leaving it without `link` leaves nothing.

    Args:
        directory: Where it is going to stand.
        lasting: Whether it is going to be linked, and its write-out may begin at once. False: it is only for a while.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, directory: Path, *, lasting: bool = True) -> None:
        self._write_out: WriteOut | None = None
        self._name: str | None = None
        self._file: OpenFile | None = None
        self._directory = OpenFile(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._file = self._open()
            if lasting:
                self._write_out = WriteOut(self.fd)
        except BaseException:
            self.close()
            raise

    @property
    def fd(self) -> int:
        """Its descriptor, -1 when it is closed."""
        return -1 if self._file is None else self._file.fd

    def _open(self) -> OpenFile:
        try:
            file = OpenFile(".", os.O_TMPFILE | os.O_RDWR, _MODE, directory=self._directory.fd)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        else:
            if Path(f"/proc/self/fd/{file.fd}").is_symlink():
                return file
            file.close()
        return self._create()

    def _create(self) -> OpenFile:
        # Noted before it stands: an interruption between the two must not leave it there.
        self._name = _temporary_name()
        try:
            return OpenFile(self._name, os.O_CREAT | os.O_EXCL | os.O_RDWR, _MODE, directory=self._directory.fd)
        except OSError:
            self._name = None
            raise

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append `data`; see `write_all`. Bytes that were written before may turn out to be lost here."""
        written = write_all(self.fd, data)
        if self._write_out is not None:
            self._write_out.wrote(written)
        return written

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; none at the end."""
        return os.pread(self.fd, size, offset)

    def link(self, name: str, *, directory: int | None = None, replace: bool = True) -> bool:
        """Make the content durable, then let it appear under `name`.

        Args:
            name: The file's name.
            directory: A descriptor of the directory to link into, on the same file system; None: where it was made.
            replace: True: a file of that name is replaced. False: it is kept.

        Returns:
            Whether the file stands under the name now; False where another was kept.

        Raises:
            OSError: The kernel refused.
        """
        target = self._directory.fd if directory is None else directory
        if self._write_out is not None:
            self._write_out.finish()
        os.fsync(self.fd)
        if self._name is None and not replace:
            try:
                self._link_unnamed(name, target)
            except FileExistsError:
                return False
            except OSError:
                self._take_name()
            else:
                sync_directory(target)
                return True
        temporary = self._name or self._take_name()
        if not replace and _exists(name, target):
            return False
        os.rename(temporary, name, src_dir_fd=self._directory.fd, dst_dir_fd=target)
        self._name = None
        sync_directory(target)
        return True

    def _link_unnamed(self, name: str, directory: int) -> None:
        os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=directory, follow_symlinks=True)

    def _take_name(self) -> str:
        """Give the file a temporary name, for rename(2), which alone can replace; by copying if it cannot be linked."""
        self._name = name = _temporary_name()
        try:
            self._link_unnamed(name, self._directory.fd)
        except OSError as error:
            self._name = None
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
                raise
        else:
            return name
        assert self._file is not None  # noqa: S101 - it is open, or nobody would link it
        with self._file as unnamed:
            self._file = self._create()
            offset = 0
            while piece := os.pread(unnamed.fd, _COPY_SIZE, offset):
                offset += write_all(self.fd, piece)
            os.fsync(self.fd)
        assert self._name is not None  # noqa: S101 - `_create` has just given it one
        return self._name

    def end(self) -> None:
        """Close the file; without `link` nothing of it is left."""
        if self._name is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._directory.fd)
            self._name = None
        if self._write_out is not None:
            self._write_out.close()
        if self._file is not None:
            self._file.close()
        self._directory.close()


def _temporary_name() -> str:
    return f"{TEMP_PREFIX}{os.getpid()}-{os.urandom(8).hex()}"


def _exists(name: str, directory: int) -> bool:
    try:
        found = os.stat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode)
