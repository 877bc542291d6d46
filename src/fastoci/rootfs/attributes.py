"""What a file has besides its bytes: owner, mode, times, extended attributes; and what the kernel may refuse of them.

The order is the kernel's: giving a file away takes its set-user-ID bit and its capabilities, and so does writing to it.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from typing import TYPE_CHECKING

from fastoci.errors import reason
from fastoci.rootfs.owners import Owners

if TYPE_CHECKING:
    from fastoci.tar.reader import TarEntry

__all__ = ["Attributes"]

_KEPT = frozenset((b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"))
# overlayfs and containers' storage keep their own notes in these, which an image must not forge.
_FORBIDDEN = (b"user.overlay.", b"user.containers.")


class Attributes:
    """Gives files what their entries say of them.

    Args:
        owners: Whose they become.

    Attributes:
        layer: What to call the layer in errors.
        refused: How often something was left out, by what it was.
    """

    def __init__(self, owners: Owners) -> None:
        self.refused: Counter[str] = Counter()
        self.layer = ""
        self._owners = owners

    @property
    def keep(self) -> bool:
        """Whether files are given to their owners."""
        return self._owners.keep

    def give(self, fd: int, entry: TarEntry) -> None:
        """Give an open file or directory all of them; its data is written, or its names are there.

        Raises:
            InvalidImageError: Its owner has no number on this host.
            OSError: The kernel refused the owner, the mode or the time.
        """
        if self._owners.keep:
            os.fchown(fd, *self._owners.of(entry.uid, entry.gid, self.layer))
        if entry.xattrs:
            self._set_xattrs(fd, entry, follow=True)
        os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(entry.mtime, entry.mtime))

    def give_name(self, directory: int, name: bytes, entry: TarEntry) -> None:
        """Give what cannot be opened without side effects: symbolic links, devices, FIFOs. See `give`."""
        if self._owners.keep:
            os.chown(name, *self._owners.of(entry.uid, entry.gid, self.layer), dir_fd=directory, follow_symlinks=False)
        if entry.xattrs or entry.kind != "symlink":
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                # O_PATH lets the file be, and /proc leads to it and to nothing that has taken its name.
                path = b"/proc/self/fd/%d" % fd
                if entry.kind != "symlink":
                    self._set_xattrs(path, entry, follow=True)
                    os.chmod(path, entry.mode)
                else:
                    self._set_xattrs(b"/proc/self/fd/%d/%s" % (directory, name), entry, follow=False)
            finally:
                os.close(fd)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)

    def _set_xattrs(self, where: int | bytes, entry: TarEntry, *, follow: bool) -> None:
        for name, value in entry.xattrs.items():
            family = name.split(b".", 1)[0].decode("ascii", "backslashreplace")[:40]
            if b"\0" in name or (name not in _KEPT and not name.startswith(b"user.")) or name.startswith(_FORBIDDEN):
                self.refused[f"extended attributes {family}.* that are the host's own"] += 1
                continue
            try:
                os.setxattr(where, name, value, follow_symlinks=follow)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.ERANGE, errno.E2BIG):
                    raise
                self.refused[f"extended attributes {family}.*: {reason(error)}"] += 1
