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
from typing import Self

__all__ = ["TEMP_PREFIX", "TempFile", "sync_directory", "write_all"]

TEMP_PREFIX = ".fastoci-"
_MODE = 0o666  # less the umask
_COPY_SIZE = 1 << 20
_WRITE_OUT_SIZE = 4 << 20

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


class TempFile:
    """A new file, open for reading and writing, that has no name yet. Leaving it without `link` leaves nothing.

    Args:
        directory: Where it is going to stand.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self.fd = -1
        self._size = 0
        self._written_out = 0
        self._name: str | None = None
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        try:
            self.fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, _MODE, dir_fd=self._directory)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        else:
            if Path(f"/proc/self/fd/{self.fd}").is_symlink():
                return
            os.close(self.fd)
            self.fd = -1
        self._create()

    def _create(self) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        # Noted before it stands: an interruption between the two must not leave it there.
        self._name = _temporary_name()
        try:
            self.fd = os.open(self._name, flags, _MODE, dir_fd=self._directory)
        except OSError:
            self._name = None
            raise

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append `data`; see `write_all`."""
        written = write_all(self.fd, data)
        self._size += written
        if self._size - self._written_out >= _WRITE_OUT_SIZE:
            self._write_out()
        return written

    def _write_out(self) -> None:
        """Have the disk begin with what is new, so that little is left to wait for when all of it must be durable.

        posix_fadvise(2): Linux starts the write-out of dirty pages that are said to be of no more use, and lets go of
        clean ones. These are dirty, and are never named again: they stay in the page cache, where a push reads them.
        """
        with contextlib.suppress(OSError):
            os.posix_fadvise(self.fd, self._written_out, self._size - self._written_out, os.POSIX_FADV_DONTNEED)
        self._written_out = self._size

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
        target = self._directory if directory is None else directory
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
        os.rename(temporary, name, src_dir_fd=self._directory, dst_dir_fd=target)
        self._name = None
        sync_directory(target)
        return True

    def _link_unnamed(self, name: str, directory: int) -> None:
        os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=directory, follow_symlinks=True)

    def _take_name(self) -> str:
        """Give the file a temporary name, for rename(2), which alone can replace; by copying if it cannot be linked."""
        self._name = name = _temporary_name()
        try:
            self._link_unnamed(name, self._directory)
        except OSError as error:
            self._name = None
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
                raise
        else:
            return name
        unnamed = self.fd
        try:
            self._create()
            offset = 0
            while piece := os.pread(unnamed, _COPY_SIZE, offset):
                offset += write_all(self.fd, piece)
            os.fsync(self.fd)
        finally:
            os.close(unnamed)
        assert self._name is not None  # noqa: S101 - `_create` has just given it one
        return self._name

    def close(self) -> None:
        """Close the file; without `link` nothing of it is left. Closing twice does nothing."""
        if self._name is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._directory)
            self._name = None
        fds, self.fd, self._directory = (self.fd, self._directory), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _temporary_name() -> str:
    return f"{TEMP_PREFIX}{os.getpid()}-{os.urandom(8).hex()}"


def _exists(name: str, directory: int) -> bool:
    try:
        found = os.stat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode)
