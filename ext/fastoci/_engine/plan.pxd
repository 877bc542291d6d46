# cython: language_level=3
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastoci._engine.blocks cimport Block, BlockList
from fastoci._engine.entry cimport Entry
from fastoci._engine.fault cimport Fault, FaultKind
from fastoci._engine.header cimport Header, Policy
from fastoci._engine.links cimport LinkSet
from fastoci._engine.path cimport PathBuffer
from fastoci._engine.pthread cimport pthread_cond_t, pthread_mutex_t
from fastoci._engine.scanner cimport Scanner
from fastoci._engine.selection cimport Selection
from fastoci._engine.table cimport EntryTable

cdef class Plan:
    cdef readonly EntryTable table
    cdef Scanner scanner        # that fills the table meanwhile; None: it is full
    cdef Policy policy
    cdef bytes modes            # what policy.modes points into
    cdef readonly uint32_t block_size
    cdef Selection selection    # of the table's entries; with none it is of all of them
    cdef readonly uint64_t count    # entries that are planned
    cdef LinkSet links
    cdef bint found             # something in the tree itself, not only directories above it
    cdef int64_t newest
    cdef bint one_owner
    cdef uint32_t owner_uid
    cdef uint32_t owner_gid
    cdef const Entry *open_entry    # of the open block: its first entry,
    cdef uint32_t open_first        # that one's number,
    cdef int64_t open_size          # and the bytes in it
    cdef Fault fault

    cdef bint ready
    cdef pthread_mutex_t lock
    cdef pthread_cond_t grown       # there are more blocks, or there will be none any more
    cdef pthread_cond_t wanted      # whoever reads ahead has something to do, or nothing any more
    # Under the lock:
    cdef BlockList blocks
    cdef uint64_t begun             # blocks that a renderer has begun with, up to the last of them
    cdef bint cold                  # a renderer has waited for a disk
    cdef bint ended                 # complete, or given up
    cdef bint stopped

    cdef const Entry *_entry(self, uint64_t number) except NULL
    cdef const Entry *following(self, const Entry *entry, uint64_t *number) noexcept nogil
    cdef bint fail(self, FaultKind kind, const Entry *entry, int64_t expected, int64_t found) noexcept nogil
    cdef bint plan_all(self) noexcept nogil
    cdef bint plan_tree(self, PathBuffer *path_buffer, PathBuffer *link_buffer) noexcept nogil
    cdef bint await_scan(self, const Entry *directory) noexcept nogil
    cdef bint await_all(self) noexcept nogil
    cdef bint add(self, Entry *entry, PathBuffer *path_buffer, PathBuffer *link_buffer) noexcept nogil
    cdef void note(self, const Header *header) noexcept nogil
    cdef bint place(self, const Header *header) noexcept nogil
    cdef bint finish(self) noexcept nogil
    cdef bint close_block(self) noexcept nogil
    cdef bint add_blocks(self, const Entry *entry, uint32_t first, bint is_data, int64_t size) noexcept nogil
    cdef void end(self) noexcept nogil
    cdef bint begin_block(self, uint64_t number, Block *block) noexcept nogil
    cdef void note_cold(self) noexcept nogil
