# cython: language_level=3
"""The paths whose files may not be written yet, as a set of hashes. It may be wrong in one way alone: to name too many.

Whoever wants to make, change or remove what stands at one of them waits for the writers first. One thread uses it.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    PENDING_SLOTS = 1 << 15
    PENDING_MOST = 1 << 14      # half of the slots: a search ends soon

cdef struct Pending:
    uint64_t hashes[PENDING_SLOTS]  # 0: free
    uint32_t used[PENDING_MOST]     # the slots that are not, so that forgetting costs what remembering did
    uint32_t count

cdef inline uint64_t hash_bytes(uint64_t hash, const char *data, size_t size) noexcept nogil:
    """FNV-1a, from a basis that no archive knows."""
    cdef size_t at
    for at in range(size):
        hash = (hash ^ <unsigned char>data[at]) * <uint64_t>0x100000001B3
    return hash

cdef inline uint32_t _slot(const Pending *pending, uint64_t hash) noexcept nogil:
    cdef uint32_t slot = <uint32_t>(hash >> 32) & (PENDING_SLOTS - 1)
    while pending.hashes[slot] != 0 and pending.hashes[slot] != hash:
        slot = (slot + 1) & (PENDING_SLOTS - 1)
    return slot

cdef inline bint pending_has(const Pending *pending, uint64_t hash) noexcept nogil:
    """Is it there, or another path of the same hash?"""
    return pending.count != 0 and pending.hashes[_slot(pending, hash | 1)] != 0

cdef inline bint pending_add(Pending *pending, uint64_t hash) noexcept nogil:
    """Add a path. False: it is there already, or there is no room."""
    cdef uint32_t slot
    if pending.count == PENDING_MOST:
        return False
    slot = _slot(pending, hash | 1)
    if pending.hashes[slot] != 0:
        return False
    pending.hashes[slot] = hash | 1
    pending.used[pending.count] = slot
    pending.count += 1
    return True

cdef inline void pending_clear(Pending *pending) noexcept nogil:
    """Forget all of them."""
    cdef uint32_t at
    for at in range(pending.count):
        pending.hashes[pending.used[at]] = 0
    pending.count = 0
