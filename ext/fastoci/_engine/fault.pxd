# cython: language_level=3
"""A fault: what went wrong in code that knows no Python, kept until the Python face raises it.

The first fault of a piece of work wins; later ones are dropped. `path` is malloc'ed and freed by whoever takes it.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free

cdef enum FaultKind:
    FAULT_NONE = 0
    FAULT_MEMORY = 1
    FAULT_OPEN_DIRECTORY = 2
    FAULT_READ_DIRECTORY = 3
    FAULT_STAT = 4
    FAULT_READ_LINK = 5
    FAULT_XATTR = 6
    FAULT_XATTR_NAME = 7
    FAULT_WHITEOUT_NAME = 8
    FAULT_OPEN = 9
    FAULT_READ = 10
    FAULT_CHANGED = 11
    FAULT_HEADERS = 12
    FAULT_WRITE = 13
    FAULT_SIZE = 14

cdef struct Fault:
    FaultKind kind
    int error               # errno, or 0
    int64_t expected        # FAULT_CHANGED: the size as scanned; FAULT_HEADERS, FAULT_SIZE: the bytes there is room for
    int64_t found           # FAULT_CHANGED: the size now, -1 where it is gone; FAULT_HEADERS, FAULT_SIZE: those wanted
    char *path              # relative to the source; of FAULT_WRITE as the archive has it
    size_t path_size

cdef inline void fault_clear(Fault *fault) noexcept nogil:
    """Forget a fault and free what it holds."""
    free(fault.path)
    fault.path = NULL
    fault.kind = FAULT_NONE
    fault.error = 0
