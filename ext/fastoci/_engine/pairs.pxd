# cython: language_level=3
"""Pairs of files that are the same in all that a scan knows: found by one thread, then compared by several.

The lock guards how many have been taken and given back; a pair that was taken belongs to who took it.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free

from fastoci._engine.entry cimport Entry
from fastoci._engine.pthread cimport (
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
)
from fastoci._engine.room cimport make_room

cdef enum:
    RUN_COUNT = 64              # pairs that are taken at once, at most,
    RUN_SIZE = 1024 * 1024      # and bytes of a file, after which there are no more

cdef struct FilePair:
    Entry *entry
    Entry *base
    uint64_t file               # the number of the file, if it has other names in one of the trees
    bint differs                # noted by who compared the bytes

cdef struct Pairs:
    pthread_mutex_t lock
    FilePair *items
    uint64_t count
    uint64_t capacity
    # Under the lock, when all pairs are known:
    uint64_t taken
    uint64_t done
    bint stopped

cdef inline bint pairs_init(Pairs *pairs) noexcept nogil:
    """Begin with none, all else being zeros. Returns False, with nothing to free, when memory is short."""
    return pthread_mutex_init(&pairs.lock, NULL) == 0

cdef inline void pairs_free(Pairs *pairs) noexcept nogil:
    """Give back what the pairs take; nobody may compare them any more."""
    pthread_mutex_destroy(&pairs.lock)
    free(pairs.items)

cdef inline bint pairs_add(Pairs *pairs, Entry *entry, Entry *base, uint64_t file) noexcept nogil:
    """Add a pair; False when memory is short."""
    if not make_room(<void **>&pairs.items, pairs.count, &pairs.capacity, sizeof(FilePair)):
        return False
    pairs.items[pairs.count] = FilePair(entry, base, file, False)
    pairs.count += 1
    return True

cdef inline uint64_t pairs_take(Pairs *pairs, FilePair **first) noexcept nogil:
    """Set `first` to the first of some that are to be compared and given back, and return how many these are.

    They are of one directory, or else every thread would open every directory, and not much to read. None: there are
    none any more, or all is stopped.
    """
    cdef uint64_t count = 0
    cdef int64_t size = 0
    pthread_mutex_lock(&pairs.lock)
    first[0] = pairs.items + pairs.taken
    while (
        pairs.taken < pairs.count and not pairs.stopped and count < RUN_COUNT and size < RUN_SIZE
        and pairs.items[pairs.taken].entry.parent == first[0].entry.parent
    ):
        size += pairs.items[pairs.taken].entry.size
        count += 1
        pairs.taken += 1
    pthread_mutex_unlock(&pairs.lock)
    return count

cdef inline void pairs_give_back(Pairs *pairs, uint64_t count) noexcept nogil:
    """Say that so many pairs have been compared; what differs has been noted in them."""
    pthread_mutex_lock(&pairs.lock)
    pairs.done += count
    pthread_mutex_unlock(&pairs.lock)

cdef inline void pairs_stop(Pairs *pairs) noexcept nogil:
    """Make everybody who compares end soon."""
    pthread_mutex_lock(&pairs.lock)
    pairs.stopped = True
    pthread_mutex_unlock(&pairs.lock)
