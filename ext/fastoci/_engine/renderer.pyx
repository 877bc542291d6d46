# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The renderer: any block of a planned layer, written into a buffer, at any time and in any order.

A renderer belongs to one thread; it has descriptors and path buffers of its own and reads entries that are planned,
which no longer change. What it reads is what was planned: a file is opened relative to its directory's descriptor, never
through a symbolic link, and its status before and after the reading must be what the scan saw, to the nanosecond.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EAGAIN, EINTR, ELOOP, ENOENT, ENXIO, ESTALE, errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from posix.stat cimport S_ISREG, struct_stat
from posix.unistd cimport close

from fastoci._engine.dirs cimport DirCache, dirs_again, dirs_close, dirs_init, dirs_open, dirs_openat
from fastoci._engine.entry cimport Entry, FLAG_SPARSE, data_size, next_entry
from fastoci._engine.fault cimport (
    FAULT_CHANGED,
    FAULT_MEMORY,
    FAULT_OPEN,
    FAULT_READ,
    Fault,
    FaultKind,
    fault_clear,
)
from fastoci._engine.header cimport Header, RECORD, header_fill, header_names, header_write
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
from fastoci._engine.path cimport PathBuffer, path_copy, path_free
from fastoci._engine.plan cimport Block, Plan
from fastoci._engine.raising cimport raise_fault


