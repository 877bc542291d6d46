# cython: language_level=3
from libc.stdint cimport int64_t, uint16_t, uint32_t

from fastoci._engine.entry cimport Entry
from fastoci._engine.path cimport PathBuffer

cdef enum:
    RECORD = 512
    MODES = 4096            # that twelve bits can say

# What becomes of the facts of an entry on their way into its headers.
cdef struct Policy:
    int64_t uid             # for every entry found in the tree; -1 keeps each its own
    int64_t gid
    int64_t mtime_limit     # later modification times become this one
    int64_t mtime           # of every entry found in the tree, where has_mtime says so
    bint has_mtime
    const uint16_t *modes   # what becomes of each mode: of a directory's, then of another's; NULL keeps them

# What an entry's headers say of it.
cdef struct Header:
    const Entry *entry
    const char *path        # as it stands in the archive: directories end in a slash
    size_t path_size
    const char *link        # of a hard link or symbolic link, else NULL
    size_t link_size
    int64_t size
    int64_t mtime
    uint32_t mode
    uint32_t uid
    uint32_t gid

cdef int policy_fill(Policy *policy, int64_t uid, int64_t gid, object mtime_limit, object mtime,
                     bytes modes) except -1
cdef void header_fill(Header *header, const Entry *entry, const Policy *policy) noexcept nogil
cdef bint header_names(Header *header, PathBuffer *path, PathBuffer *link) noexcept nogil
cdef int64_t header_size(const Header *header) noexcept nogil
cdef void header_write(const Header *header, char *out, size_t size) noexcept nogil

cdef inline int64_t padded(int64_t size) noexcept nogil:
    """Return `size` rounded up to whole records of 512 bytes."""
    return (size + RECORD - 1) & ~<int64_t>(RECORD - 1)
