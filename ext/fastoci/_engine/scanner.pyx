# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The scanner: every name beneath a directory, found by several threads at once.

A directory is a job. Each thread takes one from a shared queue, reads it, asks for every name's status and extended
attributes relative to the directory's descriptor, sorts what it found into the layer's order, and adds the
subdirectories as jobs. The queue, the counts and the first fault are the only things that threads share; they stand
under one lock, taken twice a directory. Entries are written by the thread that found them and by no other, and once
their directory is marked as scanned by nobody but the plan.

The threads themselves are Python's: each calls `run`, which returns when the whole tree has been scanned, when a
fault stops the work, or when `stop` was called.

On a tree that is not in the page cache they wait for the disk, one request at a time each: most file systems read a
directory no further than they are asked to. Then more threads than there are CPUs are faster, and one of those that
run asks for them.
"""

from libc.errno cimport EINTR, EINVAL, ENOENT, ESTALE, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcpy, memset, strcmp, strlen, strncmp
from posix.stat cimport S_ISDIR, struct_stat

from fastoci._engine.arena cimport arena_copy, arena_take
from fastoci._engine.dirs cimport dirs_close, dirs_init, dirs_open
from fastoci._engine.entry cimport (
    Entry,
    FLAG_EXCLUDED,
    FLAG_MOUNTED,
    FLAG_SYNTHETIC,
    KIND_DIRECTORY,
    KIND_SYMLINK,
    sibling_order,
)
from fastoci._engine.fault cimport (
    FAULT_CHANGED,
    FAULT_MEMORY,
    FAULT_NONE,
    FAULT_OPEN_DIRECTORY,
    FAULT_READ_DIRECTORY,
    FAULT_READ_LINK,
    FAULT_STAT,
    FAULT_WHITEOUT_NAME,
    FAULT_XATTR,
    FaultKind,
    fault_clear,
)
from fastoci._engine.kernel cimport AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, SEEK_SET, fstatat, lseek, readlinkat, waits
from fastoci._engine.path cimport path_free, path_of, path_size, path_write
from fastoci._engine.pthread cimport pthread_mutex_lock, pthread_mutex_unlock
from fastoci._engine.queue cimport Job, queue_free, queue_give, queue_init, queue_release, queue_stop, queue_take
from fastoci._engine.raising cimport raise_fault
from fastoci._engine.status cimport status_take
from fastoci._engine.xattrs cimport XATTRS_CHDIR, XATTRS_MAX, fchdir, xattrs_keeps, xattrs_read, xattrs_way

cdef extern from *:
    """
    #include <sys/syscall.h>
    #include <unistd.h>

    struct fastoci_dirent { unsigned long long inode; long long next; unsigned short size; unsigned char type;
                            char name[]; };

    static long fastoci_getdents(int fd, void *buffer, size_t size) {
        return syscall(SYS_getdents64, fd, buffer, size);
    }
    """
    struct fastoci_dirent:
        unsigned short size
        unsigned char type
        char name[1]
    long fastoci_getdents(int fd, void *buffer, size_t size) nogil

cdef enum:
    DIRENTS_SIZE = 64 * 1024
    TARGET_SIZE = 64 * 1024
    BUFFER_SIZE = DIRENTS_SIZE + 2 * XATTRS_MAX
    COLD = 16


cdef int _order(const void *left, const void *right) noexcept nogil:
    return sibling_order(<const Entry *>left, <const Entry *>right)


def keeps_xattr(bytes name not None):
    """Return whether an extended attribute of this name belongs to a file, and not to the host."""
    return xattrs_keeps(name)


cdef class Scanner:
    """One scan of one tree.

    Args:
        table: The table to fill; new, with nothing in it.
        patterns: What to leave out, matched against paths relative to the source.
        with_xattrs: Whether to read extended attributes.
        keep_whiteouts: Whether names that begin with `.wh.` are meant; a fault otherwise.
        one_file_system: Whether directories on another file system than the root's are left empty.
        xattr_way: The first way of reading extended attributes to try, 0 to 2 (xattrs.pxd); the tests try them all.
        cold_after: So many directories that had to be waited for make a tree one that is not in the page cache.
    """

    def __cinit__(self, EntryTable table not None, PatternSet patterns not None, *, bint with_xattrs,
                  bint keep_whiteouts, bint one_file_system=False, int xattr_way=0, uint64_t cold_after=COLD):
        if table.root_fd < 0:
            raise ValueError("the table is closed")
        self.table = table
        self.patterns = patterns
        self.with_xattrs = with_xattrs
        self.keep_whiteouts = keep_whiteouts
        self.one_file_system = one_file_system
        self.first_xattr_way = xattr_way
        self.cold_after = cold_after
        if not queue_init(&self.queue, table.root):
            raise MemoryError
        self.ready = True

    def __dealloc__(self):
        if self.ready:
            queue_free(&self.queue)
        fault_clear(&self.fault)
        free(self.first_socket)

    def run(self, *, bint may_ask=False):
        """Scan until nothing is left to scan. Called by every scan thread, each a fresh one.

        A thread may get a working directory of its own here (xattrs.pxd), so it must not be used for other work.

        Args:
            may_ask: Whether the caller has more threads to give, and goes on by another call when it has given them.

        Returns:
            True: more threads would help, for the tree is not in the page cache; one thread is told, once. False: it is
            over.

        Raises:
            MemoryError: The thread got no memory; the scan stops. Other faults are raised by `finish`.
        """
        cdef Worker *worker = <Worker *>calloc(1, sizeof(Worker))
        cdef Job job
        cdef bint asks = False
        try:
            if worker == NULL:
                raise MemoryError
            pthread_mutex_lock(&self.queue.lock)
            try:
                worker.arena = self.table.new_arena()
            finally:
                pthread_mutex_unlock(&self.queue.lock)
            worker.buffer = <char *>malloc(BUFFER_SIZE)
            worker.scratch = <uint8_t *>malloc(self.patterns.scratch_size + self.patterns.count)
            if worker.buffer == NULL or worker.scratch == NULL:
                raise MemoryError
            with nogil:
                dirs_init(&worker.dirs, self.table.root, self.table.root_fd)
                worker.xattr_way = xattrs_way(self.first_xattr_way)
                while not asks and queue_take(&self.queue, &job):
                    self.scan_directory(worker, &job)
                    asks = may_ask and self.wants_help()
                    queue_release(&self.queue)
        except BaseException:
            self.stop()
            raise
        finally:
            if worker != NULL:
                dirs_close(&worker.dirs)
                path_free(&worker.path)
                free(worker.buffer)
                free(worker.found)
                free(worker.scratch)
                free(worker)
        return asks

    def stop(self):
        """Make every `run` return soon, and a plan that waits for the scan give up."""
        pthread_mutex_lock(&self.queue.lock)
        queue_stop(&self.queue)
        pthread_mutex_unlock(&self.queue.lock)

    def finish(self):
        """Raise the first fault, or hand the counts to the table. Called once, when every `run` has returned.

        Raises:
            EngineFault: What stopped the scan.
            MemoryError: Memory was short.
        """
        raise_fault(&self.fault)
        self.table.complete = not self.queue.stopped
        self.table.scanned = self.entries
        self.table.sockets = self.sockets
        self.table.first_socket = None if self.first_socket == NULL else self.first_socket[:strlen(self.first_socket)]

    # What follows holds no GIL.

    cdef void fail(self, FaultKind kind, int error, const Entry *parent, const char *name) noexcept nogil:
        """Keep the first fault, with the path of `name` in `parent` (NULL: of `parent` itself), and stop the work."""
        cdef size_t size = path_size(parent, self.table.root)
        cdef size_t name_size = 0 if name == NULL else strlen(name)
        cdef size_t gap = 1 if size and name_size else 0
        cdef char *path = <char *>malloc(size + gap + name_size + 1)
        if path != NULL:
            path_write(path + size, parent, self.table.root)
            if gap:
                path[size] = b'/'
            if name_size:
                memcpy(path + size + gap, name, name_size)
            path[size + gap + name_size] = 0
        pthread_mutex_lock(&self.queue.lock)
        if self.fault.kind == FAULT_NONE:
            # A name that was there a moment ago and is not any more, or is something else, has changed.
            self.fault.kind = FAULT_CHANGED if error == ENOENT or error == ESTALE else kind
            self.fault.error = error
            self.fault.expected = 0
            self.fault.found = -1 if error == ENOENT else 0
            self.fault.path = path
            self.fault.path_size = size + gap + name_size
            path = NULL
        queue_stop(&self.queue)
        pthread_mutex_unlock(&self.queue.lock)
        free(path)

    cdef bint wants_help(self) noexcept nogil:
        """Return whether the caller is the one to ask for more threads."""
        cdef bint wants
        pthread_mutex_lock(&self.queue.lock)
        wants = self.waited >= self.cold_after and not self.asked
        self.asked = self.asked or wants
        pthread_mutex_unlock(&self.queue.lock)
        return wants

    cdef bint give(self, Entry *directory, bint waited=False) noexcept nogil:
        """Let a directory that has been read, or the one file, go to the plan, and subdirectories to the queue."""
        cdef bint given
        pthread_mutex_lock(&self.queue.lock)
        self.waited += waited
        self.entries += directory.size if directory.kind == KIND_DIRECTORY else 1
        given = queue_give(&self.queue, directory)
        pthread_mutex_unlock(&self.queue.lock)
        if not given:
            self.fail(FAULT_MEMORY, 0, directory, NULL)
        return given

    cdef bint note_socket(self, const Entry *parent, const char *name) noexcept nogil:
        """Count a socket, and keep the path that sorts first, so that the warning is the same every time."""
        cdef size_t size = path_size(parent, self.table.root)
        cdef size_t gap = 1 if size else 0
        cdef size_t name_size = strlen(name)
        cdef char *path = <char *>malloc(size + gap + name_size + 1)
        if path == NULL:
            self.fail(FAULT_MEMORY, 0, parent, name)
            return False
        path_write(path + size, parent, self.table.root)
        if gap:
            path[size] = b'/'
        memcpy(path + size + gap, name, name_size + 1)
        pthread_mutex_lock(&self.queue.lock)
        self.sockets += 1
        if self.first_socket == NULL or strcmp(path, self.first_socket) < 0:
            self.first_socket, path = path, self.first_socket
        pthread_mutex_unlock(&self.queue.lock)
        free(path)
        return True

    cdef bint scan_directory(self, Worker *worker, const Job *job) noexcept nogil:
        """Read one directory: its entries go to the arena in order, its subdirectories to the stack.

        A source that is one file is asked for its status.
        """
        cdef Entry *directory = job.directory
        cdef Entry *children
        cdef fastoci_dirent *dirent
        cdef long size, offset
        cdef size_t number
        cdef long waited = -waits()
        cdef int fd = dirs_open(&worker.dirs, directory)
        if fd < 0:
            self.fail(FAULT_OPEN_DIRECTORY, errno, directory, NULL)
            return False
        if directory.kind != KIND_DIRECTORY:
            return self.fill_root(worker, fd) and self.give(directory)
        if worker.xattr_way == XATTRS_CHDIR and fchdir(fd) != 0:
            self.fail(FAULT_OPEN_DIRECTORY, errno, directory, NULL)
            return False
        if directory == self.table.root and not self.fill_root(worker, fd):
            return False
        worker.found_count = 0
        while not self.queue.stopped:
            size = fastoci_getdents(fd, worker.buffer, DIRENTS_SIZE)
            if size == 0:
                break
            if size < 0:
                if errno == EINTR:
                    continue
                self.fail(FAULT_READ_DIRECTORY, errno, directory, NULL)
                return False
            offset = 0
            while offset < size:
                dirent = <fastoci_dirent *>(worker.buffer + offset)
                offset += dirent.size
                if dirent.name[0] == c'.' and (
                    dirent.name[1] == 0 or (dirent.name[1] == c'.' and dirent.name[2] == 0)
                ):
                    continue
                if self.scan_name(worker, job, fd, dirent.name) < 0:
                    return False
        waited += waits()
        directory.size = worker.found_count
        directory.link.children = NULL
        if worker.found_count:
            qsort(worker.found, worker.found_count, sizeof(Entry), _order)
            children = <Entry *>arena_take(worker.arena, worker.found_count * sizeof(Entry), 8)
            if children == NULL:
                self.fail(FAULT_MEMORY, 0, directory, NULL)
                return False
            memcpy(children, worker.found, worker.found_count * sizeof(Entry))
            directory.link.children = children
        return self.give(directory, waited > 0)

    cdef bint fill_root(self, Worker *worker, int fd) noexcept nogil:
        """Ask for the status of the root, which nobody has done yet. Metadata that was given to it beforehand stays."""
        cdef Entry *root = self.table.root
        cdef Entry stated = root[0]
        # The descriptor may have been read before.
        lseek(fd, 0, SEEK_SET)
        root.xattrs = NULL
        if not self.fill(worker, fd, b"." if root.kind == KIND_DIRECTORY else b"", root):
            return False
        if stated.flags & FLAG_SYNTHETIC:
            root.mode = stated.mode
            root.uid = stated.uid
            root.gid = stated.gid
            root.mtime = stated.mtime
            root.mtime_ns = stated.mtime_ns
            root.xattrs = stated.xattrs
        return True

    cdef int scan_name(self, Worker *worker, const Job *job, int fd, const char *name) noexcept nogil:
        """Add one name to what was found. Returns 1 if it was added, 0 if it is left out, -1 on a fault."""
        cdef Entry *entry
        cdef Entry *grown
        cdef const char *path
        cdef const char *matched = NULL
        cdef uint8_t *matches = worker.scratch + self.patterns.scratch_size
        cdef size_t size, capacity
        cdef bint excluded = False
        if worker.found_count == worker.found_capacity:
            capacity = 2 * worker.found_capacity if worker.found_capacity else 64
            grown = <Entry *>realloc(worker.found, capacity * sizeof(Entry))
            if grown == NULL:
                self.fail(FAULT_MEMORY, 0, job.directory, name)
                return -1
            worker.found = grown
            worker.found_capacity = capacity
        entry = &worker.found[worker.found_count]
        memset(entry, 0, sizeof(Entry))
        entry.parent = job.directory
        entry.name = name
        entry.name_size = strlen(name)
        if self.patterns.count:
            path = path_of(&worker.path, entry, self.table.root, &size)
            if path == NULL:
                self.fail(FAULT_MEMORY, 0, job.directory, name)
                return -1
            excluded = self.patterns.excludes(path, size, job.matched, matches, worker.scratch)
            if excluded and not self.may_hold_kept(worker, fd, entry):
                return 0
        if strncmp(name, b".wh.", 4) == 0 and not self.keep_whiteouts and not excluded:
            self.fail(FAULT_WHITEOUT_NAME, 0, job.directory, name)
            return -1
        if not self.fill(worker, fd, name, entry):
            return -1
        if entry.name_size == 0:
            return 0
        if excluded:
            if entry.kind != KIND_DIRECTORY:
                return 0
            entry.flags |= FLAG_EXCLUDED
        entry.name = arena_copy(worker.arena, name, entry.name_size + 1)
        if self.one_file_system and entry.kind == KIND_DIRECTORY and entry.device != self.table.root.device:
            # Files are not asked: one that is mounted over another belongs to the tree, and on an overlay, files have
            # devices of their own (GNU tar's --one-file-system does not ask them either).
            entry.flags |= FLAG_MOUNTED
        if entry.kind == KIND_DIRECTORY and self.patterns.count:
            matched = arena_copy(worker.arena, <const char *>matches, self.patterns.count)
            entry.link.children = <Entry *>matched
        if entry.name == NULL or (entry.kind == KIND_DIRECTORY and self.patterns.count and matched == NULL):
            self.fail(FAULT_MEMORY, 0, job.directory, name)
            return -1
        worker.found_count += 1
        return 1

    cdef bint may_hold_kept(self, Worker *worker, int fd, Entry *entry) noexcept nogil:
        """Return whether an excluded name is a directory beneath which something may be let in again.

        Such a directory is scanned, and the plan drops it if nothing is. Of other excluded names nothing is asked:
        neither a socket nor something unreadable there is anybody's concern. What has no status may be such a directory.
        """
        cdef struct_stat status
        cdef const char *path
        cdef size_t size
        if not self.patterns.has_negations:
            return False
        if fstatat(fd, entry.name, &status, AT_SYMLINK_NOFOLLOW) != 0:
            if errno == ENOENT:
                return False
        elif not S_ISDIR(status.st_mode):
            return False
        entry.kind = KIND_DIRECTORY
        path = path_of(&worker.path, entry, self.table.root, &size)
        # Without memory for the path the scan of the directory, which needs it too, is where that is said.
        return path == NULL or self.patterns.may_readmit(path, size, worker.scratch)

    cdef bint fill(self, Worker *worker, int fd, const char *name, Entry *entry) noexcept nogil:
        """Ask the kernel for all that is to be known of `name`; of what `fd` itself is, where that is empty.

        A socket is counted and its name_size made 0.
        """
        cdef struct_stat status
        cdef char *target = worker.buffer + DIRENTS_SIZE
        cdef ssize_t size
        cdef FaultKind fault
        cdef const Entry *parent = entry.parent if entry != self.table.root else entry
        if fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW if name[0] else AT_EMPTY_PATH) != 0:
            self.fail(FAULT_STAT, errno, parent, name)
            return False
        if not status_take(entry, &status):
            entry.name_size = 0
            return self.note_socket(parent, name)
        if entry.kind == KIND_SYMLINK:
            size = readlinkat(fd, name, target, TARGET_SIZE)
            if size < 0:
                # It was a link a moment ago.
                self.fail(FAULT_READ_LINK, ESTALE if errno == EINVAL else errno, parent, name)
                return False
            entry.size = size
            entry.link.target = arena_copy(worker.arena, target, size)
            if entry.link.target == NULL:
                self.fail(FAULT_MEMORY, 0, parent, name)
                return False
        if not self.with_xattrs:
            return True
        fault = xattrs_read(worker.xattr_way, fd, name, target, worker.arena, entry)
        if fault != FAULT_NONE:
            self.fail(fault, errno if fault == FAULT_XATTR else 0, parent, name)
        return fault == FAULT_NONE
