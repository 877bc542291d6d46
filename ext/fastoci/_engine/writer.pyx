# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""Writing the small files of a tar stream, which most entries of a root filesystem are, without Python.

One thread reads the stream and hands out what is plain (plain.pxd), a directory at a time; threads of their own create
the files, write them, and give them owner, mode and time. A file is created by its one name, relative to the descriptor
of its directory, O_EXCL and O_NOFOLLOW; a name that is taken by something else than a directory is freed first, so that
nothing is written through it. Paths are nobody's business here: whoever calls has found the directory.

What is taken is written soon, and not at once: `is_pending` and `settle` are for whoever touches the same names.
"""

from os import strerror

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EEXIST, EINTR, ENOENT, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from posix.fcntl cimport fcntl
from posix.stat cimport S_ISDIR, struct_stat
from posix.unistd cimport close, geteuid, getegid, write

from fastoci._engine import EngineFault
from fastoci._engine.fault cimport FAULT_NONE
from fastoci._engine.jobs cimport (
    JOBS_BATCH,
    Directory,
    Job,
    Jobs,
    directory_new,
    directory_release,
    job_new,
    jobs_fail,
    jobs_finish,
    jobs_free,
    jobs_give,
    jobs_halt,
    jobs_init,
    jobs_settle,
    jobs_take,
)
from fastoci._engine.kernel cimport (
    AT_SYMLINK_NOFOLLOW,
    F_DUPFD_CLOEXEC,
    NEW_FILE,
    create,
    fchmod,
    fchown,
    fstat,
    fstatat,
    set_mtime,
    unlinkat,
)
from fastoci._engine.pending cimport PENDING_MOST, Pending, hash_bytes, pending_add, pending_clear, pending_has
from fastoci._engine.plain cimport Plain, TAR_BLOCK, plain_entry
from fastoci._engine.pthread cimport pthread_mutex_lock, pthread_mutex_unlock
from fastoci._engine.raising cimport raise_fault

cdef enum:
    TRIES = 4       # to create what somebody else creates at the same time


cdef int _fill(int fd, const Job *job, bint keep) noexcept nogil:
    """Write a new file and give it what its entry says; 0, or the kernel's error number."""
    cdef struct_stat status
    cdef size_t done = 0
    cdef ssize_t written
    while done < job.file.size:
        written = write(fd, job.data + done, job.file.size - done)
        if written < 0:
            if errno == EINTR:
                continue
            return errno
        done += written
    if fstat(fd, &status) != 0:
        return errno
    # What is right already is not given again: each of these costs the file system a change of the inode.
    if keep and (status.st_uid != job.file.uid or status.st_gid != job.file.gid):
        if fchown(fd, job.file.uid, job.file.gid) != 0 or fstat(fd, &status) != 0:
            return errno
    if (status.st_mode & 0o7777) != job.file.mode and fchmod(fd, job.file.mode) != 0:
        return errno
    return errno if set_mtime(fd, job.file.mtime) != 0 else 0


cdef int _make(const Job *job, bint keep, uint32_t uid, uint32_t gid) noexcept nogil:
    """Make a file, in place of what stands at its name; 0, or the kernel's error number."""
    cdef int fd = -1, tries = 0, error
    # Whoever it does not belong to yet sees nothing of it.
    cdef uint32_t mode = 0o600
    if not keep or (job.file.uid == uid and job.file.gid == gid):
        mode = job.file.mode & 0o777
    while fd < 0:
        fd = create(job.directory.fd, job.file.name, NEW_FILE, mode)
        if fd >= 0:
            break
        tries += 1
        if tries == TRIES:
            return errno
        if errno == EINTR:
            continue
        if errno != EEXIST or (unlinkat(job.directory.fd, job.file.name, 0) != 0 and errno != ENOENT):
            return errno
    error = _fill(fd, job, keep)
    if close(fd) != 0 and error == 0 and errno != EINTR:
        error = errno
    return error


