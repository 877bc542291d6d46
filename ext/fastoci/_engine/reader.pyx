# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""Reading the files of a table as they were scanned, or not at all.

A reader belongs to one thread; it has descriptors of its own and reads entries that no longer change. A file is opened
relative to its directory's descriptor, never through a symbolic link, and its status before and after the reading must
be what the scan saw, to the nanosecond.
"""

from libc.errno cimport EAGAIN, EINTR, ELOOP, ENOENT, ENXIO, ESTALE, errno
from libc.stdint cimport int64_t
from libc.string cimport memset
from posix.stat cimport S_ISREG, struct_stat
from posix.unistd cimport close

from fastoci._engine.dirs cimport dirs_again, dirs_close, dirs_init, dirs_open, dirs_openat
from fastoci._engine.entry cimport Entry, FLAG_SPARSE
from fastoci._engine.fault cimport FAULT_CHANGED, FAULT_OPEN, FAULT_READ, FaultKind, fault_clear
from fastoci._engine.kernel cimport (
    OPEN_FILE,
    SEEK_DATA,
    SEEK_HOLE,
    ctime_ns,
    fstat,
    lseek,
    mtime_ns,
    pread,
    pread_cached,
)
from fastoci._engine.path cimport path_copy
from fastoci._engine.raising cimport raise_fault
from fastoci._engine.table cimport EntryTable


cdef class FileReader:
    """Reads files of one table, for one thread; what it is used by in the engine says of which table."""

    def __dealloc__(self):
        self.close()
        fault_clear(&self.fault)

    def close(self):
        """Close the directory descriptors. The reader may go on being used; it opens them again."""
        dirs_close(&self.dirs)

    def check(self):
        """Raise what kept the reader from a file, if something did.

        Raises:
            EngineFault: A file could not be read, or is not what was scanned.
        """
        raise_fault(&self.fault)

    cdef void begin(self, EntryTable table) noexcept:
        """Read from this table from now on. Called once."""
        self.table = table
        self.asks_cache = True
        dirs_init(&self.dirs, table.root, table.root_fd)

    # What follows holds no GIL.

    cdef bint fail(self, FaultKind kind, int error, const Entry *entry, int64_t found) noexcept nogil:
        self.fault.kind = kind
        self.fault.error = error
        self.fault.expected = entry.size
        self.fault.found = found
        self.fault.path = path_copy(entry, self.table.root, &self.fault.path_size)
        return False

    cdef void note_wait(self) noexcept nogil:
        """Hear that a disk has to be waited for: for classes that make something of it."""

    cdef int open(self, const Entry *entry) noexcept nogil:
        """Return a descriptor of a file that is as it was scanned, the caller's to close; -1 and a fault if not."""
        cdef int directory
        cdef int fd = -1
        if entry == self.dirs.root:
            fd = dirs_again(&self.dirs)
        else:
            directory = dirs_open(&self.dirs, entry.parent)
            if directory >= 0:
                fd = dirs_openat(&self.dirs, directory, entry.name, OPEN_FILE)
        if fd < 0:
            self.fail_to_open(entry)
            return -1
        if not self.is_unchanged(entry, fd):
            close(fd)
            return -1
        return fd

    cdef bint read(self, const Entry *entry, int64_t offset, char *out, int64_t size) noexcept nogil:
        """Read `size` bytes at `offset` of a file, all of them or a fault."""
        cdef int fd = self.open(entry)
        cdef bint done
        if fd < 0:
            return False
        done = self.read_from(entry, fd, offset, out, size) and self.is_unchanged(entry, fd)
        close(fd)
        return done

    cdef bint read_from(self, const Entry *entry, int fd, int64_t offset, char *out, int64_t size) noexcept nogil:
        """Read from an open file; whether it is unchanged afterwards is for the caller to ask."""
        if entry.flags & FLAG_SPARSE:
            return self.read_sparse(entry, fd, offset, out, size)
        return self.read_dense(entry, fd, offset, out, size)

    cdef bint fail_to_open(self, const Entry *entry) noexcept nogil:
        """A name that is gone, or has become a link, a socket or another directory, has changed; the rest is denied."""
        cdef int error = errno
        if error == ENOENT:
            return self.fail(FAULT_CHANGED, error, entry, -1)
        if error == ESTALE or error == ELOOP or error == ENXIO:
            return self.fail(FAULT_CHANGED, error, entry, entry.size)
        return self.fail(FAULT_OPEN, error, entry, 0)

    cdef bint is_unchanged(self, const Entry *entry, int fd) noexcept nogil:
        cdef struct_stat status
        if fstat(fd, &status) != 0:
            return self.fail(FAULT_READ, errno, entry, 0)
        if status.st_ino != entry.inode or status.st_dev != entry.device or not S_ISREG(status.st_mode):
            # Another file has its name now.
            return self.fail(FAULT_CHANGED, ESTALE, entry, status.st_size)
        if (
            status.st_size != entry.size or status.st_mtime != entry.mtime
            or mtime_ns(&status) != entry.mtime_ns or status.st_ctime != entry.ctime
            or ctime_ns(&status) != entry.ctime_ns
        ):
            return self.fail(FAULT_CHANGED, 0, entry, status.st_size)
        return True

    cdef bint read_dense(self, const Entry *entry, int fd, int64_t offset, char *out, int64_t size) noexcept nogil:
        cdef ssize_t got
        while size:
            got = self.read_piece(fd, offset, out, size)
            if got > 0:
                out += got
                offset += got
                size -= got
            elif got == 0:
                # Shorter than its own status says: it shrank a moment ago.
                return self.fail(FAULT_CHANGED, 0, entry, offset)
            elif errno != EINTR:
                return self.fail(FAULT_READ, errno, entry, 0)
        return True

    cdef ssize_t read_piece(self, int fd, int64_t offset, char *out, int64_t size) noexcept nogil:
        """Read what is in the page cache; where nothing is, say so to whoever reads ahead, and wait for the disk."""
        cdef ssize_t got
        if self.asks_cache:
            got = pread_cached(fd, out, size, offset)
            if got >= 0:
                return got
            if errno == EAGAIN:
                self.note_wait()
            else:
                # EOPNOTSUPP, ENOSYS: a file system or kernel that cannot tell. Other errors will come again.
                self.asks_cache = False
        return pread(fd, out, size, offset)

    cdef bint read_sparse(self, const Entry *entry, int fd, int64_t offset, char *out, int64_t size) noexcept nogil:
        """Read a file with holes; they become zeros without being read. Without SEEK_DATA the file is one extent."""
        cdef int64_t end = offset + size, data, hole
        while offset < end:
            data = lseek(fd, offset, SEEK_DATA)
            if data < 0:
                # ENXIO: nothing but a hole up to the end of the file.
                if errno != ENXIO:
                    return self.read_dense(entry, fd, offset, out, end - offset)
                data = end
            data = min(data, end)
            memset(out, 0, data - offset)
            out += data - offset
            offset = data
            if offset == end:
                return True
            hole = lseek(fd, offset, SEEK_HOLE)
            if hole < 0 or hole > end:
                hole = end
            if not self.read_dense(entry, fd, offset, out, hole - offset):
                return False
            out += hole - offset
            offset = hole
        return True