cdef class Renderer:
    """Renders blocks of one plan, for one thread.

    Args:
        plan: The plan; it and its table stay alive as long as the renderer.
    """

    cdef readonly Plan plan
    cdef DirCache dirs
    cdef bint asks_cache        # whether the kernel can say what is in the page cache
    cdef PathBuffer path
    cdef PathBuffer link
    cdef Fault fault

    def __cinit__(self, Plan plan not None):
        self.plan = plan
        self.asks_cache = True
        dirs_init(&self.dirs, plan.table.root, plan.table.root_fd)

    def __dealloc__(self):
        self.close()
        path_free(&self.path)
        path_free(&self.link)
        fault_clear(&self.fault)

    def close(self):
        """Close the directory descriptors. The renderer may go on being used; it opens them again."""
        dirs_close(&self.dirs)

    def render(self, uint64_t number, buffer):
        """Write block `number` to the start of `buffer` and return its size in bytes.

        Args:
            number: Which block, from 0.
            buffer: A writable, contiguous buffer with room for the plan's block size.

        Raises:
            EngineFault: A file could not be read, or is not what was scanned.
            ValueError: The buffer is too small, or the table was closed.
        """
        cdef Py_buffer view
        cdef Block block
        cdef bint done
        if not self.plan.begin_block(number, &block):
            raise IndexError(number)
        if self.plan.table.root_fd < 0:
            raise ValueError("the table is closed")
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            if view.len < block.size:
                raise ValueError(f"a buffer of {view.len} bytes is too small for a block of {block.size}")
            with nogil:
                done = self._render(&block, <char *>view.buf)
        finally:
            PyBuffer_Release(&view)
        if not done:
            raise_fault(&self.fault)
        return block.size

    cdef bint _fail(self, FaultKind kind, int error, const Entry *entry, int64_t found) noexcept nogil:
        self.fault.kind = kind
        self.fault.error = error
        self.fault.expected = entry.size
        self.fault.found = found
        self.fault.path = path_copy(entry, self.plan.table.root, &self.fault.path_size)
        return False

    cdef bint _render(self, const Block *block, char *out) noexcept nogil:
        cdef const Entry *entry = block.entry
        cdef int64_t offset = block.data_offset
        cdef int64_t at = 0, size, gap
        while True:
            if entry == NULL:
                # The trailer: nothing but zeros to the end of the last block.
                memset(out + at, 0, block.size - at)
                return True
            if offset < 0:
                if not self._write_headers(entry, out + at):
                    return False
                at += entry.header_size
                offset = 0
            size = min(data_size(entry) - offset, <int64_t>block.size - at)
            if size > 0:
                if not self._read(entry, offset, out + at, size):
                    return False
                at += size
                offset += size
                if offset == entry.size:
                    gap = -offset & (RECORD - 1)
                    memset(out + at, 0, gap)
                    at += gap
            if at == block.size:
                # What comes after the block may not have been scanned yet.
                return True
            entry = next_entry(entry)
            offset = -1

    cdef bint _write_headers(self, const Entry *entry, char *out) noexcept nogil:
        cdef Header header
        header_fill(&header, entry, &self.plan.policy)
        if not header_names(&header, &self.path, &self.link):
            return self._fail(FAULT_MEMORY, 0, entry, 0)
        header_write(&header, out, entry.header_size)
        return True

    cdef bint _read(self, const Entry *entry, int64_t offset, char *out, int64_t size) noexcept nogil:
        """Read `size` bytes at `offset` of a file, all of them or a fault."""
        cdef int fd = self._open(entry)
        cdef bint done
        if fd < 0:
            return self._fail_to_open(entry)
        done = self._is_unchanged(entry, fd)
        if done:
            if entry.flags & FLAG_SPARSE:
                done = self._read_sparse(entry, fd, offset, out, size)
            else:
                done = self._read_dense(entry, fd, offset, out, size)
            done = done and self._is_unchanged(entry, fd)
        close(fd)
        return done

    cdef int _open(self, const Entry *entry) noexcept nogil:
        cdef int directory
        if entry == self.dirs.root:
            return dirs_again(&self.dirs)
        directory = dirs_open(&self.dirs, entry.parent)
        return -1 if directory < 0 else dirs_openat(&self.dirs, directory, entry.name, OPEN_FILE)

    cdef bint _fail_to_open(self, const Entry *entry) noexcept nogil:
        """A name that is gone, or has become a link, a socket or another directory, has changed; the rest is denied."""
        cdef int error = errno
        if error == ENOENT:
            return self._fail(FAULT_CHANGED, error, entry, -1)
        if error == ESTALE or error == ELOOP or error == ENXIO:
            return self._fail(FAULT_CHANGED, error, entry, entry.size)
        return self._fail(FAULT_OPEN, error, entry, 0)

    cdef bint _is_unchanged(self, const Entry *entry, int fd) noexcept nogil:
        cdef struct_stat status
        if fstat(fd, &status) != 0:
            return self._fail(FAULT_READ, errno, entry, 0)
        if status.st_ino != entry.inode or status.st_dev != entry.device or not S_ISREG(status.st_mode):
            # Another file has its name now.
            return self._fail(FAULT_CHANGED, ESTALE, entry, status.st_size)
        if (
            status.st_size != entry.size or status.st_mtime != entry.mtime
            or mtime_ns(&status) != entry.mtime_ns or status.st_ctime != entry.ctime
            or ctime_ns(&status) != entry.ctime_ns
        ):
            return self._fail(FAULT_CHANGED, 0, entry, status.st_size)
        return True

    cdef bint _read_dense(self, const Entry *entry, int fd, int64_t offset, char *out, int64_t size) noexcept nogil:
        cdef ssize_t got
        while size:
            got = self._read_piece(fd, offset, out, size)
            if got > 0:
                out += got
                offset += got
                size -= got
            elif got == 0:
                # Shorter than its own status says: it shrank a moment ago.
                return self._fail(FAULT_CHANGED, 0, entry, offset)
            elif errno != EINTR:
                return self._fail(FAULT_READ, errno, entry, 0)
        return True

    cdef ssize_t _read_piece(self, int fd, int64_t offset, char *out, int64_t size) noexcept nogil:
        """Read what is in the page cache; where nothing is, say so to whoever reads ahead, and wait for the disk."""
        cdef ssize_t got
        if self.asks_cache:
            got = pread_cached(fd, out, size, offset)
            if got >= 0:
                return got
            if errno == EAGAIN:
                self.plan.note_cold()
            else:
                # EOPNOTSUPP, ENOSYS: a file system or kernel that cannot tell. Other errors will come again.
                self.asks_cache = False
        return pread(fd, out, size, offset)

    cdef bint _read_sparse(self, const Entry *entry, int fd, int64_t offset, char *out, int64_t size) noexcept nogil:
        """Read a file with holes; they become zeros without being read. Without SEEK_DATA the file is one extent."""
        cdef int64_t end = offset + size, data, hole
        while offset < end:
            data = lseek(fd, offset, SEEK_DATA)
            if data < 0:
                # ENXIO: nothing but a hole up to the end of the file.
                if errno != ENXIO:
                    return self._read_dense(entry, fd, offset, out, end - offset)
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
            if not self._read_dense(entry, fd, offset, out, hole - offset):
                return False
            out += hole - offset
            offset = hole
        return True
