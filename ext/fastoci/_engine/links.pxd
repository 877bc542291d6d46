# cython: language_level=3
"""Hard links: which names of a tree are one file. The first one that is asked about is the file.

A set of entries by what makes them one file, open addressing, at most half full. The files are numbered from 0 on, in
the order in which they were first asked about. One thread owns it.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

from fastoci._engine.entry cimport Entry, KIND_BLOCK, KIND_CHARACTER, KIND_SYMLINK

cdef enum:
    LINKS_FIRST = 64

cdef struct LinkedFile:
    Entry *first                # NULL: nothing stands here
    uint64_t number

cdef struct LinkSet:
    LinkedFile *slots
    uint64_t capacity           # a power of two, or 0
    uint64_t count

cdef inline uint64_t _hash(const Entry *entry) noexcept nogil:
    cdef uint64_t mixed = (entry.inode ^ entry.device << 40) * <uint64_t>0x9E3779B97F4A7C15
    return mixed ^ mixed >> 29

cdef inline bint is_same_file(const Entry *a, const Entry *b) noexcept nogil:
    """Return whether two names are hard links of one file; inode numbers alone are reused by 9p and FUSE."""
    if (
        a.device != b.device or a.inode != b.inode or a.kind != b.kind or a.size != b.size or a.mode != b.mode
        or a.uid != b.uid or a.gid != b.gid or a.mtime != b.mtime or a.mtime_ns != b.mtime_ns or a.ctime != b.ctime
        or a.ctime_ns != b.ctime_ns
    ):
        return False
    if a.kind == KIND_SYMLINK:
        return memcmp(a.link.target, b.link.target, a.size) == 0
    if a.kind == KIND_CHARACTER or a.kind == KIND_BLOCK:
        return a.link.device == b.link.device
    return True

cdef inline LinkedFile *_slot(const LinkSet *links, const Entry *entry) noexcept nogil:
    """Return where the entry's file stands, or where it is to stand."""
    cdef uint64_t slot = _hash(entry) & (links.capacity - 1)
    while links.slots[slot].first != NULL and not is_same_file(links.slots[slot].first, entry):
        slot = (slot + 1) & (links.capacity - 1)
    return &links.slots[slot]

cdef inline bint _grow(LinkSet *links) noexcept nogil:
    cdef LinkSet larger
    cdef uint64_t slot
    larger.capacity = 2 * links.capacity if links.capacity else LINKS_FIRST
    larger.count = links.count
    larger.slots = <LinkedFile *>calloc(larger.capacity, sizeof(LinkedFile))
    if larger.slots == NULL:
        return False
    for slot in range(links.capacity):
        if links.slots[slot].first != NULL:
            _slot(&larger, links.slots[slot].first)[0] = links.slots[slot]
    free(links.slots)
    links[0] = larger
    return True

cdef inline const LinkedFile *links_find(LinkSet *links, Entry *entry) noexcept nogil:
    """Return the file that an entry is, until the next call; a new one where no entry of it was asked about before.

    NULL when memory is short.
    """
    cdef LinkedFile *slot
    if 2 * links.count >= links.capacity and not _grow(links):
        return NULL
    slot = _slot(links, entry)
    if slot.first == NULL:
        slot.first = entry
        slot.number = links.count
        links.count += 1
    return slot

cdef inline void links_free(LinkSet *links) noexcept nogil:
    """Give back the set; it is empty again."""
    free(links.slots)
    memset(links, 0, sizeof(LinkSet))
