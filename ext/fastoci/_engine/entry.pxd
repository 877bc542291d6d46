# cython: language_level=3
"""The entry: what the scan knows of one name in a tree, in 104 bytes beside the name itself.

Entries are plain C structs that point at each other. They, their names, link targets and extended attributes live in
arenas that belong to the EntryTable, are written by one scan thread each, and never move or change once the plan has
been made; from then on any number of threads reads them without a lock.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

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

cdef struct Xattr:
    Xattr *next
    const char *name
    const char *value
    uint32_t name_size
    uint32_t value_size

cdef union Link:
    const char *target      # KIND_SYMLINK: `size` bytes
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

cdef inline const Entry *first_entry(const Entry *root) noexcept nogil:
    """Return the first entry of the layer that a tree's root is in; NULL where it has none.

    Only the top itself may be nameless: no layer has an entry for `/`.
    """
    while root.parent != NULL:
        root = root.parent
    return root if root.name_size else next_entry(root)
