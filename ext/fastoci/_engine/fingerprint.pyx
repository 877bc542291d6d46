# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The facts of a plan's entries as bytes, to be hashed: the same bytes mean the same scan, and so the same layer.

Everything that the layer's bytes depend on is in them, and everything by which a change of a file's content is noticed
(device, inode, both times in nanoseconds). They are written for one machine: numbers as memory has them. The records
come in the layer's order and end where the next begins, so that no two layers have the same bytes.

One thread walks the plan, without the GIL, into a buffer that is its own; Python takes it a piece at a time.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MIN, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from fastoci._engine.entry cimport (
    Entry,
    FLAG_SPARSE,
    FLAG_SYNTHETIC,
    KIND_BLOCK,
    KIND_CHARACTER,
    KIND_HARDLINK,
    KIND_SYMLINK,
    Xattr,
)
from fastoci._engine.path cimport PathBuffer, path_free, path_init, path_of
from fastoci._engine.plan cimport Plan

cdef enum:
    PIECE = 1 << 20     # bytes after which a piece is handed out; one record more at most

cdef struct Record:
    int64_t size
    int64_t mtime
    int64_t ctime
    uint64_t inode
    uint64_t device
    uint64_t special        # a device's number
    uint32_t mtime_ns
    uint32_t ctime_ns
    uint32_t mode
    uint32_t uid
    uint32_t gid
    uint32_t links
    uint32_t kind
    uint32_t flags
    uint32_t path_size
    uint32_t link_size
    uint32_t xattr_count
    uint32_t unused         # so that the structure has no bytes that nobody sets

cdef struct Buffer:
    char *data
    size_t size
    size_t capacity


cdef bint _append(Buffer *buffer, const void *data, size_t size) noexcept nogil:
    cdef size_t wanted = buffer.size + size
    cdef char *grown
    if wanted > buffer.capacity:
        grown = <char *>realloc(buffer.data, wanted * 2)
        if grown == NULL:
            return False
        buffer.data = grown
        buffer.capacity = wanted * 2
    if size:
        memcpy(buffer.data + buffer.size, data, size)
    buffer.size = wanted
    return True


cdef bint _append_sized(Buffer *buffer, const void *data, uint32_t size) noexcept nogil:
    return _append(buffer, &size, sizeof(size)) and _append(buffer, data, size)


cdef bint _add(Buffer *buffer, const Entry *entry, PathBuffer *paths, PathBuffer *links) noexcept nogil:
    """Append the record of one entry; return whether there was memory for it."""
    cdef Record record
    cdef size_t path_size = 0, link_size = 0
    cdef const char *path = path_of(paths, entry, NULL, &path_size)
    cdef const char *link = NULL
    cdef const Xattr *xattr = entry.xattrs
    if path == NULL:
        return False
    memset(&record, 0, sizeof(record))
    if entry.kind == KIND_SYMLINK:
        link, link_size = entry.link.target, entry.size
    elif entry.kind == KIND_HARDLINK:
        link = path_of(links, entry.link.origin, NULL, &link_size)
        if link == NULL:
            return False
    elif entry.kind == KIND_CHARACTER or entry.kind == KIND_BLOCK:
        record.special = entry.link.device
    record.size = entry.size
    record.mtime, record.mtime_ns = entry.mtime, entry.mtime_ns
    record.ctime, record.ctime_ns = entry.ctime, entry.ctime_ns
    record.inode, record.device = entry.inode, entry.device
    record.mode, record.uid, record.gid, record.links = entry.mode, entry.uid, entry.gid, entry.links
    record.kind, record.flags = entry.kind, entry.flags & (FLAG_SPARSE | FLAG_SYNTHETIC)
    record.path_size, record.link_size = path_size, link_size
    while xattr != NULL:
        record.xattr_count += 1
        xattr = xattr.next
    if not (_append(buffer, &record, sizeof(record)) and _append(buffer, path, path_size)
            and _append(buffer, link, link_size)):
        return False
    xattr = entry.xattrs
    while xattr != NULL:
        if not (_append_sized(buffer, xattr.name, xattr.name_size)
                and _append_sized(buffer, xattr.value, xattr.value_size)):
            return False
        xattr = xattr.next
    return True


def facts(Plan plan not None, uint64_t start):
    """Return the facts of the entries from `start` on in pieces: (bytes, the next start, the newest change).

    Args:
        plan: A complete one.
        start: The number of an entry in the layer's order; the count of them gives no bytes.

    Returns:
        About a mebibyte of facts, where the next piece starts, and the newest ctime in this one, in nanoseconds since
        the epoch, None where it has no entry from the tree.

    Raises:
        MemoryError: Memory was short.
    """
    cdef Buffer buffer
    cdef PathBuffer paths, links
    cdef uint64_t number = start
    cdef int64_t newest = INT64_MIN
    cdef const Entry *entry
    cdef const Entry **order
    cdef bint done = True
    if number < plan.count:
        plan._entry(number)     # which puts them in order, if nobody has asked before
    order = <const Entry **>plan.selection.entries if plan.selection.entries != NULL else plan.table.order
    memset(&buffer, 0, sizeof(buffer))
    path_init(&paths)
    path_init(&links)
    try:
        with nogil:
            while number < plan.count and buffer.size < PIECE:
                entry = order[number]
                done = _add(&buffer, entry, &paths, &links)
                if not done:
                    break
                if entry.inode:
                    newest = max(newest, entry.ctime * 1000000000 + entry.ctime_ns)
                number += 1
        if not done:
            raise MemoryError
        data = PyBytes_FromStringAndSize(buffer.data, buffer.size) if buffer.size else b""
    finally:
        free(buffer.data)
        path_free(&paths)
        path_free(&links)
    return data, number, None if newest == INT64_MIN else newest
