# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The plan: the layer's tar stream, known to the byte before any file is read.

It goes through the entries in the layer's order, close behind the scan: finds hard links, measures every header, and
cuts the stream into blocks at positions that depend on nothing but the scan. The rule of the cut
(docs/architecture.md): before an entry the open block is closed if it is not empty and the entry does not fit, or the
CRC-32 of the entry's path is 0 modulo 256. The data of an entry that is larger than a block stands in blocks of its
own. So the same data gives the same blocks in any tree, and a change in one place leaves the blocks elsewhere as they
were.

A plan is of all of a table, behind the scan; or of a selection of its entries (selection.pyx), complete at once. A hard
link's origin is the first one in the layer.

One thread plans, without the GIL. Blocks that are planned can be rendered by others at once: their entries and all
that stands above these do not change any more. The lock guards the blocks and who waits for them.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t

from fastoci._engine.blocks cimport blocks_add, blocks_free, blocks_get
from fastoci._engine.crc32 cimport crc32
from fastoci._engine.entry cimport (
    Entry,
    FLAG_SYNTHETIC,
    KIND_DIRECTORY,
    KIND_HARDLINK,
    data_size,
    first_entry,
    next_entry,
    readmit,
)
from fastoci._engine.fault cimport FAULT_HEADERS, FAULT_MEMORY, FAULT_SIZE, FaultKind, fault_clear
from fastoci._engine.header cimport Header, RECORD, header_fill, header_names, header_size, padded, policy_fill
from fastoci._engine.links cimport LinkedFile, links_find, links_free
from fastoci._engine.path cimport PathBuffer, path_copy, path_free, path_init
from fastoci._engine.pthread cimport (
    pthread_cond_broadcast,
    pthread_cond_destroy,
    pthread_cond_init,
    pthread_cond_signal,
    pthread_cond_wait,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_unlock,
)
from fastoci._engine.queue cimport queue_await
from fastoci._engine.raising cimport raise_fault
from fastoci._engine.selection cimport selection_free, selection_take
from fastoci._engine.table cimport describe_entry, find_entry

cdef enum:
    TRAILER_SIZE = 1024         # two records of zeros end an archive (POSIX.1, ustar interchange format)
    CUT_MODULUS = 256
    RESERVE = 4096              # of what 63 bits can count, for padding and trailer


