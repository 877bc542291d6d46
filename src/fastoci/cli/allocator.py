"""The C library's allocator, told that this is one program and not a library in somebody else's.

glibc gives every thread a heap (arena) of its own, and freed blocks stay in the heap that they came from: with a
compressed block of half a megabyte from each worker the resident set grows by the number of threads, for nothing. So
there are two. And such a block goes back to the kernel as soon as it is freed, only to be asked for again, page by
page, a moment later: 600,000 page faults, a seventh of the work, for a model of 2 GB. So a little stays at hand.
"""

from __future__ import annotations

import ctypes

__all__ = ["tune_allocator"]

_OPTIONS = {  # <malloc.h>
    -8: 2,  # M_ARENA_MAX
    -3: 4 << 20,  # M_MMAP_THRESHOLD: what is smaller comes from a heap
    -1: 8 << 20,  # M_TRIM_THRESHOLD: so much may lie free at a heap's end
}


def tune_allocator() -> bool:
    """Set the allocator's options; must run before the first thread is started.

    Returns:
        Whether the C library took them. musl and others have no `mallopt`: nothing happens there.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    return all(mallopt(option, value) for option, value in _OPTIONS.items())
