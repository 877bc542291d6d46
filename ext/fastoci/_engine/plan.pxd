# cython: language_level=3
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastoci._engine.entry cimport Entry
from fastoci._engine.fault cimport Fault, FaultKind
from fastoci._engine.header cimport Policy
from fastoci._engine.path cimport PathBuffer
from fastoci._engine.table cimport EntryTable

cdef struct Block:
    int64_t tar_offset
    int64_t data_offset     # in the data of its first entry; -1: it begins with that entry's headers
    uint32_t first          # the number of its first entry; the count of entries: the trailer
    uint32_t size

cdef class Plan:
    cdef readonly EntryTable table
    cdef Policy policy
    cdef readonly uint32_t block_size
    cdef Block *blocks
    cdef readonly uint64_t block_count
    cdef uint64_t block_capacity
    cdef readonly int64_t tar_size
    cdef bint found             # something in the tree itself, not only directories above it
    cdef int64_t newest
    cdef bint one_owner
    cdef uint32_t owner_uid
    cdef uint32_t owner_gid
    cdef Fault fault

    cdef bint fail(self, FaultKind kind, const Entry *entry, int64_t expected, int64_t found) noexcept nogil
    cdef bint order(self) noexcept nogil
    cdef bint link(self) noexcept nogil
    cdef bint measure(self) noexcept nogil
    cdef bint cut(self) noexcept nogil
    cdef bint add_block(self, uint32_t first, int64_t data_offset, int64_t size) noexcept nogil