cdef class FileWriter:
    """Writes the plain files of a tar stream.

    Args:
        threads: How many call `run`, at least 1.
        keep: Whether files are given to the owners that their entries say.
        basis: A number that whoever made the archive cannot know.
    """

    cdef Jobs jobs
    cdef Pending pending
    cdef Directory *directory
    cdef bint is_ready
    cdef bint keep
    cdef uint64_t basis
    cdef uint32_t uid
    cdef uint32_t gid
    cdef object error           # what went wrong, once somebody asked

    def __cinit__(self, size_t threads, bint keep, uint64_t basis):
        if not jobs_init(&self.jobs):
            raise MemoryError("there is no memory for the writers' queue")
        self.is_ready = True
        self.jobs.threads = max(<size_t>1, threads)
        self.keep = keep
        self.basis = basis
        self.uid = geteuid()
        self.gid = getegid()

    def __dealloc__(self):
        if self.is_ready:
            self._leave()
            jobs_free(&self.jobs)

    cdef void _leave(self) noexcept:
        """Hold the directory at hand no longer."""
        cdef Directory *directory = self.directory
        self.directory = NULL
        if directory != NULL:
            pthread_mutex_lock(&self.jobs.lock)
            directory_release(&self.jobs, directory)
            pthread_mutex_unlock(&self.jobs.lock)

    def enter(self, int fd, bytes path not None, bytes prefix not None):
        """Say in which directory the next files are.

        Args:
            fd: Its descriptor, of which a duplicate is kept.
            path: Where it really is, from the root; empty for the root.
            prefix: The same as the archive writes it, with a slash at its end; or nothing.

        Raises:
            OSError: There are no more descriptors.
            EngineFault: A file could not be written.
        """
        cdef Directory *directory
        cdef Py_ssize_t size = PyBytes_GET_SIZE(prefix)
        cdef const char *data = PyBytes_AS_STRING(prefix)
        self._leave()
        with nogil:
            directory = directory_new(&self.jobs, data, size)
        if directory == NULL:
            raise MemoryError("there is no memory for a directory")
        directory.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)
        self.directory = directory
        if directory.fd < 0:
            error = errno
            self._leave()
            raise OSError(error, strerror(error))
        directory.hash = hash_bytes(self.basis, PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path))
        if PyBytes_GET_SIZE(path):
            directory.hash = hash_bytes(directory.hash, b"/", 1)
        self._raise()

    def take(self, bytes piece not None, Py_ssize_t at, uint64_t most):
        """Take the plain files that stand in a piece of the stream from `at` on, as far as they follow each other.

        Args:
            piece: Of the tar stream.
            at: Where in it a header begins.
            most: How many may be taken.

        Returns:
            Where the first byte is that was not taken, and how many files were.

        Raises:
            EngineFault: A file could not be written, this one or one before.
        """
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(piece)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece)
        cdef uint64_t count = 0
        if not 0 <= at <= size:
            raise ValueError(at)
        if self.directory != NULL:
            with nogil:
                if self.pending.count == PENDING_MOST:
                    jobs_settle(&self.jobs)
                    pending_clear(&self.pending)
                at = self._take(data, at, size, most, &count)
            self._raise()
        return at, count

    cdef Py_ssize_t _take(
        self, const uint8_t *data, Py_ssize_t at, Py_ssize_t size, uint64_t most, uint64_t *count
    ) noexcept nogil:
        cdef Plain file
        cdef Job *first = NULL
        cdef Job *last = NULL
        cdef Job *job
        cdef size_t taken, batch = 0, bytes = 0
        while count[0] < most:
            taken = plain_entry(data + at, size - at, self.directory.path, self.directory.size, &file)
            if taken == 0 or not self._is_free(&file):
                break
            job = job_new(self.directory, &file, data + at + TAR_BLOCK)
            if job == NULL:
                jobs_fail(&self.jobs, NULL, 0)
                break
            if first == NULL:
                first = job
            else:
                last.next = job
            last = job
            batch += 1
            bytes += file.size
            at += taken
            count[0] += 1
            if batch == JOBS_BATCH:
                if not self._give(first, last, batch, bytes):
                    return at
                first = last = NULL
                batch = bytes = 0
        if first != NULL:
            self._give(first, last, batch, bytes)
        return at

    cdef bint _is_free(self, const Plain *file) noexcept nogil:
        """Can a file be made of that name, whatever is written before it? Then it is pending."""
        cdef struct_stat status
        if fstatat(self.directory.fd, file.name, &status, AT_SYMLINK_NOFOLLOW) == 0 and S_ISDIR(status.st_mode):
            return False
        return pending_add(&self.pending, hash_bytes(self.directory.hash, file.name, file.name_size))

    cdef bint _give(self, Job *first, Job *last, size_t count, size_t bytes) noexcept nogil:
        cdef Job *next
        if jobs_give(&self.jobs, first, last, count, bytes):
            return True
        while first != NULL:
            next = first.next
            free(first)
            first = next
        return False

    def names(self, bytes piece not None, Py_ssize_t at, uint64_t count):
        """Return the names of files that were just taken from a piece.

        Args:
            piece: As `take` was given it.
            at: The same.
            count: How many it took.
        """
        cdef Plain file
        cdef list found = []
        cdef size_t taken
        if self.directory == NULL or not 0 <= at <= PyBytes_GET_SIZE(piece):
            raise ValueError(at)
        while count:
            taken = plain_entry(
                <const uint8_t *>PyBytes_AS_STRING(piece) + at,
                PyBytes_GET_SIZE(piece) - at,
                self.directory.path,
                self.directory.size,
                &file,
            )
            if taken == 0:
                raise ValueError(at)
            found.append(PyBytes_FromStringAndSize(file.name, file.name_size))
            at += taken
            count -= 1
        return found

    def is_pending(self, bytes path not None):
        """Return whether a file of that path, from the root, may still be to be written. Now and then it is another."""
        return bool(
            pending_has(&self.pending, hash_bytes(self.basis, PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path)))
        )

    def settle(self):
        """Wait until all is written that was taken.

        Raises:
            EngineFault: A file could not be written.
        """
        with nogil:
            jobs_settle(&self.jobs)
        pending_clear(&self.pending)
        self._raise()

    def run(self):
        """Write files until `stop` is called, in a thread of its own."""
        cdef Job *first
        cdef Job *job
        cdef int error
        with nogil:
            while True:
                first = jobs_take(&self.jobs)
                if first == NULL:
                    break
                job = first
                while job != NULL and not self.jobs.stopped:
                    error = _make(job, self.keep, self.uid, self.gid)
                    if error != 0:
                        jobs_fail(&self.jobs, job, error)
                    job = job.next
                jobs_finish(&self.jobs, first)

    def stop(self):
        """Have nothing written any more, and `run` return; nothing is to be taken after it."""
        self._leave()
        pthread_mutex_lock(&self.jobs.lock)
        jobs_halt(&self.jobs)
        pthread_mutex_unlock(&self.jobs.lock)

    cdef int _raise(self) except -1:
        """Raise what went wrong, every time from then on: nothing is written any more."""
        cdef bint failed
        pthread_mutex_lock(&self.jobs.lock)
        failed = self.jobs.fault.kind != FAULT_NONE
        pthread_mutex_unlock(&self.jobs.lock)
        if failed:
            # Nobody else touches it any more: the first fault stays the only one.
            try:
                raise_fault(&self.jobs.fault)
            except (EngineFault, MemoryError) as error:
                self.error = error
        if self.error is not None:
            raise self.error
        return 0
