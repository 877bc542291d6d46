# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""A look at a block's bytes: are they spread so evenly that an entropy coder gains nothing?"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    RUN = 4096              # bytes looked at together
    STRIDE = 8 * RUN        # from the start of one run to the start of the next


cdef uint64_t _equal_pairs(const uint32_t counts[4][256]) noexcept nogil:
    """Return how many ordered pairs of two of the counted bytes are equal."""
    cdef uint64_t pairs = 0, count
    cdef int value
    for value in range(256):
        count = <uint64_t>counts[0][value] + counts[1][value] + counts[2][value] + counts[3][value]
        # A byte is no pair with itself: in small samples that alone would look like two per cent and more.
        pairs += count * (count - 1) if count else 0
    return pairs


cdef bint _is_even(const uint8_t *data, size_t size) noexcept nogil:
    # Four tables, so that equal bytes in a row do not wait for each other's counts.
    cdef uint32_t counts[4][256]
    cdef size_t start = 0, at
    cdef uint64_t total, limit
    if size < RUN:
        return False
    total = ((size - RUN) // STRIDE + 1) * RUN
    if total < 2 * RUN:
        return False
    # 256 x the chance that two of the bytes are equal: 1 for even data. 2 % above it is 7.97 bits of collision entropy.
    limit = total * (total - 1) * 102 // (256 * 100)
    memset(counts, 0, sizeof(counts))
    while start + RUN <= size:
        for at in range(start, start + RUN, 4):
            counts[0][data[at]] += 1
            counts[1][data[at + 1]] += 1
            counts[2][data[at + 2]] += 1
            counts[3][data[at + 3]] += 1
        # The pairs only grow in number: of data that compresses well a few runs say enough.
        if _equal_pairs(counts) > limit:
            return False
        start += STRIDE
    return True


def is_even(data):
    """Return whether a sample of an eighth of the bytes is spread evenly over all 256 values.

    Repeated stretches are not noticed: whoever asks tries to compress a part as well. Under 36 KiB the answer is no.
    """
    cdef Py_buffer view
    cdef bint even
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        with nogil:
            even = _is_even(<const uint8_t *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
    return even
