# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""Reading ahead: on a tree that is not in the page cache, the disk works before the workers ask it to.

One thread goes through the plan some way before the renderers and tells the kernel which bytes will be wanted; the
kernel reads them in the background, many files at once. It sleeps until a renderer has had to wait for a disk, and
again when it finds a stretch of the plan in the page cache: for a warm tree it costs nothing. What it cannot open it
leaves: saying what is wrong is the renderers' part.

A stretch of the plan is asked for in the order of inode numbers. File systems lay files out in the order in which they
were made, which is that of their inodes: of 30,000 files of a node_modules tree 2 % lie beside the next one in the
order of paths, and 97 % in the order of inodes. What is small is asked for in batches (aio.pxd), so that neighbours are
read by one request.
"""

from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from posix.unistd cimport close

from fastoci._engine.aio cimport BATCH_READ, BATCH_SIZE, Batch, batch_add, batch_free, batch_init, batch_read
from fastoci._engine.blocks cimport Block, blocks_get
from fastoci._engine.dirs cimport DirCache, dirs_again, dirs_close, dirs_init, dirs_open
from fastoci._engine.entry cimport Entry, data_size
from fastoci._engine.header cimport padded
from fastoci._engine.kernel cimport OPEN_FILE, POSIX_FADV_WILLNEED, openat, posix_fadvise, pread_cached
from fastoci._engine.plan cimport Plan
from fastoci._engine.pthread cimport pthread_cond_wait, pthread_mutex_lock, pthread_mutex_unlock

cdef enum:
    WINDOW = 128        # blocks before the renderers, 64 MiB at most
    STRETCH = 64        # blocks asked for in one go, in the order of inodes
    NEAR = 16           # where the renderers are as near as this, fewer blocks will do
    WARM = 32           # blocks in a row with nothing to read: the tree is in the page cache

cdef struct Piece:
    const Entry *entry
    int64_t offset      # in the file's data
    int64_t size


cdef int _by_inode(const void *left, const void *right) noexcept nogil:
    cdef const Piece *a = <const Piece *>left
    cdef const Piece *b = <const Piece *>right
    if a.entry.inode != b.entry.inode:
        return 1 if a.entry.inode > b.entry.inode else -1
    return (a.offset > b.offset) - (a.offset < b.offset)


cdef class ReadAhead:
    """Reads ahead for one plan, in one thread.

    Args:
        plan: The plan; it and its table stay alive as long as this.
    """

    cdef readonly Plan plan
    cdef DirCache dirs
    cdef Batch batch
    cdef bint batches           # whether the kernel takes them
    cdef Piece *pieces          # of the stretch at hand
    cdef size_t count
    cdef size_t capacity

    def __cinit__(self, Plan plan not None):
        self.plan = plan
        dirs_init(&self.dirs, plan.table.root, plan.table.root_fd)

    def __dealloc__(self):
        dirs_close(&self.dirs)
        free(self.pieces)

    def run(self):
        """Work until the plan is at its end or was stopped.

        Returns:
            How many pieces of files the kernel was asked to read.
        """
        cdef uint64_t asked = 0
        if self.plan.table.root_fd < 0:
            raise ValueError("the table is closed")
        with nogil:
            self.batches = batch_init(&self.batch)
            self._run(&asked)
            if self.batches:
                batch_free(&self.batch)
            dirs_close(&self.dirs)
        return asked

    cdef void _run(self, uint64_t *asked) noexcept nogil:
        cdef Block blocks[STRETCH]
        cdef uint64_t number = 0, found
        cdef int warm = 0, size, taken
        pthread_mutex_lock(&self.plan.lock)
        while not self.plan.stopped:
            number = max(number, self.plan.begun)
            if self.plan.ended and number >= self.plan.blocks.count:
                break
            size = self._next_stretch(number)
            if size == 0:
                pthread_cond_wait(&self.plan.wanted, &self.plan.lock)
                continue
            for taken in range(size):
                blocks_get(&self.plan.blocks, number + taken, self.plan.block_size, &blocks[taken])
            number += size
            pthread_mutex_unlock(&self.plan.lock)
            self.count = 0
            for taken in range(size):
                if not self._gather(&blocks[taken]):
                    break
            found = self._ask()
            asked[0] += found
            warm = 0 if found else warm + size
            pthread_mutex_lock(&self.plan.lock)
            if warm >= WARM:
                self.plan.cold = False
                warm = 0
        pthread_mutex_unlock(&self.plan.lock)

    cdef int _next_stretch(self, uint64_t number) noexcept nogil:
        """Return how many blocks to ask for now from `number` on, 0 to wait; called under the plan's lock.

        A long stretch is worth waiting for, but not while the renderers wait for the disk.
        """
        cdef uint64_t end = min(self.plan.blocks.count, self.plan.begun + WINDOW)
        if not self.plan.cold or end <= number:
            return 0
        if end - number < STRETCH and number > self.plan.begun + NEAR and not self.plan.ended:
            return 0
        return <int>min(end - number, <uint64_t>STRETCH)

    cdef bint _gather(self, const Block *block) noexcept nogil:
        """Add the pieces of files that a block holds; False where memory is short, and what was gathered must do."""
        cdef const Entry *entry = block.entry
        cdef uint64_t number = block.first
        cdef int64_t offset = block.data_offset, left = block.size, size
        while entry != NULL and left > 0:
            if offset < 0:
                left -= entry.header_size
                offset = 0
            size = min(data_size(entry) - offset, left)
            if size > 0:
                if not self._add(entry, offset, size):
                    return False
                left -= padded(size)
            if left > 0:
                entry = self.plan.following(entry, &number)
                offset = -1
        return True

    cdef bint _add(self, const Entry *entry, int64_t offset, int64_t size) noexcept nogil:
        cdef Piece *grown
        cdef size_t capacity
        if self.count == self.capacity:
            capacity = 2 * self.capacity if self.capacity else 1024
            grown = <Piece *>realloc(self.pieces, capacity * sizeof(Piece))
            if grown == NULL:
                return False
            self.pieces = grown
            self.capacity = capacity
        self.pieces[self.count] = Piece(entry, offset, size)
        self.count += 1
        return True

    cdef uint64_t _ask(self) noexcept nogil:
        """Ask for the pieces that are not in the page cache, and return how many these were."""
        cdef uint64_t asked = 0
        cdef size_t number
        cdef int fd
        cdef const Piece *piece
        if self.count == 0:
            return 0
        qsort(self.pieces, self.count, sizeof(Piece), _by_inode)
        for number in range(self.count):
            if self.plan.stopped:
                break
            piece = &self.pieces[number]
            fd = self._open(piece.entry)
            if fd < 0:
                continue
            if self.batches and piece.offset == 0 and piece.size <= BATCH_READ:
                batch_add(&self.batch, fd, piece.size)
                if self.batch.count == BATCH_SIZE:
                    asked += self._read_batch()
                continue
            asked += _advise(fd, piece)
            close(fd)
        if self.batches and self.batch.count:
            asked += self._read_batch()
        return asked

    cdef uint64_t _read_batch(self) noexcept nogil:
        cdef int cold = batch_read(&self.batch)
        if cold < 0:
            # Lost with it are hints alone. From now on the kernel is asked the other way.
            self.batches = False
            batch_free(&self.batch)
        return max(cold, 0)

    cdef int _open(self, const Entry *entry) noexcept nogil:
        cdef int directory
        if entry == self.dirs.root:
            return dirs_again(&self.dirs)
        directory = dirs_open(&self.dirs, entry.parent)
        return -1 if directory < 0 else openat(directory, entry.name, OPEN_FILE)


cdef bint _advise(int fd, const Piece *piece) noexcept nogil:
    """Have the kernel read a piece if its beginning is not in the page cache, and return whether it is not."""
    cdef char first
    if pread_cached(fd, &first, 1, piece.offset) >= 0 or errno != EAGAIN:
        return False
    posix_fadvise(fd, piece.offset, piece.size, POSIX_FADV_WILLNEED)
    return True
