# cython: language_level=3
"""Blocks of zeros: what holes read as, and what a hash need not look at twice."""

from libc.string cimport memcmp

cdef enum:
    ZEROS_BLOCK = 4096

cdef inline bint is_zero_block(const char *data) noexcept nogil:
    """Is a whole block nothing but zeros?"""
    return data[0] == 0 and memcmp(data, data + 1, ZEROS_BLOCK - 1) == 0

cdef inline bint has_zero_block(const char *data, size_t size) noexcept nogil:
    """Is one of the whole blocks of some bytes, counted from their start, nothing but zeros?"""
    cdef size_t at = 0
    while at + ZEROS_BLOCK <= size:
        if is_zero_block(data + at):
            return True
        at += ZEROS_BLOCK
    return False
