# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""Making what is plain in a tar stream, which most entries of a root filesystem are, without Python.

One thread reads the stream, makes the directories, and hands out small files and symbolic links (plain.pxd); threads of
their own make these (making.pxd). The way to a directory is one name a step, relative to the descriptor of the one
above it, and never through a symbolic link; only directories are entered of which something is said already
(directories.pyx), so that whoever sees to the others has seen to them before. Neither is anything removed here but what
stands at the name of a file or a link, and is no directory.

What is taken is made soon, and not at once: `is_pending` and `settle` are for whoever touches the same names.
"""

from os import strerror

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EEXIST, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp
from posix.fcntl cimport fcntl
from posix.stat cimport S_ISDIR, struct_stat
from posix.unistd cimport close, getegid, geteuid

from fastoci._engine import EngineFault
from fastoci._engine.directories cimport Directories
from fastoci._engine.fault cimport FAULT_NONE
from fastoci._engine.jobs cimport (
    Batch,
    Directory,
    Job,
    Jobs,
    batch_add,
    batch_give,
    batch_init,
    directory_new,
    directory_release,
    jobs_drop,
    jobs_fail,
    jobs_finish,
    jobs_free,
    jobs_halt,
    jobs_init,
    jobs_settle,
    jobs_take,
)
from fastoci._engine.kernel cimport (
    AT_SYMLINK_NOFOLLOW,
    F_DUPFD_CLOEXEC,
    OPEN_DIRECTORY,
    fstat,
    fstatat,
    mkdirat,
    openat,
)
from fastoci._engine.later cimport KNOWN_ENTRY, KNOWN_NOT, Later, later_find, later_get, later_hash
from fastoci._engine.making cimport Maker, make_job
from fastoci._engine.pending cimport PENDING_MOST, Pending, hash_bytes, pending_add, pending_clear, pending_has
from fastoci._engine.plain cimport PLAIN_DIRECTORY, Plain, plain_entry
from fastoci._engine.pthread cimport pthread_mutex_lock, pthread_mutex_unlock
from fastoci._engine.raising cimport raise_fault
from fastoci._engine.ranges cimport Ranges, range_of, ranges_take

cdef enum:
    WAY_LIMIT = 48      # directories on the way to an entry, the root included; each has a descriptor


cdef struct Step:
    Directory *directory
    Later *later


cdef class FileWriter:
    """Makes what is plain in a tar stream.

    Args:
        root: A descriptor of the directory beneath which it is made, of which a duplicate is kept.
        directories: What is said of directories; used by the thread that calls `take`.
        basis: The number that it was made with.
        threads: How many call `run`, at least 1.
        keep: Whether what is made is given to the owners that the entries say.
        uids: How these are mapped, each `(inside, outside, count)`; none: as they are.
        gids: The same of groups.
        occupied: Whether there may be directories of which nothing is said.

    Raises:
        OSError: There are no more descriptors.
    """

    cdef Jobs jobs
    cdef Pending pending
    cdef Step way[WAY_LIMIT]
    cdef size_t depth           # of the directory at hand
    cdef Directories directories
    cdef uint64_t basis
    cdef uint64_t held          # bytes of paths that stay, since `take` was called
    cdef Maker maker
    cdef Ranges uids
    cdef Ranges gids
    cdef bint is_ready
    cdef bint occupied
    cdef object error           # what went wrong, once somebody asked

    def __cinit__(
        self,
        int root,
        Directories directories not None,
        uint64_t basis,
        size_t threads,
        bint keep,
        uids,
        gids,
        bint occupied,
    ):
        if not jobs_init(&self.jobs):
            raise MemoryError("there is no memory for the writers' queue")
        self.is_ready = True
        self.jobs.threads = max(<size_t>1, threads)
        self.directories = directories
        self.basis = basis
        self.maker.keep = keep
        self.maker.uid = geteuid()
        self.maker.gid = getegid()
        ranges_take(&self.uids, uids)
        ranges_take(&self.gids, gids)
        self.occupied = occupied
        self.way[0].later = &directories.laters.root
        self.way[0].directory = directory_new(&self.jobs, b"", 0)
        if self.way[0].directory == NULL:
            raise MemoryError("there is no memory for a directory")
        self.way[0].directory.fd = fcntl(root, F_DUPFD_CLOEXEC, 3)
        if self.way[0].directory.fd < 0:
            number = errno
            raise OSError(number, strerror(number))

    def __dealloc__(self):
        if self.is_ready:
            self.close()
            jobs_free(&self.jobs)
        free(self.uids.items)
        free(self.gids.items)

    cdef void _leave(self, size_t depth) noexcept nogil:
        """Go up, and hold the directories further down no longer."""
        if self.depth > depth:
            pthread_mutex_lock(&self.jobs.lock)
            while self.depth > depth:
                directory_release(&self.jobs, self.way[self.depth].directory)
                self.depth -= 1
            pthread_mutex_unlock(&self.jobs.lock)

    def leave(self):
        """Hold no directory but the root: one of them is removed, or may be."""
        self._leave(0)

    def take(self, bytes piece not None, Py_ssize_t at, uint64_t most):
        """Take the plain entries that stand in a piece of the stream from `at` on, as far as they follow each other.

        Args:
            piece: Of the tar stream.
            at: Where in it a header begins.
            most: How many may be taken.

        Returns:
            Where the first byte is that was not taken, how many entries were, and how many bytes the directories' paths
            among them have.

        Raises:
            EngineFault: Something could not be made, of this or of what was taken before.
        """
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(piece)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece)
        cdef uint64_t count = 0
        if not 0 <= at <= size or self.way[0].directory == NULL:
            raise ValueError(at)
        self.held = 0
        with nogil:
            if self.pending.count == PENDING_MOST:
                jobs_settle(&self.jobs)
                pending_clear(&self.pending)
            at = self._take(data, at, size, most, &count)
        self._raise()
        return at, count, self.held

    cdef Py_ssize_t _take(
        self, const uint8_t *data, Py_ssize_t at, Py_ssize_t size, uint64_t most, uint64_t *count
    ) noexcept nogil:
        cdef Plain plain
        cdef Batch batch
        cdef size_t taken
        batch_init(&batch)
        while count[0] < most:
            taken = plain_entry(data + at, size - at, &plain)
            if taken == 0 or not self._is_taken(&plain, &batch):
                break
            at += taken
            count[0] += 1
        batch_give(&self.jobs, &batch)
        return at

    cdef bint _is_taken(self, Plain *plain, Batch *batch) noexcept nogil:
        """Take an entry, if nothing is left to be decided."""
        cdef Step *step
        cdef const char *name = plain.path + plain.above
        cdef size_t name_size = plain.path_size - plain.above
        cdef uint64_t hash
        if self.maker.keep and not (range_of(&self.uids, &plain.uid) and range_of(&self.gids, &plain.gid)):
            return False
        if not self._enter(plain, batch):
            return False
        step = &self.way[self.depth]
        if step.later.known == KNOWN_NOT:
            return False
        hash = later_hash(step.later, name, name_size)
        if plain.kind == PLAIN_DIRECTORY:
            return not pending_has(&self.pending, hash) and self._make_directory(plain, hash, batch)
        if self._is_directory(step, name, name_size, hash) or not pending_add(&self.pending, hash):
            return False
        return batch_add(&self.jobs, batch, step.directory, plain)

    cdef bint _enter(self, const Plain *plain, Batch *batch) noexcept nogil:
        """Go to the directory of an entry; False: not by a way that is known."""
        cdef const Directory *directory
        cdef const char *name
        cdef size_t depth = self.depth, start, at
        cdef Later *later
        while True:
            directory = self.way[depth].directory
            if directory.size <= plain.above and memcmp(directory.path, plain.path, directory.size) == 0:
                break
            depth -= 1
        if depth < self.depth:
            batch_give(&self.jobs, batch)
            self._leave(depth)
        start = at = directory.size
        while at < plain.above:
            if plain.path[at] == 0x2F:
                name = plain.path + start
                later = self.way[self.depth].later
                later = later_find(&self.directories.laters, later, name, at - start, later_hash(later, name, at - start))
                if later == NULL or not self._go(later, plain.path, at + 1, batch):
                    return False
                start = at + 1
            at += 1
        return True

    cdef bint _go(self, Later *later, const char *path, size_t size, Batch *batch) noexcept nogil:
        """Go down to a directory in the one at hand; `size` bytes of a path are its path, with a slash at its end."""
        cdef Directory *directory
        cdef int fd
        if self.depth + 1 == WAY_LIMIT:
            return False
        batch_give(&self.jobs, batch)
        fd = openat(self.way[self.depth].directory.fd, later.name, OPEN_DIRECTORY)
        if fd < 0:
            return False
        directory = directory_new(&self.jobs, path, size)
        if directory == NULL:
            close(fd)
            jobs_fail(&self.jobs, NULL, 0)
            return False
        directory.fd = fd
        self.depth += 1
        self.way[self.depth].directory = directory
        self.way[self.depth].later = later
        return True

    cdef bint _make_directory(self, Plain *plain, uint64_t hash, Batch *batch) noexcept nogil:
        """Make a directory, unless there is one already, and go there; False: something is to be decided."""
        cdef struct_stat status
        cdef const char *name = plain.path + plain.above
        cdef Step *step = &self.way[self.depth]
        cdef Later *later
        if mkdirat(step.directory.fd, name, 0o700) != 0 and errno != EEXIST:
            return False
        later = later_get(&self.directories.laters, step.later, name, plain.path_size - plain.above, hash)
        if later == NULL:
            jobs_fail(&self.jobs, NULL, 0)
            return False
        plain.path[plain.path_size] = 0x2F
        if later.entry or not self._go(later, plain.path, plain.path_size + 1, batch):
            return False
        if fstat(self.way[self.depth].directory.fd, &status) != 0:
            self._leave(self.depth - 1)
            return False
        later.known = KNOWN_ENTRY
        later.inode = status.st_ino
        later.mode = plain.mode
        later.uid = plain.uid
        later.gid = plain.gid
        later.seconds = plain.mtime
        later.nanoseconds = 0
        self.held += plain.path_size
        return True

    cdef bint _is_directory(self, const Step *step, const char *name, size_t size, uint64_t hash) noexcept nogil:
        """Is there a directory of a name, or was there one?"""
        cdef struct_stat status
        if later_find(&self.directories.laters, step.later, name, size, hash) != NULL:
            return True
        if not self.occupied:
            return False
        return fstatat(step.directory.fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 and S_ISDIR(status.st_mode)

    def paths(self, bytes piece not None, Py_ssize_t at, uint64_t count):
        """Return the paths, from the root, of entries that were just taken from a piece.

        Args:
            piece: As `take` was given it.
            at: The same.
            count: How many it took.
        """
        cdef Plain plain
        cdef list found = []
        cdef size_t taken
        if not 0 <= at <= PyBytes_GET_SIZE(piece):
            raise ValueError(at)
        while count:
            taken = plain_entry(
                <const uint8_t *>PyBytes_AS_STRING(piece) + at, PyBytes_GET_SIZE(piece) - at, &plain
            )
            if taken == 0:
                raise ValueError(at)
            found.append(PyBytes_FromStringAndSize(plain.path, plain.path_size))
            at += taken
            count -= 1
        return found

    def is_pending(self, bytes path not None):
        """Return whether what is of that path, from the root, may still be to be made. Now and then it is another."""
        return bool(
            pending_has(&self.pending, hash_bytes(self.basis, PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path)))
        )

    def settle(self):
        """Wait until all is made that was taken.

        Raises:
            EngineFault: Something could not be made.
        """
        with nogil:
            jobs_settle(&self.jobs)
        pending_clear(&self.pending)
        self._raise()

    def run(self):
        """Make files and links until `stop` is called, in a thread of its own."""
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
                    error = make_job(job, &self.maker)
                    if error != 0:
                        jobs_fail(&self.jobs, job, error)
                    job = job.next
                jobs_finish(&self.jobs, first)

    def stop(self):
        """Have nothing made any more, and `run` return; nothing is to be taken after it."""
        pthread_mutex_lock(&self.jobs.lock)
        jobs_halt(&self.jobs)
        pthread_mutex_unlock(&self.jobs.lock)

    def close(self):
        """Let go of every descriptor, once `run` has returned; nothing is asked of it after that."""
        self._leave(0)
        if self.way[0].directory != NULL:
            directory_release(&self.jobs, self.way[0].directory)
            self.way[0].directory = NULL
        jobs_drop(&self.jobs)

    cdef int _raise(self) except -1:
        """Raise what went wrong, every time from then on: nothing is made any more."""
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
