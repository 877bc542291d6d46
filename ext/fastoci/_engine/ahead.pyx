# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""Reading ahead: on a tree that is not in the page cache, the disk works before the workers ask it to.

One thread goes through the plan some way before the renderers and tells the kernel which bytes will be wanted; the
kernel reads them in the background, many files at once. It sleeps until a renderer has had to wait for a disk, and
again when it finds a stretch of the plan in the page cache: for a warm tree it costs nothing. What it cannot open it
leaves: saying what is wrong is the renderers' part.
"""

from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int64_t, uint64_t
from posix.unistd cimport close

from fastoci._engine.dirs cimport DirCache, dirs_close, dirs_init, dirs_open
from fastoci._engine.entry cimport Entry, data_size, next_entry
from fastoci._engine.header cimport padded
from fastoci._engine.kernel cimport OPEN_FILE, POSIX_FADV_WILLNEED, openat, posix_fadvise, pread_cached
from fastoci._engine.plan cimport Block, Plan
from fastoci._engine.pthread cimport pthread_cond_wait, pthread_mutex_lock, pthread_mutex_unlock

cdef enum:
    WINDOW = 128        # blocks before the renderers, 64 MiB at most
    WARM = 32           # blocks in a row with nothing to read: the tree is in the page cache


cdef class ReadAhead:
    """Reads ahead for one plan, in one thread.

    Args:
        plan: The plan; it and its table stay alive as long as this.
    """

    cdef readonly Plan plan
    cdef DirCache dirs

    def __cinit__(self, Plan plan not None):
        self.plan = plan
        dirs_init(&self.dirs, plan.table.root, plan.table.root_fd)

    def __dealloc__(self):
        dirs_close(&self.dirs)

    def run(self):
        """Work until the plan is at its end or was stopped.

        Returns:
            How many pieces of files the kernel was asked to read.
        """
        cdef uint64_t asked = 0
        if self.plan.table.root_fd < 0:
            raise ValueError("the table is closed")
        with nogil:
            self._run(&asked)
            dirs_close(&self.dirs)
        return asked

    cdef void _run(self, uint64_t *asked) noexcept nogil:
        cdef Block block
        cdef uint64_t number = 0, found
        cdef int warm = 0
        pthread_mutex_lock(&self.plan.lock)
        while not self.plan.stopped:
            number = max(number, self.plan.begun)
            if self.plan.ended and number >= self.plan.block_count:
                break
            if not self.plan.cold or number >= self.plan.block_count or number >= self.plan.begun + WINDOW:
                pthread_cond_wait(&self.plan.wanted, &self.plan.lock)
                continue
            block = self.plan.blocks[number]
            number += 1
            pthread_mutex_unlock(&self.plan.lock)
            found = self._ask(&block)
            asked[0] += found
            warm = 0 if found else warm + 1
            pthread_mutex_lock(&self.plan.lock)
            if warm == WARM:
                self.plan.cold = False
                warm = 0
        pthread_mutex_unlock(&self.plan.lock)

    cdef uint64_t _ask(self, const Block *block) noexcept nogil:
        """Ask for the data of a block that is not in the page cache, and return of how many files that was."""
        cdef const Entry *entry = block.entry
        cdef int64_t offset = block.data_offset, left = block.size, size
        cdef uint64_t asked = 0
        while entry != NULL and left > 0:
            if offset < 0:
                left -= entry.header_size
                offset = 0
            size = min(data_size(entry) - offset, left)
            if size > 0:
                asked += self._ask_file(entry, offset, size)
                left -= padded(size)
            if left > 0:
                entry = next_entry(entry)
                offset = -1
        return asked

    cdef bint _ask_file(self, const Entry *entry, int64_t offset, int64_t size) noexcept nogil:
        cdef int directory = dirs_open(&self.dirs, entry.parent)
        cdef int fd
        cdef char first
        cdef bint cold
        if directory < 0:
            return False
        fd = openat(directory, entry.name, OPEN_FILE)
        if fd < 0:
            return False
        cold = pread_cached(fd, &first, 1, offset) < 0 and errno == EAGAIN
        if cold:
            posix_fadvise(fd, offset, size, POSIX_FADV_WILLNEED)
        close(fd)
        return cold