cdef class Plan:
    """The plan of one layer. What it takes of the table is its own from now on: entries are made hard links.

    Args:
        table: The table of the entries.
        block_size: The most bytes of tar in a block; a multiple of 512, at least 1024.
        uid, gid: The owner of every entry found in the tree, -1 to keep each its own.
        mtime_limit: Later modification times become this one, seconds since the epoch; None for no limit.
        mtime: The modification time of every entry found in the tree, before the limit; None keeps each its own.
        modes: What becomes of the twelve bits of a mode: 4096 numbers of 16 bits for directories, in the machine's
            order of bytes, and as many for all others but symbolic links. None keeps them.
        scanner: What fills the table meanwhile; the plan is then made by `run`. None: a scan has filled the table,
            and the plan is made at once.
        selection: The numbers of entries of a table in order (`EntryTable.arrange`), 32 bits each in the machine's
            order of bytes, as they come; no two plans may have the same, but for directories. The plan is made at
            once. None: all entries.

    Attributes:
        count: How many entries are planned so far.

    Raises:
        EngineFault: An entry's headers alone are larger than a block, or the layer is than 8 EiB.
        MemoryError: Memory was short.
        IndexError: The table has no entry of such a number.
        ValueError: The table has a plan already, or another selection has the entry.
    """

    def __cinit__(self, EntryTable table not None, *, uint32_t block_size, int64_t uid=-1, int64_t gid=-1,
                  mtime_limit=None, mtime=None, bytes modes=None, Scanner scanner=None, selection=None):
        if block_size < TRAILER_SIZE or block_size % RECORD:
            raise ValueError("a block is a whole number of tar records, two of them at least")
        if table.planned or table.arranged and selection is None:
            raise ValueError("the table has a plan already, or is for selections")
        if scanner is not None and scanner.table is not table:
            raise ValueError("the scanner fills another table")
        if scanner is not None and selection is not None:
            raise ValueError("a selection is of a table that is full")
        self.table = table
        self.scanner = scanner
        self.block_size = block_size
        self.modes = modes
        policy_fill(&self.policy, uid, gid, mtime_limit, mtime, modes)
        self.newest = -INT64_MAX
        self.one_owner = True
        if pthread_mutex_init(&self.lock, NULL) != 0:
            raise MemoryError
        if pthread_cond_init(&self.grown, NULL) != 0:
            pthread_mutex_destroy(&self.lock)
            raise MemoryError
        if pthread_cond_init(&self.wanted, NULL) != 0:
            pthread_cond_destroy(&self.grown)
            pthread_mutex_destroy(&self.lock)
            raise MemoryError
        self.ready = True
        if selection is None:
            table.planned = True
        else:
            selection_take(&self.selection, table, selection)
        if scanner is None:
            self.run()

    def __dealloc__(self):
        if self.ready:
            pthread_cond_destroy(&self.wanted)
            pthread_cond_destroy(&self.grown)
            pthread_mutex_destroy(&self.lock)
        links_free(&self.links)
        selection_free(&self.selection)
        blocks_free(&self.blocks)
        fault_clear(&self.fault)

    def run(self):
        """Plan until the end, as fast as the scan goes. Called once, where the plan was given a scanner.

        Returns:
            True: the plan is complete. False: it was stopped, or the scan was.

        Raises:
            EngineFault: An entry's headers alone are larger than a block, or the layer is than 8 EiB.
            MemoryError: Memory was short.
        """
        cdef bint done
        with nogil:
            done = self.plan_all()
            links_free(&self.links)
            self.end()
        raise_fault(&self.fault)
        return done

    def wait(self, uint64_t number):
        """Wait for block `number`. Returns whether there is one: False after the last, or where planning was given up."""
        cdef bint found
        with nogil:
            pthread_mutex_lock(&self.lock)
            while number >= self.blocks.count and not self.ended and not self.stopped:
                pthread_cond_wait(&self.grown, &self.lock)
            found = number < self.blocks.count
            pthread_mutex_unlock(&self.lock)
        return found

    def stop(self):
        """Make `run` give up, `wait` wait no more, and reading ahead end. Blocks that are planned stay."""
        with nogil:
            pthread_mutex_lock(&self.lock)
            self.stopped = True
            pthread_cond_broadcast(&self.grown)
            pthread_cond_broadcast(&self.wanted)
            pthread_mutex_unlock(&self.lock)

    def __len__(self):
        return self.count

    def describe(self, uint64_t number):
        """Return entry `number` of this layer as (path, kind, facts); see `EntryTable.describe`."""
        return describe_entry(self._entry(number))

    def find(self, bytes path not None):
        """Return (kind, facts) of the entry at `path` in this layer, or None. Facts are those of `describe`."""
        return find_entry(self.describe, self.count, path)

    @property
    def block_count(self):
        """How many blocks are planned so far."""
        return self.blocks.count

    @property
    def tar_size(self):
        """The bytes of tar that are planned so far."""
        return self.blocks.size

    @property
    def owner(self):
        """The one (uid, gid) that every entry found in the tree has; None where they differ or there are none."""
        return (self.owner_uid, self.owner_gid) if self.one_owner and self.found else None

    @property
    def newest_mtime(self):
        """The newest modification time of what was found in the tree, after the policy; None where there is nothing."""
        return self.newest if self.found else None

    def block(self, uint64_t number):
        """Return (first entry, offset in its data or -1, offset in the tar stream, size) of a block."""
        cdef Block block
        if not self.begin_block(number, &block):
            raise IndexError(number)
        return block.first, block.data_offset, block.tar_offset, block.size

    cdef const Entry *_entry(self, uint64_t number) except NULL:
        """Return an entry by its place in this layer's order. The plan must be complete."""
        if self.selection.entries == NULL:
            return self.table._entry(number)
        if number >= self.count:
            raise IndexError(number)
        return self.selection.entries[number]

    # What follows holds no GIL. Everybody's part:

    cdef const Entry *following(self, const Entry *entry, uint64_t *number) noexcept nogil:
        """Return the entry of this layer after one of a number, which is made the next; NULL after the last one."""
        number[0] += 1
        if self.selection.entries == NULL:
            return next_entry(entry)
        return self.selection.entries[number[0]] if number[0] < self.selection.count else NULL

    # The planning thread's part:

    cdef bint fail(self, FaultKind kind, const Entry *entry, int64_t expected, int64_t found) noexcept nogil:
        self.fault.kind = kind
        self.fault.expected = expected
        self.fault.found = found
        if entry != NULL:
            self.fault.path = path_copy(entry, self.table.root, &self.fault.path_size)
        return False

    cdef bint plan_all(self) noexcept nogil:
        """Go through the entries in order, and end the archive."""
        cdef PathBuffer path_buffer, link_buffer
        cdef uint64_t number
        cdef bint going = True
        path_init(&path_buffer)
        path_init(&link_buffer)
        if self.selection.entries == NULL:
            going = self.plan_tree(&path_buffer, &link_buffer)
        else:
            for number in range(self.selection.count):
                going = self.add(self.selection.entries[number], &path_buffer, &link_buffer)
                if not going:
                    break
        path_free(&path_buffer)
        path_free(&link_buffer)
        return going and self.finish()

    cdef bint plan_tree(self, PathBuffer *path_buffer, PathBuffer *link_buffer) noexcept nogil:
        """Go through all entries of the table, waiting where the scan is not so far yet."""
        cdef const Entry *root = self.table.root
        cdef const Entry *entry
        # What the root is has to be known: the directories above it are known from the start, and it may be a file.
        cdef bint going = self.await_all() and self.await_scan(root)
        entry = first_entry(root) if going else NULL
        while entry != NULL and going:
            going = (
                not self.stopped
                and (entry.kind != KIND_DIRECTORY or self.await_scan(entry))
                and self.add(<Entry *>entry, path_buffer, link_buffer)
            )
            if going:
                entry = next_entry(entry)
        return going

    cdef bint await_scan(self, const Entry *directory) noexcept nogil:
        """Wait until what a directory holds is known; NULL: until all is. False where it never will be."""
        return self.scanner is None or queue_await(&self.scanner.queue, directory)

    cdef bint await_all(self) noexcept nogil:
        """Let excluded directories in again that hold something kept, which is known only when the scan has ended."""
        cdef const Entry *top = self.table.root
        if self.scanner is not None and not self.scanner.patterns.has_negations:
            return True
        if not self.await_scan(NULL):
            return False
        while top.parent != NULL:
            top = top.parent
        readmit(top)
        return True

    cdef bint add(self, Entry *entry, PathBuffer *path_buffer, PathBuffer *link_buffer) noexcept nogil:
        """Take the next entry in order: what it is, what its headers take, and where it comes to stand."""
        cdef Header header
        cdef const LinkedFile *file
        cdef int64_t size
        if entry.links > 1 and entry.kind != KIND_DIRECTORY:
            file = links_find(&self.links, entry)
            if file == NULL:
                return self.fail(FAULT_MEMORY, NULL, 0, 0)
            if file.first != entry:
                entry.kind = KIND_HARDLINK
                entry.link.origin = file.first
                entry.size = 0
                entry.xattrs = NULL
        header_fill(&header, entry, &self.policy)
        if not header_names(&header, path_buffer, link_buffer):
            return self.fail(FAULT_MEMORY, NULL, 0, 0)
        size = header_size(&header)
        if size > self.block_size:
            return self.fail(FAULT_HEADERS, entry, self.block_size, size)
        entry.header_size = size
        self.note(&header)
        return self.place(&header)

    cdef void note(self, const Header *header) noexcept nogil:
        """See who owns what, and which time is the newest."""
        cdef const Entry *entry = header.entry
        if entry.flags & FLAG_SYNTHETIC:
            return
        self.newest = max(self.newest, header.mtime)
        if not self.found:
            self.owner_uid = entry.uid
            self.owner_gid = entry.gid
        elif entry.uid != self.owner_uid or entry.gid != self.owner_gid:
            self.one_owner = False
        self.found = True

    cdef bint place(self, const Header *header) noexcept nogil:
        """Add an entry to the open block, or close that before it: the rule of the cut."""
        cdef const Entry *entry = header.entry
        cdef int64_t limit = self.block_size, data, weight
        cdef int64_t room = INT64_MAX - self.blocks.size - self.open_size - entry.header_size - RESERVE
        cdef bint apart
        if data_size(entry) > room:
            return self.fail(FAULT_SIZE, entry, room, data_size(entry))
        data = padded(data_size(entry))
        apart = entry.header_size + data > limit
        weight = entry.header_size if apart else entry.header_size + data
        if self.open_size and (
            self.open_size + weight > limit or crc32(header.path, header.path_size) % CUT_MODULUS == 0
        ):
            if not self.close_block():
                return False
        if self.open_size == 0:
            self.open_entry = entry
            self.open_first = self.count
        self.open_size += weight
        self.count += 1
        if self.selection.entries == NULL:
            self.table.count = self.count
        return not apart or (self.close_block() and self.add_blocks(entry, self.count - 1, True, data))

    cdef bint finish(self) noexcept nogil:
        """Add the trailer, an entry without a path, and close the last block."""
        if self.open_size + TRAILER_SIZE > self.block_size and not self.close_block():
            return False
        if self.open_size == 0:
            self.open_entry = NULL
            self.open_first = self.count
        self.open_size += TRAILER_SIZE
        return self.close_block()

    cdef bint close_block(self) noexcept nogil:
        cdef int64_t size = self.open_size
        self.open_size = 0
        return self.add_blocks(self.open_entry, self.open_first, False, size)

    cdef bint add_blocks(self, const Entry *entry, uint32_t first, bint is_data, int64_t size) noexcept nogil:
        cdef bint done
        pthread_mutex_lock(&self.lock)
        done = blocks_add(&self.blocks, entry, first, is_data, size, self.block_size)
        if done:
            pthread_cond_broadcast(&self.grown)
            if self.cold:
                pthread_cond_signal(&self.wanted)
        pthread_mutex_unlock(&self.lock)
        return done or self.fail(FAULT_MEMORY, NULL, 0, 0)

    cdef void end(self) noexcept nogil:
        """Say that there will be no more blocks."""
        pthread_mutex_lock(&self.lock)
        self.ended = True
        pthread_cond_broadcast(&self.grown)
        pthread_cond_broadcast(&self.wanted)
        pthread_mutex_unlock(&self.lock)

    # The renderers' part:

    cdef bint begin_block(self, uint64_t number, Block *block) noexcept nogil:
        """Copy what is known of a block; False where there is none. Whoever reads ahead stays before it."""
        cdef bint found
        pthread_mutex_lock(&self.lock)
        found = blocks_get(&self.blocks, number, self.block_size, block)
        if found:
            self.begun = max(self.begun, number + 1)
            if self.cold:
                pthread_cond_signal(&self.wanted)
        pthread_mutex_unlock(&self.lock)
        return found

    cdef void note_cold(self) noexcept nogil:
        """Say that something had to be waited for that was not in the page cache."""
        pthread_mutex_lock(&self.lock)
        if not self.cold:
            self.cold = True
            pthread_cond_signal(&self.wanted)
        pthread_mutex_unlock(&self.lock)
