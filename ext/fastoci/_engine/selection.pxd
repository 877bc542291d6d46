# cython: language_level=3
from libc.stdint cimport uint32_t, uint64_t

from fastoci._engine.arena cimport Arena
from fastoci._engine.entry cimport Entry
from fastoci._engine.table cimport EntryTable

cdef extern from *:
    """
    #define FASTOCI_PASSING 0x80000000u
    """
    # The bit in an entry's number that says: a directory on the way to others, which a later layer has with its time.
    const uint32_t PASSING_BIT "FASTOCI_PASSING"

cdef struct Selection:
    Entry **entries         # in the layer's order; NULL: nothing was ever selected
    uint64_t count
    uint64_t capacity
    const Entry *last       # what came last, as the table has it
    Arena directories       # copies of these, which other selections may have, too

cdef int selection_take(Selection *selection, EntryTable table, object numbers) except -1
cdef void selection_free(Selection *selection) noexcept nogil
