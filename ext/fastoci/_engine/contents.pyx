# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The bytes of files, compared: for the pairs of a comparison, by several threads.

A comparer belongs to one thread, takes pairs until there are none left, and gives each back. Both files are read, where
both have a table of a tree; what is a hole in both is passed over. Where the base knows a file by a digest, Python takes
the other one's bytes and gives back theirs: of small files many at once, of a larger one a piece after the other. Either
way a file that is not what was scanned, or cannot be read, is a fault of the reader of its table, and ends the work.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport ENXIO, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp
from posix.unistd cimport close

from fastoci._engine.comparison cimport Comparison
from fastoci._engine.entry cimport Entry, FLAG_SPARSE
from fastoci._engine.kernel cimport SEEK_DATA, lseek
from fastoci._engine.pairs cimport RUN_COUNT, FilePair, pairs_give_back, pairs_stop, pairs_take
from fastoci._engine.reader cimport FileReader
from fastoci._engine.zeros cimport ZEROS_BLOCK, has_zero_block, is_zero_block

cdef enum:
    PIECE = 256 * 1024      # bytes of each file that are compared at a time
    DIGEST_SIZE = 32        # of SHA-256


cdef int64_t _next_data(const Entry *entry, int fd, int64_t offset) noexcept nogil:
    """Return where a file has data again, from an offset on; its size where it has none."""
    cdef int64_t data
    if not entry.flags & FLAG_SPARSE:
        return offset
    data = lseek(fd, offset, SEEK_DATA)
    if data < 0:
        # Without SEEK_DATA the file is one extent.
        return entry.size if errno == ENXIO else offset
    return min(data, entry.size)


def zero_runs(data):
    """Return where some bytes hold blocks of 4,096 zeros, counted from their start.

    Returns:
        The first byte of each run of such blocks and the first one behind it, in order.
    """
    cdef Py_buffer view
    cdef const char *bytes
    cdef Py_ssize_t at = 0, start
    cdef list found = []
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        bytes = <const char *>view.buf
        while at + ZEROS_BLOCK <= view.len:
            start = at
            while at + ZEROS_BLOCK <= view.len and is_zero_block(bytes + at):
                at += ZEROS_BLOCK
            if at > start:
                found.append((start, at))
            else:
                at += ZEROS_BLOCK
    finally:
        PyBuffer_Release(&view)
    return found


