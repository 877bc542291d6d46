# cython: language_level=3
"""What the kernel says of a name (stat(2)), as an entry has it."""

from posix.stat cimport S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG, struct_stat

from fastoci._engine.entry cimport (
    Entry,
    FLAG_SPARSE,
    KIND_BLOCK,
    KIND_CHARACTER,
    KIND_DIRECTORY,
    KIND_FIFO,
    KIND_FILE,
    KIND_SYMLINK,
)
from fastoci._engine.kernel cimport ctime_ns, mtime_ns

cdef inline bint status_take(Entry *entry, const struct_stat *status) noexcept nogil:
    """Give an entry all that its status says; a symbolic link's size is that of its target, which is not read here.

    Returns:
        False: it is a socket, which is no kind of entry.
    """
    entry.device = status.st_dev
    entry.inode = status.st_ino
    entry.mode = status.st_mode & 0o7777
    entry.uid = status.st_uid
    entry.gid = status.st_gid
    entry.links = status.st_nlink
    entry.mtime = status.st_mtime
    entry.mtime_ns = mtime_ns(status)
    entry.ctime = status.st_ctime
    entry.ctime_ns = ctime_ns(status)
    if S_ISREG(status.st_mode):
        entry.kind = KIND_FILE
        entry.size = status.st_size
        if status.st_blocks * 512 < status.st_size:
            entry.flags |= FLAG_SPARSE
    elif S_ISDIR(status.st_mode):
        entry.kind = KIND_DIRECTORY
    elif S_ISLNK(status.st_mode):
        entry.kind = KIND_SYMLINK
    elif S_ISCHR(status.st_mode) or S_ISBLK(status.st_mode):
        entry.kind = KIND_CHARACTER if S_ISCHR(status.st_mode) else KIND_BLOCK
        entry.link.device = status.st_rdev
    elif S_ISFIFO(status.st_mode):
        entry.kind = KIND_FIFO
    else:
        return False
    return True
