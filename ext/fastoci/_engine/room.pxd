# cython: language_level=3
"""Room in an array that grows by doubling."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport realloc

cdef enum:
    ROOM_FIRST = 64

cdef inline bint make_room(void **items, uint64_t count, uint64_t *capacity, size_t item_size) noexcept nogil:
    """Make sure that an array of `count` items has room for one more; False, with all as it was, at need of memory."""
    cdef uint64_t wanted
    cdef void *grown
    if count < capacity[0]:
        return True
    wanted = 2 * capacity[0] if capacity[0] else ROOM_FIRST
    grown = realloc(items[0], wanted * item_size)
    if grown == NULL:
        return False
    items[0] = grown
    capacity[0] = wanted
    return True
