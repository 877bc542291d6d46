# cython: language_level=3
"""A bounded cache of directory descriptors: how a thread reaches an entry without resolving a path twice.

Every directory is opened from its parent's descriptor with O_NOFOLLOW and compared with what the scan saw, so that a
directory that was replaced while the tree is packed (by a symlink, say) is noticed and never followed. A descriptor
that fell out of the cache is opened again from the nearest ancestor that is still there. One thread, one cache.

Every thread of a build has one, and a process may often have no more than 1024 descriptors, of which others want some:
so a cache keeps a 64th of the limit at most, and lets go of what it can when there are none left.
"""

from libc.errno cimport ELOOP, EMFILE, ENFILE, ENOTDIR, ESTALE, errno
from libc.stdint cimport uint64_t
from posix.fcntl cimport fcntl
from posix.stat cimport struct_stat
from posix.unistd cimport close

from fastoci._engine.entry cimport Entry
from fastoci._engine.kernel cimport F_DUPFD_CLOEXEC, OPEN_DIRECTORY, fstat, openat, set_errno

cdef extern from "<sys/resource.h>" nogil:
    struct rlimit:
        unsigned long long rlim_cur
    int getrlimit(int resource, rlimit *limit)
    int RLIMIT_NOFILE

cdef enum:
    DIRS_SLOTS = 48
    DIRS_LEAST = 4

cdef struct DirCache:
    const Entry *root
    int root_fd                     # borrowed from the table
    uint64_t clock
    const Entry *last
    int last_fd
    int slots                       # that are used
    const Entry *entries[DIRS_SLOTS]
    int fds[DIRS_SLOTS]
    uint64_t used[DIRS_SLOTS]

cdef inline void dirs_init(DirCache *cache, const Entry *root, int root_fd) noexcept nogil:
    """Begin with the root's descriptor alone."""
    cdef rlimit limit
    cdef int slot
    cache.slots = DIRS_SLOTS
    if getrlimit(RLIMIT_NOFILE, &limit) == 0:
        cache.slots = <int>max(<unsigned long long>DIRS_LEAST, min(<unsigned long long>DIRS_SLOTS, limit.rlim_cur // 64))
    cache.root = root
    cache.root_fd = root_fd
    cache.clock = 0
    cache.last = NULL
    for slot in range(DIRS_SLOTS):
        cache.entries[slot] = NULL

cdef inline void dirs_close(DirCache *cache) noexcept nogil:
    """Close every descriptor but the root's."""
    cdef int slot
    for slot in range(DIRS_SLOTS):
        if cache.entries[slot] != NULL:
            close(cache.fds[slot])
            cache.entries[slot] = NULL
    cache.last = NULL

cdef inline int dirs_lookup(DirCache *cache, const Entry *directory) noexcept nogil:
    """Return the descriptor if it is in the cache, else -1."""
    cdef int slot
    if directory == cache.root:
        return cache.root_fd
    for slot in range(DIRS_SLOTS):
        if cache.entries[slot] == directory:
            cache.clock += 1
            cache.used[slot] = cache.clock
            return cache.fds[slot]
    return -1

cdef inline int dirs_openat(DirCache *cache, int directory, const char *name, int flags) noexcept nogil:
    """openat(2) that gives up every cached descriptor but `directory`, an own one, where there are no more to be had."""
    cdef int slot, fd = openat(directory, name, flags)
    if fd >= 0 or (errno != EMFILE and errno != ENFILE):
        return fd
    for slot in range(DIRS_SLOTS):
        if cache.entries[slot] != NULL and cache.fds[slot] != directory:
            close(cache.fds[slot])
            cache.entries[slot] = NULL
    return openat(directory, name, flags)

cdef inline int dirs_add(DirCache *cache, const Entry *directory, int parent_fd) noexcept nogil:
    """Open `directory` in its parent, in the place of the descriptor that was not asked for longest."""
    cdef struct_stat status
    cdef int slot, oldest = 0
    cdef int fd = dirs_openat(cache, parent_fd, directory.name, OPEN_DIRECTORY)
    if fd < 0:
        if errno == ENOTDIR or errno == ELOOP:
            set_errno(ESTALE)
        return -1
    if fstat(fd, &status) != 0:
        close(fd)
        return -1
    if status.st_dev != directory.device or status.st_ino != directory.inode:
        close(fd)
        set_errno(ESTALE)
        return -1
    for slot in range(cache.slots):
        if cache.entries[slot] == NULL:
            oldest = slot
            break
        if cache.used[slot] < cache.used[oldest]:
            oldest = slot
    if cache.entries[oldest] != NULL:
        close(cache.fds[oldest])
    cache.clock += 1
    cache.entries[oldest] = directory
    cache.fds[oldest] = fd
    cache.used[oldest] = cache.clock
    return fd

cdef inline int dirs_open(DirCache *cache, const Entry *directory) noexcept nogil:
    """Return a descriptor of `directory`, the cache's own; -1 with errno, ESTALE where it is not what was scanned.

    The descriptor is good until the next call.
    """
    cdef const Entry *missing
    cdef const Entry *reached
    cdef int fd
    if directory == cache.last:
        return cache.last_fd
    cache.last = NULL
    fd = dirs_lookup(cache, directory)
    # From the nearest ancestor with a descriptor downwards, one step at a time: a chain may be deeper than the cache.
    reached = directory
    while fd < 0:
        reached = reached.parent
        fd = dirs_lookup(cache, reached)
    while reached != directory:
        missing = directory
        while missing.parent != reached:
            missing = missing.parent
        fd = dirs_add(cache, missing, fd)
        if fd < 0:
            return -1
        reached = missing
    cache.last = directory
    cache.last_fd = fd
    return fd

cdef inline int dirs_again(const DirCache *cache) noexcept nogil:
    """Return another descriptor of the source itself, where that is one file; -1 with errno."""
    return fcntl(cache.root_fd, F_DUPFD_CLOEXEC, 0)
