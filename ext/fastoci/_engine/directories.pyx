# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""What directories are to be in the end: given last, for whatever is made in a directory changes its time.

One thread uses it. The way to each is one name a step, relative to the descriptor of the directory above it, and never
through a symbolic link.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport ELOOP, ENOENT, ENOTDIR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset
from posix.stat cimport struct_stat

from fastoci._engine.fault cimport FAULT_NONE, FAULT_WRITE, Fault
from fastoci._engine.kernel cimport fstat, mtime_ns, set_times
from fastoci._engine.later cimport (
    KNOWN_ENTRY,
    KNOWN_NOT,
    KNOWN_TIME,
    Later,
    later_find,
    later_get,
    later_hash,
    laters_free,
    laters_init,
)
from fastoci._engine.making cimport give_open
from fastoci._engine.raising cimport raise_fault
from fastoci._engine.way cimport Way, way_close, way_down, way_fd, way_init, way_up

cdef bint _is_gone() noexcept nogil:
    """Does the kernel's last error say that something else stands there, or nothing?"""
    return errno == ENOENT or errno == ENOTDIR or errno == ELOOP


cdef class Directories:
    """Remembers directories by where they really are.

    Args:
        basis: A number that whoever made the archive cannot know.
    """

    def __cinit__(self, uint64_t basis):
        self.entries = []
        if not laters_init(&self.laters, basis):
            raise MemoryError("there is no memory for the directories")

    def __dealloc__(self):
        laters_free(&self.laters)

    cdef Later *_find(self, bytes path, bint add) except? NULL:
        """Return what is said of a directory; NULL: nothing, or memory is short where it was to be added."""
        cdef const char *data = PyBytes_AS_STRING(path)
        cdef size_t size = PyBytes_GET_SIZE(path), start = 0, at
        cdef uint64_t hash
        cdef Later *one = &self.laters.root
        with nogil:
            for at in range(size + 1):
                if at < size and data[at] != 0x2F:
                    continue
                if at > start:
                    hash = later_hash(one, data + start, at - start)
                    if add:
                        one = later_get(&self.laters, one, data + start, at - start, hash)
                    else:
                        one = later_find(&self.laters, one, data + start, at - start, hash)
                    if one == NULL:
                        break
                start = at + 1
        if one == NULL and add:
            raise MemoryError("there is no memory for the directories")
        return one

    def __contains__(self, bytes path not None):
        """Return whether something is said of a directory, by its path from the root; of the root it is empty."""
        cdef Later *later = self._find(path, False)
        return later != NULL and later.known != KNOWN_NOT

    def made(
        self,
        bytes path not None,
        uint64_t inode,
        uint32_t mode,
        uint32_t uid,
        uint32_t gid,
        int64_t seconds,
        uint32_t nanoseconds,
        entry=None,
    ):
        """Say what a directory is to be; what was said before is forgotten.

        Args:
            path: From the root.
            inode: Its number.
            mode: Permission bits.
            uid: Its owner, if owners are kept.
            gid: Its group.
            seconds: Of its last change, since the epoch.
            nanoseconds: What is beyond them.
            entry: Anything for which `finish` is to ask for help with it; None: it does by itself.
        """
        cdef Later *later = self._find(path, True)
        later.known = KNOWN_ENTRY
        later.inode = inode
        later.mode = mode
        later.uid = uid
        later.gid = gid
        later.seconds = seconds
        later.nanoseconds = nanoseconds
        if later.entry:
            self.entries[later.entry - 1] = None
            later.entry = 0
        if entry is not None:
            self.entries.append(entry)
            later.entry = <uint32_t>len(self.entries)

    def entered(self, bytes path not None, uint64_t inode, int64_t seconds, uint32_t nanoseconds):
        """Say that a directory of which nothing is said yet is to have that time; see `made`."""
        cdef Later *later = self._find(path, True)
        if later.known == KNOWN_NOT:
            later.known = KNOWN_TIME
            later.inode = inode
            later.seconds = seconds
            later.nanoseconds = nanoseconds

    def finish(self, int root, bint keep, give not None):
        """Make all of them what they are to be, those beneath first; nothing can be said of any after it.

        Args:
            root: A descriptor of the root; the caller's.
            keep: Whether they are given to their owners.
            give: Called for those that have an entry, with a descriptor, which is good during the call, and the entry.

        Raises:
            EngineFault: The kernel refused it.
        """
        cdef Way way
        cdef Fault fault
        cdef Later *at = &self.laters.root
        memset(&fault, 0, sizeof(Fault))
        way_init(&way, root)
        try:
            while True:
                with nogil:
                    at = self._next(&way, at, keep, &fault)
                if fault.kind != FAULT_NONE:
                    raise_fault(&fault)
                if at == NULL:
                    break
                give(way_fd(&way), self.entries[at.entry - 1])
                at.known = KNOWN_NOT
        finally:
            way_close(&way)

    cdef Later *_next(self, Way *way, Later *at, bint keep, Fault *fault) noexcept nogil:
        """Go on from a directory; return the next one of which Python has to see to it, NULL at the end of all."""
        cdef Later *next
        cdef int error
        while True:
            # A directory that may not be entered would be in the way to those beneath it.
            while at.beneath != NULL:
                next = at.beneath
                at.beneath = next.beside
                if way_down(way, next):
                    at = next
                elif not _is_gone():
                    _fail(fault, next, errno)
                    return NULL
            if at.known != KNOWN_NOT:
                error = _become(way_fd(way), at, keep)
                if error < 0:
                    return at
                if error != 0:
                    _fail(fault, at, error)
                    return NULL
                at.known = KNOWN_NOT
            if at.above == NULL:
                return NULL
            at = at.above
            if not way_up(way, at):
                if not _is_gone():
                    _fail(fault, at, errno)
                    return NULL
                # Somebody has removed it: the way is at the root again.
                at = &self.laters.root


cdef int _become(int fd, const Later *later, bint keep) noexcept nogil:
    """Make an open directory what is said of it; 0, or the kernel's error number, or -1: Python has to."""
    cdef struct_stat status
    cdef int error
    if fstat(fd, &status) != 0:
        return errno
    if status.st_ino != later.inode:
        return 0
    if later.known == KNOWN_ENTRY:
        if later.entry:
            return -1
        error = give_open(fd, &status, keep, later.uid, later.gid, later.mode)
        if error != 0:
            return error
    elif status.st_mtime == later.seconds and mtime_ns(&status) == later.nanoseconds:
        return 0
    return errno if set_times(fd, later.seconds, later.nanoseconds, later.known == KNOWN_ENTRY) != 0 else 0


cdef void _fail(Fault *fault, const Later *later, int error) noexcept nogil:
    """Say which directory the kernel refused."""
    cdef const Later *one = later
    cdef size_t size = 0
    while one.above != NULL:
        size += one.name_size + 1
        one = one.above
    fault.kind = FAULT_WRITE
    fault.error = error
    fault.path_size = size - 1 if size else 0
    fault.path = <char *>malloc(size + 1)
    one = later
    while fault.path != NULL and one.above != NULL:
        size -= one.name_size + 1
        memcpy(fault.path + size, one.name, one.name_size)
        if one != later:
            fault.path[size + one.name_size] = 0x2F
        one = one.above
