# cython: language_level=3
"""The entry: what the scan knows of one name in a tree, in 104 bytes beside the name itself.

Entries are plain C structs that point at each other. They, their names, link targets and extended attributes live in
arenas that belong to the EntryTable, are written by one scan thread each, and never move or change once the plan has
been made; from then on any number of threads reads them without a lock.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

cdef enum Kind:
    KIND_FILE = 0
    KIND_DIRECTORY = 1
    KIND_SYMLINK = 2
    KIND_HARDLINK = 3
    KIND_CHARACTER = 4
    KIND_BLOCK = 5
    KIND_FIFO = 6

cdef enum Flag:
    # The file holds fewer blocks than its size: its holes are looked for and cost no reading.
    FLAG_SPARSE = 1
    # A directory that the patterns leave out; it is written all the same if something beneath it is kept.
    FLAG_EXCLUDED = 2
    # Not found in the tree but made up as an ancestor of the destination: the policy on owners does not touch it.
    FLAG_SYNTHETIC = 4
    # A directory whose children are known; set under the lock of the scan's queue. The source too, if it is one file.
    FLAG_SCANNED = 8
    # A directory on which another file system is mounted, of which nothing is wanted: it is written, and not read.
    FLAG_MOUNTED = 16
    # Anything but a directory that a plan over a selection has taken: it is in no other one.
    FLAG_TAKEN = 32
    # The same of a directory: that the selection at work only passes through it, and its copy there is without its time.
    FLAG_PASSED = 32
    # In the layer that makes this tree of another one (comparison.pyx).
    FLAG_DIFFERS = 64
    # A directory of an image for which no layer has an entry: nothing is known of its metadata.
    FLAG_IMPLIED = 128

cdef struct Xattr:
    Xattr *next
    const char *name
    const char *value
    uint32_t name_size
    uint32_t value_size

cdef union Link:
    const char *target      # KIND_SYMLINK: `size` bytes
    const char *digest      # KIND_FILE in a table made by a Filler: the SHA-256 of its bytes; else NULL
    Entry *origin           # KIND_HARDLINK: the entry that holds the data
    Entry *children         # KIND_DIRECTORY: `size` of them, contiguous and in the layer's order
    uint64_t device         # KIND_CHARACTER, KIND_BLOCK: st_rdev

cdef struct Entry:
    Entry *parent           # NULL at the top of the layer
    const char *name
    Xattr *xattrs           # in the byte order of their names
    Link link
    int64_t size            # bytes of data, of the link's target, or the count of children
    int64_t mtime
    int64_t ctime
    uint64_t inode
    uint64_t device
    uint32_t mtime_ns
    uint32_t ctime_ns
    uint32_t mode           # the twelve permission bits alone
    uint32_t uid
    uint32_t gid
    uint32_t links          # st_nlink
    uint32_t header_size    # bytes of tar headers, set by the plan
    uint16_t name_size
    uint8_t kind
    uint8_t flags

cdef inline int64_t data_size(const Entry *entry) noexcept nogil:
    """Return the bytes of data that follow the entry's headers, without padding."""
    return entry.size if entry.kind == KIND_FILE else 0

cdef inline const Entry *next_entry(const Entry *entry) noexcept nogil:
    """Return the entry after this one in the layer's order, excluded directories and what they hold left out.

    Names were sorted within each directory, directories as if they ended in a slash: so the order of the paths' bytes
    is that of a walk, each directory before what it holds. NULL after the last one.
    """
    cdef const Entry *parent
    if entry.kind == KIND_DIRECTORY and entry.size and not entry.flags & FLAG_EXCLUDED:
        entry = entry.link.children
        if not entry.flags & FLAG_EXCLUDED:
            return entry
    while True:
        parent = entry.parent
        if parent == NULL:
            return NULL
        entry = entry + 1
        if entry == parent.link.children + parent.size:
            entry = parent
        elif not entry.flags & FLAG_EXCLUDED:
            return entry

cdef inline int sibling_order(const Entry *a, const Entry *b) noexcept nogil:
    """Compare two names of one directory as the layer orders them: directories as if they ended in a slash."""
    cdef uint16_t common = min(a.name_size, b.name_size)
    cdef int difference = memcmp(a.name, b.name, common)
    cdef int after_a, after_b
    if difference:
        return difference
    after_a = <uint8_t>a.name[common] if a.name_size > common else (c'/' if a.kind == KIND_DIRECTORY else 0)
    after_b = <uint8_t>b.name[common] if b.name_size > common else (c'/' if b.kind == KIND_DIRECTORY else 0)
    return after_a - after_b

cdef inline int entry_order(const Entry *a, const Entry *b) noexcept nogil:
    """Compare two entries of one table as the layer orders them; 0: they have the same path."""
    cdef const Entry *above_a = a
    cdef const Entry *above_b = b
    cdef int64_t deeper = 0
    while above_a != NULL:
        deeper += 1
        above_a = above_a.parent
    while above_b != NULL:
        deeper -= 1
        above_b = above_b.parent
    above_a, above_b = a, b
    while deeper > 0:
        above_a = above_a.parent
        deeper -= 1
        if above_a == b:
            return 1
    while deeper < 0:
        above_b = above_b.parent
        deeper += 1
        if above_b == a:
            return -1
    while above_a.parent != above_b.parent:
        above_a, above_b = above_a.parent, above_b.parent
    return sibling_order(above_a, above_b)

cdef inline void readmit(const Entry *directory) noexcept nogil:
    """Let in again every excluded directory that holds something kept, at any depth beneath `directory`."""
    cdef Entry *above
    cdef const Entry *entry = directory
    while True:
        if not entry.flags & FLAG_EXCLUDED:
            above = entry.parent
            while above != NULL and above.flags & FLAG_EXCLUDED:
                above.flags &= ~FLAG_EXCLUDED
                above = above.parent
        if entry.kind == KIND_DIRECTORY and entry.size:
            entry = entry.link.children
            continue
        while entry != directory and entry + 1 == entry.parent.link.children + entry.parent.size:
            entry = entry.parent
        if entry == directory:
            return
        entry = entry + 1

cdef inline const Entry *first_entry(const Entry *root) noexcept nogil:
    """Return the first entry of the layer that a tree's root is in; NULL where it has none.

    Only the top itself may be nameless: no layer has an entry for `/`.
    """
    while root.parent != NULL:
        root = root.parent
    return root if root.name_size else next_entry(root)
