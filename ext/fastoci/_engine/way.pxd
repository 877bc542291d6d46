# cython: language_level=3
"""The way from the root to a directory, and up and down from there: one name a step, and never through a symbolic link.

Only the last descriptors on it are held; one that was given up is found again from the root.
"""

from libc.errno cimport errno
from libc.stdint cimport uint64_t
from posix.unistd cimport close

from fastoci._engine.kernel cimport OPEN_DIRECTORY, openat, set_errno
from fastoci._engine.later cimport Later

cdef enum:
    WAY_OPEN = 64       # descriptors: a path may have two thousand parts, and a process a thousand descriptors

cdef struct Way:
    int root
    uint64_t depth      # of the directory at hand; 0: the root
    uint64_t open       # how many descriptors there are, the last ones on the way
    int fds[WAY_OPEN]   # each at its depth modulo their number

cdef inline void way_init(Way *way, int root) noexcept nogil:
    """Begin at the root, whose descriptor is the caller's."""
    way.root = root
    way.depth = way.open = 0

cdef inline int way_fd(const Way *way) noexcept nogil:
    """Return the descriptor of the directory at hand."""
    return way.fds[way.depth % WAY_OPEN] if way.depth else way.root

cdef inline bint way_down(Way *way, const Later *later) noexcept nogil:
    """Go down to a directory in the one at hand; False, with errno: there is no such directory."""
    cdef int fd = openat(way_fd(way), later.name, OPEN_DIRECTORY)
    if fd < 0:
        return False
    way.depth += 1
    if way.open == WAY_OPEN:
        close(way_fd(way))
    else:
        way.open += 1
    way.fds[way.depth % WAY_OPEN] = fd
    return True

cdef inline void way_close(Way *way) noexcept nogil:
    """Close all descriptors but the root's; nothing is asked of the way after it."""
    while way.open:
        close(way_fd(way))
        way.depth -= 1
        way.open -= 1

cdef inline bint way_up(Way *way, const Later *above) noexcept nogil:
    """Go up to the directory above; False, with errno: it is there no longer, and the way is at the root."""
    cdef uint64_t depth = way.depth - 1, level
    cdef const Later *one
    cdef int error
    close(way_fd(way))
    way.depth = depth
    way.open -= 1
    if way.open or depth == 0:
        return True
    # Its descriptor was given up further down: begin again.
    way.depth = 0
    while way.depth < depth:
        one = above
        for level in range(depth - way.depth - 1):
            one = one.above
        if not way_down(way, one):
            error = errno
            way_close(way)
            way.depth = 0
            set_errno(error)
            return False
    return True
