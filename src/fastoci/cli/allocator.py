"""The C library's allocator, told that this is one program and not a library in somebody else's.

glibc gives every thread a heap (arena) of its own, and freed blocks stay in the heap that they came from: with a
compressed block of half a megabyte from each worker the resident set grows by the number of threads, for nothing.
"""

from __future__ import annotations

import ctypes

__all__ = ["limit_arenas"]

_M_ARENA_MAX = -8  # <malloc.h>
_ARENAS = 2


def limit_arenas() -> bool:
    """Limit the number of malloc arenas; must run before the first thread is started.

    Returns:
        Whether the C library took the limit. musl and others have no `mallopt`: nothing happens there.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    return bool(mallopt(_M_ARENA_MAX, _ARENAS))
