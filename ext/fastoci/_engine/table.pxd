# cython: language_level=3
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastoci._engine.arena cimport Arena
from fastoci._engine.entry cimport Entry
from fastoci._engine.path cimport PathBuffer

cdef class EntryTable:
    cdef readonly bytes source          # the source's path as given, for messages
    cdef int root_fd                    # the table's own; -1 once closed
    cdef Entry *root                    # the source itself, a directory
    cdef Arena *arenas                  # every arena that entries live in, newest first
    cdef Entry **order                  # the entries in the layer's order, set by the plan
    cdef readonly uint64_t count        # of them
    cdef readonly uint64_t scanned      # entries found by the scan, ancestors of the destination not counted
    cdef readonly uint64_t sockets      # skipped
    cdef readonly bytes first_socket    # the path of one of them, None where there is none

    cdef Arena *new_arena(self) except NULL
    cdef bytes _path(self, PathBuffer *buffer, const Entry *entry)
    cdef int _name(self, Entry *entry, bytes name) except -1
    cdef int _restate(self, Entry *entry, uint32_t mode, uint32_t uid, uint32_t gid, int64_t mtime,
                      dict xattrs) except -1
