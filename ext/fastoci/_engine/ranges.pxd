# cython: language_level=3
"""Owners that become others: ranges of numbers in the image, and where they begin on this host."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc

cdef struct Range:
    uint64_t inside
    uint64_t outside
    uint64_t count

cdef struct Ranges:
    Range *items
    size_t count            # 0: every number stays what it is

cdef inline bint range_of(const Ranges *ranges, uint32_t *number) noexcept nogil:
    """Replace a number by what it is on this host; False: nothing is said of it."""
    cdef size_t at
    if ranges.count == 0:
        return True
    for at in range(ranges.count):
        if ranges.items[at].inside <= number[0] < ranges.items[at].inside + ranges.items[at].count:
            number[0] = <uint32_t>(number[0] - ranges.items[at].inside + ranges.items[at].outside)
            return True
    return False

cdef inline int ranges_take(Ranges *ranges, mappings) except -1:
    """Take over Python's, each `(inside, outside, count)`; whoever has the ranges frees their items."""
    cdef size_t at
    ranges.items = <Range *>calloc(max(1, len(mappings)), sizeof(Range))
    if ranges.items == NULL:
        raise MemoryError("there is no memory for the mappings")
    for at, (inside, outside, count) in enumerate(mappings):
        ranges.items[at].inside = inside
        ranges.items[at].outside = outside
        ranges.items[at].count = count
    ranges.count = len(mappings)
    return 0
