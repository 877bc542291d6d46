# cython: language_level=3
"""Making what a job says, by one name in its directory: never through what stands there, which goes first.

A name that is taken by a directory is nobody's here: whoever gives the job has seen that it is not.
"""

from libc.errno cimport EEXIST, EINTR, ENOENT, errno
from libc.stdint cimport uint32_t
from posix.stat cimport struct_stat
from posix.unistd cimport close, write

from fastoci._engine.jobs cimport Job
from fastoci._engine.kernel cimport (
    AT_SYMLINK_NOFOLLOW,
    NEW_FILE,
    create,
    fchmod,
    fchown,
    fchownat,
    fstat,
    set_link_times,
    set_times,
    symlinkat,
    unlinkat,
)
from fastoci._engine.plain cimport PLAIN_SYMLINK

cdef enum:
    TRIES = 4       # to create what somebody else creates at the same time

cdef struct Maker:
    bint keep       # whether what is made is given to the owner that its entry says
    uint32_t uid    # whose it is else
    uint32_t gid

cdef inline int give_open(
    int fd, const struct_stat *found, bint keep, uint32_t uid, uint32_t gid, uint32_t mode
) noexcept nogil:
    """Give an open file or directory owner and mode; 0, or the kernel's error number.

    What is right already is not given again: each of these costs the file system a change of the inode.
    """
    cdef struct_stat status = found[0]
    if keep and (status.st_uid != uid or status.st_gid != gid):
        # That takes set-user-ID and set-group-ID.
        if fchown(fd, uid, gid) != 0 or fstat(fd, &status) != 0:
            return errno
    return errno if (status.st_mode & 0o7777) != mode and fchmod(fd, mode) != 0 else 0

cdef inline int _fill(int fd, const Job *job, bint keep) noexcept nogil:
    """Write a new file and give it what its entry says; 0, or the kernel's error number."""
    cdef struct_stat status
    cdef size_t done = 0
    cdef ssize_t written
    cdef int error
    while done < job.size:
        written = write(fd, job.data + done, job.size - done)
        if written < 0:
            if errno == EINTR:
                continue
            return errno
        done += written
    if fstat(fd, &status) != 0:
        return errno
    error = give_open(fd, &status, keep, job.uid, job.gid, job.mode)
    if error != 0:
        return error
    return errno if set_times(fd, job.mtime, 0, True) != 0 else 0

cdef inline int _place(const Job *job, uint32_t mode) noexcept nogil:
    """Make a file or a symbolic link in place of what stands there; a file's descriptor, 0 for a link, or -1 and errno."""
    cdef int fd = -1, tries = 0
    while fd < 0:
        if job.kind == PLAIN_SYMLINK:
            fd = symlinkat(<const char *>job.data, job.directory.fd, job.name)
        else:
            fd = create(job.directory.fd, job.name, NEW_FILE, mode)
        if fd >= 0:
            break
        tries += 1
        if tries == TRIES:
            return -1
        if errno == EINTR:
            continue
        if errno != EEXIST or (unlinkat(job.directory.fd, job.name, 0) != 0 and errno != ENOENT):
            return -1
    return fd

cdef inline int make_job(const Job *job, const Maker *maker) noexcept nogil:
    """Make a file or a symbolic link; 0, or the kernel's error number."""
    cdef int fd, error
    # Whoever it does not belong to yet sees nothing of it.
    cdef uint32_t mode = 0o600
    if not maker.keep or (job.uid == maker.uid and job.gid == maker.gid):
        mode = job.mode & 0o777
    fd = _place(job, mode)
    if fd < 0:
        return errno
    if job.kind == PLAIN_SYMLINK:
        if maker.keep and fchownat(job.directory.fd, job.name, job.uid, job.gid, AT_SYMLINK_NOFOLLOW) != 0:
            return errno
        return errno if set_link_times(job.directory.fd, job.name, job.mtime) != 0 else 0
    error = _fill(fd, job, maker.keep)
    if close(fd) != 0 and error == 0 and errno != EINTR:
        error = errno
    return error
