# cython: language_level=3
from libc.stdint cimport uint64_t, uint8_t

from fastoci._engine.arena cimport Arena
from fastoci._engine.dirs cimport DirCache
from fastoci._engine.entry cimport Entry
from fastoci._engine.fault cimport Fault, FaultKind
from fastoci._engine.path cimport PathBuffer
from fastoci._engine.pattern cimport PatternSet
from fastoci._engine.queue cimport Job, Queue
from fastoci._engine.table cimport EntryTable
from fastoci._engine.xattrs cimport XattrWay

# What one thread has to itself.
cdef struct Worker:
    DirCache dirs
    PathBuffer path
    Arena *arena
    XattrWay xattr_way
    char *buffer                # directory entries, an attribute's names, a value, a link's target: cut from one piece
    Entry *found                # the entries of the directory at work
    size_t found_count
    size_t found_capacity
    uint8_t *scratch            # for the patterns

cdef class Scanner:
    cdef readonly EntryTable table
    cdef PatternSet patterns
    cdef bint with_xattrs
    cdef bint keep_whiteouts
    cdef bint one_file_system
    cdef int first_xattr_way
    cdef uint64_t cold_after
    cdef bint ready
    cdef Queue queue
    # Under the queue's lock:
    cdef Fault fault
    cdef uint64_t entries
    cdef uint64_t sockets
    cdef char *first_socket
    cdef uint64_t waited        # directories that a disk was waited for
    cdef bint asked             # for more threads, by one of those that run

    cdef void fail(self, FaultKind kind, int error, const Entry *parent, const char *name) noexcept nogil
    cdef bint wants_help(self) noexcept nogil
    cdef bint give(self, Entry *directory, bint waited=*) noexcept nogil
    cdef bint note_socket(self, const Entry *parent, const char *name) noexcept nogil
    cdef bint fill_root(self, Worker *worker, int fd) noexcept nogil
    cdef bint scan_directory(self, Worker *worker, const Job *job) noexcept nogil
    cdef int scan_name(self, Worker *worker, const Job *job, int fd, const char *name) noexcept nogil
    cdef bint may_hold_kept(self, Worker *worker, int fd, Entry *entry) noexcept nogil
    cdef bint fill(self, Worker *worker, int fd, const char *name, Entry *entry) noexcept nogil
