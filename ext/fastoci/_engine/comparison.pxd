# cython: language_level=3
from libc.stdint cimport uint64_t

from fastoci._engine.entry cimport Entry
from fastoci._engine.header cimport Policy
from fastoci._engine.links cimport LinkSet
from fastoci._engine.pairs cimport Pairs
from fastoci._engine.table cimport EntryTable

# Two directories of one path; of a new one `base` is NULL.
cdef struct DirectoryPair:
    Entry *entry
    const Entry *base

# A file of the tree with other names, there or in the base.
cdef struct LinkGroup:
    uint64_t base           # the one file of the base that all of its names are there; NO_FILE: none
    bint differs
    bint asked              # one of its names is among the pairs
    bint settled

cdef struct LinkName:
    Entry *entry
    uint64_t file

cdef class Comparison:
    cdef readonly EntryTable table
    cdef readonly EntryTable base
    cdef Policy policy
    cdef Policy base_policy
    cdef bytes modes            # what the policies point into
    cdef bint may_hide
    cdef bint made              # `run` has come to its end
    cdef bint ready
    cdef DirectoryPair *directories     # still to be compared
    cdef uint64_t directory_count
    cdef uint64_t directory_capacity
    cdef const Entry **gone     # names of the base in the directory at work
    cdef uint64_t gone_count
    cdef uint64_t gone_capacity
    cdef LinkSet links
    cdef LinkSet base_links
    cdef LinkGroup *groups      # by the number of the file
    cdef uint64_t group_count
    cdef uint64_t group_capacity
    cdef LinkName *names
    cdef uint64_t name_count
    cdef uint64_t name_capacity
    cdef Pairs pairs

    cdef bint compare(self) noexcept nogil
    cdef bint compare_directories(self, Entry *entry, const Entry *base) noexcept nogil
    cdef bint remove(self, Entry *entry) noexcept nogil
    cdef bint match(self, Entry *entry, Entry *base) noexcept nogil
    cdef bint add(self, Entry *entry) noexcept nogil
    cdef bint note_link(self, Entry *entry, Entry *base, bint same) noexcept nogil
    cdef bint ask(self, Entry *entry, Entry *base, uint64_t file) noexcept nogil
    cdef bint is_same(self, const Entry *entry, const Entry *base) noexcept nogil
    cdef bint push(self, Entry *entry, const Entry *base) noexcept nogil
    cdef bint settle_links(self) noexcept nogil
