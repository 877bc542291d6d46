# cython: language_level=3
"""What directories are to be in the end, as a tree of them: each knows the one above it, and is found by its path.

One thread uses it. A directory is found by the hash of its path, which is begun from a number that no archive knows,
and then by its name and the one above it, so that two of the same hash are not taken for each other.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from fastoci._engine.arena cimport Arena, arena_free, arena_take
from fastoci._engine.pending cimport hash_bytes

cdef enum:
    LATER_SLOTS = 1 << 10   # at first

cdef enum Known:
    KNOWN_NOT           # it is on the way to others, and that is all
    KNOWN_TIME          # its time is to be put back
    KNOWN_ENTRY         # it is to be what an entry says

cdef struct Later:
    Later *above
    Later *beneath      # one of those in it
    Later *beside       # the next one in the same directory
    Later *next         # the next one in the same slot
    uint64_t hash       # of its path and the slash after it
    uint64_t inode      # which directory it is: another one may stand there by then
    int64_t seconds     # its modification time
    uint32_t nanoseconds
    uint32_t mode
    uint32_t uid
    uint32_t gid
    uint32_t entry      # which of Python's it is; 0: none, all is said here
    uint32_t name_size
    Known known
    char *name          # ended by a NUL; stands behind this

cdef struct Laters:
    Arena arena
    Later root
    Later **slots
    uint64_t size       # of slots, a power of two
    uint64_t count

cdef inline bint laters_init(Laters *laters, uint64_t basis) noexcept nogil:
    """Begin with the root, of which nothing is known. False, with nothing to free: memory is short."""
    memset(laters, 0, sizeof(Laters))
    laters.root.hash = basis
    laters.size = LATER_SLOTS
    laters.slots = <Later **>calloc(laters.size, sizeof(Later *))
    return laters.slots != NULL

cdef inline void laters_free(Laters *laters) noexcept nogil:
    """Give back all of it."""
    arena_free(&laters.arena)
    free(laters.slots)
    laters.slots = NULL

cdef inline uint64_t later_hash(const Later *above, const char *name, size_t size) noexcept nogil:
    """Return the hash of the path of a name in a directory."""
    return hash_bytes(above.hash, name, size)

cdef inline Later *later_find(
    const Laters *laters, const Later *above, const char *name, size_t size, uint64_t hash
) noexcept nogil:
    """Return the directory of a name in another, whose path has that hash; NULL: nothing was said of it."""
    cdef Later *one
    hash = hash_bytes(hash, b"/", 1)
    one = laters.slots[hash >> 16 & (laters.size - 1)]
    while one != NULL:
        if one.hash == hash and one.above == above and one.name_size == size and memcmp(one.name, name, size) == 0:
            return one
        one = one.next
    return NULL

cdef inline bint _grow(Laters *laters) noexcept nogil:
    """Have as many slots as directories; False, with all as it was: memory is short."""
    cdef uint64_t size = 2 * laters.size, slot, at
    cdef Later *one
    cdef Later *next
    cdef Later **slots = <Later **>calloc(size, sizeof(Later *))
    if slots == NULL:
        return False
    for at in range(laters.size):
        one = laters.slots[at]
        while one != NULL:
            next = one.next
            slot = one.hash >> 16 & (size - 1)
            one.next = slots[slot]
            slots[slot] = one
            one = next
    free(laters.slots)
    laters.slots = slots
    laters.size = size
    return True

cdef inline Later *later_get(
    Laters *laters, Later *above, const char *name, size_t size, uint64_t hash
) noexcept nogil:
    """Return the same, added where nothing was said of it; NULL: memory is short."""
    cdef uint64_t slot
    cdef Later *one = later_find(laters, above, name, size, hash)
    if one != NULL:
        return one
    if laters.count >= laters.size and not _grow(laters):
        return NULL
    one = <Later *>arena_take(&laters.arena, sizeof(Later) + size + 1, 8)
    if one == NULL:
        return NULL
    memset(one, 0, sizeof(Later))
    one.name = <char *>(one + 1)
    memcpy(one.name, name, size)
    one.name[size] = 0
    one.name_size = <uint32_t>size
    one.hash = hash_bytes(hash, b"/", 1)
    one.above = above
    one.beside = above.beneath
    above.beneath = one
    slot = one.hash >> 16 & (laters.size - 1)
    one.next = laters.slots[slot]
    laters.slots[slot] = one
    laters.count += 1
    return one
