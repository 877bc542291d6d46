# cython: language_level=3
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastoci._engine.entry cimport Entry
from fastoci._engine.nodes cimport Node, Nodes
from fastoci._engine.path cimport PathBuffer
from fastoci._engine.pattern cimport PatternSet
from fastoci._engine.table cimport EntryTable
from fastoci._engine.tarhead cimport TarHead

# A file whose bytes are to be hashed, and where these are in the piece.
cdef struct Hashed:
    Node *node
    size_t start
    size_t size

# A directory of the table that is still to be filled.
cdef struct Waiting:
    Entry *entry
    const Node *node            # NULL: there is nothing in it
    const uint8_t *matched      # by which patterns it is; NULL at the top

cdef class LayeredTree:
    cdef readonly EntryTable table
    cdef Nodes nodes
    cdef bint finished
    cdef Hashed *hashed
    cdef uint64_t hashed_count
    cdef uint64_t hashed_capacity
    cdef Waiting *waiting
    cdef uint64_t waiting_count
    cdef uint64_t waiting_capacity

    cdef Node *node_at(self, bytes path, uint8_t kind) except NULL
    cdef int expect_nothing(self) except -1
    cdef int hold(self, size_t size) except -1
    cdef const char *copy(self, bytes data) except NULL
    cdef int fail(self) except -1
    cdef bint put_plain(self, const TarHead *head, size_t at) noexcept nogil
    cdef bint build(self, const Node *top, const uint32_t *names, PatternSet patterns) noexcept nogil
    cdef bint fill(self, const Waiting *one, const uint32_t *names, PatternSet patterns, PathBuffer *path,
                   uint8_t *scratch) noexcept nogil
    cdef const uint8_t *match(self, Entry *entry, const uint8_t *above, PatternSet patterns, PathBuffer *path,
                              uint8_t *scratch) noexcept nogil
