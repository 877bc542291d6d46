# cython: language_level=3
"""What the engine asks of the kernel, and Cython's own declarations do not have."""

from libc.stdint cimport int64_t
from posix.stat cimport struct_stat

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <sys/uio.h>
    #include <unistd.h>

    #define fastoci_ctime_ns(status) ((status)->st_ctim.tv_nsec)
    #define fastoci_mtime_ns(status) ((status)->st_mtim.tv_nsec)
    #define fastoci_set_errno(value) (errno = (value))

    /* Never through a symbolic link, never waiting for a FIFO's other end, never taking a terminal. */
    #define FASTOCI_OPEN_FILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
    #define FASTOCI_OPEN_DIRECTORY (FASTOCI_OPEN_FILE | O_DIRECTORY)

    #ifndef RWF_NOWAIT
    #define RWF_NOWAIT 8
    #endif

    /* pread(2) of what is in the page cache; EAGAIN where a disk would have to be waited for. */
    static inline ssize_t fastoci_pread_cached(int fd, void *buffer, size_t size, long long offset) {
        struct iovec piece = { buffer, size };
        return syscall(SYS_preadv2, fd, &piece, 1UL, (long)offset, (long)(offset >> 32), RWF_NOWAIT);
    }
    """
    int OPEN_FILE "FASTOCI_OPEN_FILE"
    int OPEN_DIRECTORY "FASTOCI_OPEN_DIRECTORY"
    int AT_EMPTY_PATH
    int AT_SYMLINK_NOFOLLOW
    int ENOTSUP
    int F_DUPFD_CLOEXEC
    int SEEK_SET
    int SEEK_DATA
    int SEEK_HOLE
    long ctime_ns "fastoci_ctime_ns"(const struct_stat *status) nogil
    long mtime_ns "fastoci_mtime_ns"(const struct_stat *status) nogil
    void set_errno "fastoci_set_errno"(int value) nogil
    int openat(int directory, const char *name, int flags) nogil
    int fstat(int fd, struct_stat *status) nogil
    int fstatat(int directory, const char *name, struct_stat *status, int flags) nogil
    ssize_t readlinkat(int directory, const char *name, char *target, size_t size) nogil
    ssize_t pread(int fd, void *buffer, size_t size, int64_t offset) nogil
    ssize_t pread_cached "fastoci_pread_cached"(int fd, void *buffer, size_t size, int64_t offset) nogil
    int posix_fadvise(int fd, int64_t offset, int64_t size, int advice) nogil
    int POSIX_FADV_WILLNEED
    int64_t lseek(int fd, int64_t offset, int whence) nogil
