# cython: language_level=3
from libc.stdint cimport int64_t

from fastoci._engine.dirs cimport DirCache
from fastoci._engine.entry cimport Entry
from fastoci._engine.fault cimport Fault, FaultKind
from fastoci._engine.table cimport EntryTable

cdef class FileReader:
    cdef readonly EntryTable table
    cdef DirCache dirs
    cdef bint asks_cache        # whether the kernel can say what is in the page cache
    cdef Fault fault

    cdef void begin(self, EntryTable table) noexcept
    cdef bint fail(self, FaultKind kind, int error, const Entry *entry, int64_t found) noexcept nogil
    cdef void note_wait(self) noexcept nogil
    cdef int open(self, const Entry *entry) noexcept nogil
    cdef bint read(self, const Entry *entry, int64_t offset, char *out, int64_t size) noexcept nogil
    cdef bint read_from(self, const Entry *entry, int fd, int64_t offset, char *out, int64_t size) noexcept nogil
    cdef bint is_unchanged(self, const Entry *entry, int fd) noexcept nogil
    cdef bint fail_to_open(self, const Entry *entry) noexcept nogil
    cdef bint read_dense(self, const Entry *entry, int fd, int64_t offset, char *out, int64_t size) noexcept nogil
    cdef ssize_t read_piece(self, int fd, int64_t offset, char *out, int64_t size) noexcept nogil
    cdef bint read_sparse(self, const Entry *entry, int fd, int64_t offset, char *out, int64_t size) noexcept nogil