cdef class ContentComparer:
    """Compares files for one thread.

    Args:
        comparison: Whose pairs; it has been run.

    Attributes:
        files: The reader of the tree's files.
        base_files: The reader of the base's. `check` of either says what went wrong.

    Raises:
        ValueError: A table is closed.
    """

    cdef readonly Comparison comparison
    cdef readonly FileReader files
    cdef readonly FileReader base_files
    cdef char *buffer
    cdef FilePair *run_at       # of the pairs that were taken: the next,
    cdef uint64_t run_left      # how many are left,
    cdef uint64_t run_count     # and how many these were
    cdef FilePair *pair         # whose bytes Python takes at the moment; NULL: of none
    cdef int fd
    cdef int64_t offset
    cdef FilePair *small            # the first of those whose digests are asked for at the moment,
    cdef uint64_t small_count       # and how many these are
    cdef int64_t small_ends[RUN_COUNT]      # where the bytes of each end in Python's buffer
    cdef uint8_t small_zeros[RUN_COUNT]     # whether a block of them is zeros

    def __cinit__(self, Comparison comparison not None):
        self.fd = -1
        if comparison.table.root_fd < 0:
            raise ValueError("the table is closed")
        self.comparison = comparison
        self.files = FileReader()
        self.files.begin(comparison.table)
        self.base_files = FileReader()
        self.base_files.begin(comparison.base)

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)
        free(self.buffer)

    def run(self):
        """Compare files of both trees until there are no more, or something went wrong: then everybody ends.

        Raises:
            MemoryError: Memory was short.
            ValueError: The base has no files, only their digests.
        """
        if self.comparison.base.root_fd < 0:
            raise ValueError("the base's table has no tree")
        if self.buffer == NULL:
            self.buffer = <char *>malloc(2 * PIECE)
        if self.buffer == NULL:
            pairs_stop(&self.comparison.pairs)
            raise MemoryError
        with nogil:
            self._run()

    def read_small(self, buffer):
        """Read the next files whole, as many as stand in one directory and fit into a buffer.

        Returns:
            For each in order where its bytes begin and end in the buffer, and whether a block of them is zeros;
            `end_small` takes what they are known by. Nothing where the next one is too large, or there is none, or one
            could not be read: then everybody ends.
        """
        cdef Py_buffer view
        cdef uint64_t number
        cdef int64_t start = 0
        cdef list found = []
        if self.pair != NULL or self.small_count:
            raise ValueError("the digest of a file is missing")
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            with nogil:
                self._read_small(<char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        for number in range(self.small_count):
            found.append((start, self.small_ends[number], bool(self.small_zeros[number])))
            start = self.small_ends[number]
        return found

    def end_small(self, bytes digests not None):
        """Give back the files that `read_small` has read.

        Args:
            digests: 32 bytes for each.

        Raises:
            ValueError: These are not as many.
        """
        cdef const char *found = digests
        cdef uint64_t number
        if <uint64_t>len(digests) != self.small_count * DIGEST_SIZE:
            raise ValueError("a digest for each file")
        for number in range(self.small_count):
            self.small[number].differs = (
                memcmp(found + number * DIGEST_SIZE, self.small[number].base.link.digest, DIGEST_SIZE) != 0
            )
        self.small_count = 0

    def begin(self):
        """Take the next file whose bytes are to be hashed.

        Returns:
            Whether there is one; there is none either where it could not be opened: then everybody ends.
        """
        if self.small_count:
            raise ValueError("the digests of files are missing")
        with nogil:
            self.pair = self._next()
            if self.pair != NULL:
                self.offset = 0
                self.fd = self.files.open(self.pair.entry)
                if self.fd < 0:
                    self._give_up()
        return self.pair != NULL

    def skip(self):
        """Pass over a hole that comes next in the file.

        Returns:
            How many bytes of zeros that are: 0 where there is none, or it is not known of any.
        """
        cdef int64_t start = self.offset
        if self.pair == NULL:
            return 0
        with nogil:
            self.offset = _next_data(self.pair.entry, self.fd, start)
        return self.offset - start

    def read(self, buffer):
        """Write the next bytes of the file to the start of a buffer, and return how many these are.

        Returns:
            0 at the end of the file, or where it could not be read: then everybody ends, and `end` says so.
        """
        cdef Py_buffer view
        cdef int64_t size = 0
        if self.pair == NULL:
            return 0
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            with nogil:
                size = min(<int64_t>view.len, self.pair.entry.size - self.offset)
                if self.files.read_from(self.pair.entry, self.fd, self.offset, <char *>view.buf, size):
                    self.offset += size
                else:
                    size = 0
                    self._give_up()
        finally:
            PyBuffer_Release(&view)
        return size

    def end(self, bytes digest not None):
        """Give the file back.

        Args:
            digest: What its bytes are known by, 32 bytes.

        Returns:
            Whether it has been read as it was scanned; where not, everybody ends.
        """
        cdef const char *found = digest
        if len(digest) != DIGEST_SIZE:
            raise ValueError("no digest of 32 bytes")
        if self.pair == NULL:
            return False
        if not self.files.is_unchanged(self.pair.entry, self.fd):
            self._give_up()
            return False
        close(self.fd)
        self.fd = -1
        self.pair.differs = memcmp(found, self.pair.base.link.digest, DIGEST_SIZE) != 0
        self.pair = NULL
        return True

    # What follows holds no GIL.

    cdef void _give_up(self) noexcept nogil:
        if self.fd >= 0:
            close(self.fd)
        self.fd = -1
        self.pair = NULL
        pairs_stop(&self.comparison.pairs)

    cdef bint _has_more(self) noexcept nogil:
        """Return whether there is one more pair to compare, those before being done."""
        if self.comparison.pairs.stopped:
            return False
        if self.run_left == 0:
            pairs_give_back(&self.comparison.pairs, self.run_count)
            self.run_count = self.run_left = pairs_take(&self.comparison.pairs, &self.run_at)
        return self.run_left != 0

    cdef FilePair *_next(self) noexcept nogil:
        """Return the next pair to compare, those before being done; NULL: there are none any more, or all is stopped."""
        if not self._has_more():
            return NULL
        self.run_left -= 1
        self.run_at += 1
        return self.run_at - 1

    cdef void _read_small(self, char *buffer, int64_t room) noexcept nogil:
        """Read as many of the pairs at hand as there is room for."""
        cdef int64_t used = 0
        if not self._has_more():
            return
        self.small = self.run_at
        while self.run_left and self.run_at.entry.size <= room - used:
            if not self.files.read(self.run_at.entry, 0, buffer + used, self.run_at.entry.size):
                self.small_count = 0
                self._give_up()
                return
            self.small_zeros[self.small_count] = has_zero_block(buffer + used, self.run_at.entry.size)
            used += self.run_at.entry.size
            self.small_ends[self.small_count] = used
            self.small_count += 1
            self.run_at += 1
            self.run_left -= 1

    cdef void _run(self) noexcept nogil:
        cdef FilePair *pair = self._next()
        while pair != NULL:
            if not self._compare(pair):
                pairs_stop(&self.comparison.pairs)
                return
            pair = self._next()

    cdef bint _compare(self, FilePair *pair) noexcept nogil:
        """Note whether two files of one size differ; False where one of them cannot be read, or has changed."""
        cdef int fd = self.files.open(pair.entry)
        cdef int base_fd
        cdef bint done
        if fd < 0:
            return False
        base_fd = self.base_files.open(pair.base)
        if base_fd < 0:
            close(fd)
            return False
        done = (
            self._compare_data(pair, fd, base_fd)
            and self.files.is_unchanged(pair.entry, fd)
            and self.base_files.is_unchanged(pair.base, base_fd)
        )
        close(fd)
        close(base_fd)
        return done

    cdef bint _compare_data(self, FilePair *pair, int fd, int base_fd) noexcept nogil:
        cdef int64_t offset = 0, size = pair.entry.size, piece
        while not pair.differs and not self.comparison.pairs.stopped:
            # Up to there both have a hole.
            offset = min(_next_data(pair.entry, fd, offset), _next_data(pair.base, base_fd, offset))
            if offset == size:
                break
            piece = min(<int64_t>PIECE, size - offset)
            if not (
                self.files.read_from(pair.entry, fd, offset, self.buffer, piece)
                and self.base_files.read_from(pair.base, base_fd, offset, self.buffer + PIECE, piece)
            ):
                return False
            pair.differs = memcmp(self.buffer, self.buffer + PIECE, piece) != 0
            offset += piece
        return True
