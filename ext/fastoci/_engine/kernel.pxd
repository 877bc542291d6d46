# cython: language_level=3
"""What the engine asks of the kernel, and Cython's own declarations do not have."""

from libc.stdint cimport int64_t, uint32_t
from posix.stat cimport struct_stat

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <sys/resource.h>
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

    /* Nothing that stands there is opened, whatever it is. */
    #define FASTOCI_NEW_FILE (O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC)

    /* Both times of an open file, or that of its last change alone. */
    static inline int fastoci_set_times(int fd, long long seconds, long nanoseconds, int both) {
        struct timespec times[2] = { { seconds, both ? nanoseconds : UTIME_OMIT }, { seconds, nanoseconds } };
        return futimens(fd, times);
    }

    /* Both times of a symbolic link; whole seconds. */
    static inline int fastoci_set_link_times(int directory, const char *name, long long seconds) {
        struct timespec times[2] = { { seconds, 0 }, { seconds, 0 } };
        return utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW);
    }

    #ifndef RWF_NOWAIT
    #define RWF_NOWAIT 8
    #endif

    /* pread(2) of what is in the page cache; EAGAIN where a disk would have to be waited for. */
    static inline ssize_t fastoci_pread_cached(int fd, void *buffer, size_t size, long long offset) {
        struct iovec piece = { buffer, size };
        return syscall(SYS_preadv2, fd, &piece, 1UL, (long)offset, (long)(offset >> 32), RWF_NOWAIT);
    }

    /* How often the calling thread has waited for something, a disk for the most part. */
    static inline long fastoci_waits(void) {
        struct rusage usage;
        return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
    }
    """
    int OPEN_FILE "FASTOCI_OPEN_FILE"
    int OPEN_DIRECTORY "FASTOCI_OPEN_DIRECTORY"
    int AT_EMPTY_PATH
    int NEW_FILE "FASTOCI_NEW_FILE"
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
    int create "openat"(int directory, const char *name, int flags, uint32_t mode) nogil
    int fchown(int fd, uint32_t uid, uint32_t gid) nogil
    int fchmod(int fd, uint32_t mode) nogil
    int unlinkat(int directory, const char *name, int flags) nogil
    int mkdirat(int directory, const char *name, uint32_t mode) nogil
    int symlinkat(const char *target, int directory, const char *name) nogil
    int fchownat(int directory, const char *name, uint32_t uid, uint32_t gid, int flags) nogil
    int set_times "fastoci_set_times"(int fd, int64_t seconds, long nanoseconds, bint both) nogil
    int set_link_times "fastoci_set_link_times"(int directory, const char *name, int64_t seconds) nogil
    int fstat(int fd, struct_stat *status) nogil
    int fstatat(int directory, const char *name, struct_stat *status, int flags) nogil
    ssize_t readlinkat(int directory, const char *name, char *target, size_t size) nogil
    ssize_t pread(int fd, void *buffer, size_t size, int64_t offset) nogil
    ssize_t pread_cached "fastoci_pread_cached"(int fd, void *buffer, size_t size, int64_t offset) nogil
    long waits "fastoci_waits"() nogil
    int posix_fadvise(int fd, int64_t offset, int64_t size, int advice) nogil
    int POSIX_FADV_WILLNEED
    int64_t lseek(int fd, int64_t offset, int whence) nogil
