# cython: language_level=3
"""A bump allocator: memory that is given out piece by piece and taken back all at once.

An arena belongs to one thread while it is written to. Its first chunk is NULL until something is asked of it. Under
AddressSanitizer every piece has a chunk of its own, or a step from one into the next would not be seen.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef extern from *:
    """
    #ifdef __SANITIZE_ADDRESS__
    #define FASTOCI_CHUNK_SIZE ((size_t)0)
    #else
    #define FASTOCI_CHUNK_SIZE ((size_t)256 * 1024)
    #endif
    """
    const size_t CHUNK_SIZE "FASTOCI_CHUNK_SIZE"

cdef struct Chunk:
    Chunk *next
    size_t used
    size_t capacity

cdef struct Arena:
    Chunk *chunks
    Arena *next

cdef inline void *arena_take(Arena *arena, size_t size, size_t alignment) noexcept nogil:
    """Return `size` bytes aligned to `alignment` (a power of two, at most 16), or NULL when memory is short."""
    cdef Chunk *chunk = arena.chunks
    cdef size_t start, capacity
    if chunk != NULL:
        start = (chunk.used + alignment - 1) & ~(alignment - 1)
        if start + size <= chunk.capacity:
            chunk.used = start + size
            return <uint8_t *>chunk + start
    start = (sizeof(Chunk) + alignment - 1) & ~(alignment - 1)
    capacity = CHUNK_SIZE if start + size <= CHUNK_SIZE // 4 else start + size
    chunk = <Chunk *>malloc(capacity)
    if chunk == NULL:
        return NULL
    chunk.used = start + size
    chunk.capacity = capacity
    if capacity != CHUNK_SIZE and arena.chunks != NULL:
        # A piece too large for a common chunk gets one of its own, behind the one that still has room.
        chunk.next = arena.chunks.next
        arena.chunks.next = chunk
    else:
        chunk.next = arena.chunks
        arena.chunks = chunk
    return <uint8_t *>chunk + start

cdef inline const char *arena_copy(Arena *arena, const char *data, size_t size) noexcept nogil:
    """Return a copy of `size` bytes, unaligned, or NULL when memory is short."""
    cdef char *copy = <char *>arena_take(arena, size if size else 1, 1)
    if copy != NULL:
        memcpy(copy, data, size)
    return copy

cdef inline void arena_free(Arena *arena) noexcept nogil:
    """Give back every chunk."""
    cdef Chunk *chunk = arena.chunks
    cdef Chunk *following
    while chunk != NULL:
        following = chunk.next
        free(chunk)
        chunk = following
    arena.chunks = NULL
