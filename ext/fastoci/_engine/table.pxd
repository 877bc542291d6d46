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
    cdef bint planned                   # a plan has been made of it, and it takes no other
    cdef readonly uint64_t count        # of the entries that the plan has put in order
    cdef const Entry **order            # all of them; NULL until somebody asks for one by its number
    cdef readonly uint64_t scanned      # entries found by the scan, ancestors of the destination not counted
    cdef readonly uint64_t sockets      # skipped
    cdef readonly bytes first_socket    # the path of one of them, None where there is none

    cdef Arena *new_arena(self) except NULL
    cdef const Entry *_entry(self, uint64_t number) except NULL
    cdef bytes _path(self, PathBuffer *buffer, const Entry *entry)
    cdef int _name(self, Entry *entry, bytes name) except -1
    cdef int _restate(self, Entry *entry, uint32_t mode, uint32_t uid, uint32_t gid, int64_t mtime,
                      dict xattrs) except -1
