# cython: language_level=3
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastoci._engine.arena cimport Arena
from fastoci._engine.entry cimport Entry
from fastoci._engine.path cimport PathBuffer

cdef class EntryTable:
    cdef readonly bytes source          # the source's path as given, for messages
    cdef int root_fd                    # the table's own; -1 once closed
    cdef Entry *root                    # the source itself, a directory or one file
    cdef Arena *arenas                  # every arena that entries live in, newest first
    cdef bint complete                  # all that there is has been found
    cdef bint planned                   # a plan of all of it has been made or begun, and it takes no other
    cdef bint arranged                  # it is for plans over selections
    cdef readonly uint64_t count        # of the entries that are in order: what has been planned, or all
    cdef const Entry **order            # all of them; NULL until somebody asks for one by its number
    cdef Entry **whiteouts              # in the order in which they were added
    cdef uint64_t whiteout_count
    cdef uint64_t whiteout_capacity
    cdef readonly uint64_t scanned      # entries found by the scan, ancestors of the destination not counted
    cdef readonly uint64_t sockets      # skipped
    cdef readonly bytes first_socket    # the path of one of them, None where there is none

    cdef Arena *new_arena(self) except NULL
    cdef const Entry *_entry(self, uint64_t number) except NULL
    cdef Entry *_whiteout(self, Entry *directory, const char *name, size_t size) noexcept nogil
    cdef int _name(self, Entry *entry, bytes name) except -1
    cdef int _restate(self, Entry *entry, uint32_t mode, uint32_t uid, uint32_t gid, int64_t mtime,
                      dict xattrs) except -1

cdef tuple describe_entry(const Entry *entry)
cdef tuple find_entry(object describe, uint64_t count, bytes path)
