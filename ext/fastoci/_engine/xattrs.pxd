# cython: language_level=3
"""Extended attributes of a name in a directory, by the fastest way that the kernel has.

Linux 6.13 asks for them relative to a directory descriptor (listxattrat). Before it there is no such call: a thread
that has a working directory of its own (unshare(CLONE_FS)) makes the directory its working directory and asks by bare
name; where even that is denied, by a path through /proc/self/fd. Measured: 1.7, 2.1 and 4.4 microseconds an entry.
"""

from libc.errno cimport ENODATA, ENOSYS, EPERM, ERANGE, errno
from libc.stdio cimport snprintf
from libc.string cimport strcmp, strlen, strncmp

from fastoci._engine.arena cimport Arena, arena_copy, arena_take
from fastoci._engine.entry cimport Entry, Xattr
from fastoci._engine.fault cimport FAULT_MEMORY, FAULT_NONE, FAULT_XATTR, FAULT_XATTR_NAME, FaultKind
from fastoci._engine.kernel cimport ENOTSUP

cdef extern from *:
    """
    #include <fcntl.h>
    #include <sched.h>
    #include <sys/syscall.h>
    #include <sys/xattr.h>
    #include <unistd.h>

    /* The numbers are the same on every architecture; the headers of older systems do not have them. */
    #ifndef SYS_getxattrat
    #define SYS_getxattrat 464
    #endif
    #ifndef SYS_listxattrat
    #define SYS_listxattrat 465
    #endif

    struct fastoci_xattr_args { unsigned long long value; unsigned int size; unsigned int flags; };

    static long fastoci_listxattrat(int directory, const char *name, char *list, size_t size) {
        return syscall(SYS_listxattrat, directory, name, AT_SYMLINK_NOFOLLOW, list, size);
    }

    static long fastoci_getxattrat(int directory, const char *name, const char *key, char *value, size_t size) {
        struct fastoci_xattr_args args = { (unsigned long long)(size_t)value, (unsigned int)size, 0 };
        return syscall(SYS_getxattrat, directory, name, AT_SYMLINK_NOFOLLOW, key, &args, sizeof args);
    }
    """
    long fastoci_listxattrat(int directory, const char *name, char *list, size_t size) nogil
    long fastoci_getxattrat(int directory, const char *name, const char *key, char *value, size_t size) nogil
    ssize_t llistxattr(const char *path, char *list, size_t size) nogil
    ssize_t lgetxattr(const char *path, const char *key, void *value, size_t size) nogil
    ssize_t flistxattr(int fd, char *list, size_t size) nogil
    ssize_t fgetxattr(int fd, const char *key, void *value, size_t size) nogil
    int unshare(int flags) nogil
    int fchdir(int fd) nogil
    int CLONE_FS

cdef enum XattrWay:
    XATTRS_AT = 0
    XATTRS_CHDIR = 1
    XATTRS_PROC = 2

cdef enum:
    XATTRS_MAX = 65536          # the kernel's limit for a list and for a value
    XATTRS_FEW = 256            # enough for nearly all

cdef inline XattrWay xattrs_way(int wanted) noexcept nogil:
    """Return the best way there is from `wanted` on; XATTRS_CHDIR gives the calling thread a working directory."""
    cdef char nothing
    if wanted <= XATTRS_AT:
        # Descriptor -1 is no directory: any other answer than ENOSYS or EPERM (a seccomp filter) means the call exists.
        if fastoci_listxattrat(-1, b".", &nothing, 0) >= 0 or (errno != ENOSYS and errno != EPERM):
            return XATTRS_AT
    if wanted <= XATTRS_CHDIR and unshare(CLONE_FS) == 0:
        return XATTRS_CHDIR
    return XATTRS_PROC

cdef inline long _ask(XattrWay way, int directory, const char *name, const char *key, char *out,
                      size_t size) noexcept nogil:
    """Ask for a value, or for the list of names where `key` is NULL; an empty `name` is what the descriptor is of."""
    cdef char path[320]
    if name[0] == 0:
        return flistxattr(directory, out, size) if key == NULL else fgetxattr(directory, key, out, size)
    if way == XATTRS_AT:
        if key == NULL:
            return fastoci_listxattrat(directory, name, out, size)
        return fastoci_getxattrat(directory, name, key, out, size)
    if way == XATTRS_PROC:
        snprintf(path, sizeof(path), b"/proc/self/fd/%d/%s", directory, name)
        name = path
    return llistxattr(name, out, size) if key == NULL else lgetxattr(name, key, out, size)

cdef inline long xattrs_get(XattrWay way, int directory, const char *name, const char *key, char *out) noexcept nogil:
    """Return the bytes of one value in `out`, which has room for XATTRS_MAX, or -1 with errno.

    With `key` NULL it is the list of names, each ended by NUL. The kernel allocates as much as it is offered, for every
    call: so little is offered first. With 64 KiB a third of a scan went into pages that took nothing.
    """
    cdef long size = _ask(way, directory, name, key, out, XATTRS_FEW)
    if size < 0 and errno == ERANGE:
        size = _ask(way, directory, name, key, out, XATTRS_MAX)
    return size

cdef inline bint xattrs_keeps(const char *name) noexcept nogil:
    """Return whether an attribute belongs to the file; the others are the host's (docs/layer-format.md)."""
    if strncmp(name, b"user.", 5) == 0:
        return strncmp(name, b"user.overlay.", 13) != 0 and strncmp(name, b"user.containers.", 16) != 0
    return (
        strcmp(name, b"security.capability") == 0
        or strcmp(name, b"system.posix_acl_access") == 0
        or strcmp(name, b"system.posix_acl_default") == 0
    )

cdef inline FaultKind xattrs_read(XattrWay way, int directory, const char *name, char *buffer, Arena *arena,
                                  Entry *entry) noexcept nogil:
    """Give an entry the extended attributes that are kept, in the byte order of their names.

    The buffer has room for twice XATTRS_MAX. Returns what went wrong, if something did: with errno where that is
    FAULT_XATTR.
    """
    cdef char *value = buffer + XATTRS_MAX
    cdef char *key = buffer
    cdef Xattr *xattr
    cdef Xattr **place
    cdef long size
    cdef long listed = xattrs_get(way, directory, name, NULL, buffer)
    if listed < 0:
        return FAULT_NONE if errno == ENOTSUP else FAULT_XATTR
    while key < buffer + listed:
        if xattrs_keeps(key):
            size = 0
            while key[size] != 0 and key[size] != c'=':
                size += 1
            if key[size] == c'=':
                return FAULT_XATTR_NAME
            size = xattrs_get(way, directory, name, key, value)
            if size < 0:
                # An attribute that went away between the two calls was never there as far as the layer goes.
                if errno != ENODATA:
                    return FAULT_XATTR
            else:
                xattr = <Xattr *>arena_take(arena, sizeof(Xattr), 8)
                if xattr == NULL:
                    return FAULT_MEMORY
                xattr.name_size = strlen(key)
                xattr.name = arena_copy(arena, key, xattr.name_size + 1)
                xattr.value_size = size
                xattr.value = arena_copy(arena, value, size)
                if xattr.name == NULL or xattr.value == NULL:
                    return FAULT_MEMORY
                place = &entry.xattrs
                while place[0] != NULL and strcmp(place[0].name, key) < 0:
                    place = &place[0].next
                xattr.next = place[0]
                place[0] = xattr
        key += strlen(key) + 1
    return FAULT_NONE
