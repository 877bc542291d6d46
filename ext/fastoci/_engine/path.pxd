# cython: language_level=3
"""Paths, put together from an entry and its parents when they are needed: the table holds names only."""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from fastoci._engine.entry cimport Entry, KIND_DIRECTORY

cdef struct PathBuffer:
    char *data
    size_t capacity
    size_t prefix_size          # bytes of `data` that are the path of `prefix_of`, its trailing slash included
    const Entry *prefix_of
    const Entry *prefix_top

cdef inline void path_init(PathBuffer *buffer) noexcept nogil:
    """Begin with nothing."""
    memset(buffer, 0, sizeof(PathBuffer))

cdef inline size_t path_size(const Entry *entry, const Entry *top) noexcept nogil:
    """Return the bytes of the path of `entry` beneath `top` (NULL: the top of the layer), without a trailing slash."""
    cdef size_t size = 0
    while entry != top and entry != NULL and entry.name_size:
        size += entry.name_size + 1
        entry = entry.parent
    return size - 1 if size else 0

cdef inline void path_write(char *end, const Entry *entry, const Entry *top) noexcept nogil:
    """Write the path of `entry` so that its last byte stands before `end`."""
    while entry != top and entry != NULL and entry.name_size:
        end -= entry.name_size
        memcpy(end, entry.name, entry.name_size)
        entry = entry.parent
        if entry != top and entry != NULL and entry.name_size:
            end -= 1
            end[0] = b'/'

cdef inline const char *path_of(PathBuffer *buffer, const Entry *entry, const Entry *top, size_t *size) noexcept nogil:
    """Return the path of `entry` beneath `top`, directories with their trailing slash; NULL when memory is short.

    The bytes stand in the buffer until the next call. The path of the parent is kept from call to call: entries come
    in the order of their paths, so most of them share it with the one before.
    """
    cdef size_t prefix, wanted
    cdef char *grown
    if buffer.prefix_of != entry.parent or buffer.prefix_top != top or buffer.data == NULL:
        prefix = path_size(entry.parent, top)
    else:
        prefix = buffer.prefix_size - 1 if buffer.prefix_size else 0
    wanted = prefix + 1 + entry.name_size + 1
    if wanted > buffer.capacity:
        grown = <char *>realloc(buffer.data, wanted * 2)
        if grown == NULL:
            return NULL
        buffer.data = grown
        buffer.capacity = wanted * 2
    if buffer.prefix_of != entry.parent or buffer.prefix_top != top:
        path_write(buffer.data + prefix, entry.parent, top)
        buffer.prefix_of = entry.parent
        buffer.prefix_top = top
        buffer.prefix_size = prefix
        if prefix:
            buffer.data[prefix] = b'/'
            buffer.prefix_size = prefix + 1
    memcpy(buffer.data + buffer.prefix_size, entry.name, entry.name_size)
    size[0] = buffer.prefix_size + entry.name_size
    if entry.kind == KIND_DIRECTORY:
        buffer.data[size[0]] = b'/'
        size[0] += 1
    return buffer.data

cdef inline char *path_copy(const Entry *entry, const Entry *top, size_t *size) noexcept nogil:
    """Return a malloc'ed, NUL-terminated copy of the path beneath `top`, without a trailing slash; NULL at need."""
    cdef char *copy
    size[0] = path_size(entry, top)
    copy = <char *>malloc(size[0] + 1)
    if copy != NULL:
        path_write(copy + size[0], entry, top)
        copy[size[0]] = 0
    return copy

cdef inline void path_free(PathBuffer *buffer) noexcept nogil:
    """Give back the buffer."""
    free(buffer.data)
    buffer.data = NULL
    buffer.capacity = 0
    buffer.prefix_of = NULL
