# cython: language_level=3
from libc.stdint cimport uint8_t, uint32_t

cdef struct Token:
    uint32_t op
    uint32_t value          # a code point, or where a class begins in `ranges`
    uint32_t count          # of a class's ranges

cdef struct Program:
    uint32_t first          # of `tokens`
    uint32_t count

cdef struct Pattern:
    uint32_t first          # of `programs`: any of them may match
    uint32_t count
    bint negated            # `!pattern`

cdef class PatternSet:
    cdef Token *tokens
    cdef Program *programs
    cdef Pattern *patterns
    cdef uint32_t *ranges   # pairs of code points, both ends included
    cdef readonly uint32_t count
    cdef readonly bint has_negations
    cdef uint32_t scratch_size

    cdef bint excludes(self, const char *path, size_t size, const uint8_t *parent, uint8_t *matched,
                       uint8_t *scratch) noexcept nogil
    cdef bint may_readmit(self, const char *directory, size_t size, uint8_t *scratch) noexcept nogil
