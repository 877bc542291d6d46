# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The plan: the layer's tar stream, known to the byte before any file is read.

From a scanned table it makes the order of the entries, finds hard links, measures every header, and cuts the stream
into blocks at positions that depend on nothing but the scan. The rule of the cut (docs/architecture.md): before an
entry the open block is closed if it is not empty and the entry does not fit, or the CRC-32 of the entry's path is 0
modulo 256. The data of an entry that is larger than a block stands in blocks of its own. So the same data gives the
same blocks in any tree, and a change in one place leaves the blocks elsewhere as they were.

All of it runs once, on one thread, without the GIL; afterwards nothing of table or plan changes any more.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp

from fastoci._engine.crc32 cimport crc32
from fastoci._engine.entry cimport (
    Entry,
    FLAG_EXCLUDED,
    FLAG_SYNTHETIC,
    KIND_BLOCK,
    KIND_CHARACTER,
    KIND_DIRECTORY,
    KIND_HARDLINK,
    KIND_SYMLINK,
    data_size,
)
from fastoci._engine.fault cimport FAULT_HEADERS, FAULT_MEMORY, FaultKind, fault_clear
from fastoci._engine.header cimport Header, RECORD, header_fill, header_names, header_size, padded
from fastoci._engine.path cimport PathBuffer, path_copy, path_free, path_init, path_of
from fastoci._engine.raising cimport raise_fault

cdef enum:
    TRAILER_SIZE = 1024         # two records of zeros end an archive (POSIX.1, ustar interchange format)
    CUT_MODULUS = 256


cdef inline const Entry *_next(const Entry *entry) noexcept nogil:
    """Return the entry after this one in the layer's order, excluded directories and what they hold left out."""
    cdef const Entry *parent
    if entry.kind == KIND_DIRECTORY and entry.size and not entry.flags & FLAG_EXCLUDED:
        entry = entry.link.children
        if not entry.flags & FLAG_EXCLUDED:
            return entry
    while True:
        parent = entry.parent
        if parent == NULL:
            return NULL
        entry = entry + 1
        if entry == parent.link.children + parent.size:
            entry = parent
        elif not entry.flags & FLAG_EXCLUDED:
            return entry


cdef void _readmit(const Entry *directory) noexcept nogil:
    """Let in again every excluded directory that holds something kept, at any depth beneath `directory`."""
    cdef Entry *above
    cdef const Entry *entry = directory
    while True:
        if not entry.flags & FLAG_EXCLUDED:
            above = entry.parent
            while above != NULL and above.flags & FLAG_EXCLUDED:
                above.flags &= ~FLAG_EXCLUDED
                above = above.parent
        if entry.kind == KIND_DIRECTORY and entry.size:
            entry = entry.link.children
            continue
        while entry != directory and entry + 1 == entry.parent.link.children + entry.parent.size:
            entry = entry.parent
        if entry == directory:
            return
        entry = entry + 1


cdef inline uint64_t _hash(const Entry *entry) noexcept nogil:
    cdef uint64_t mixed = (entry.inode ^ entry.device << 40) * <uint64_t>0x9E3779B97F4A7C15
    return mixed ^ mixed >> 29


cdef bint _is_same_file(const Entry *a, const Entry *b) noexcept nogil:
    """Return whether two names are hard links of one file; inode numbers alone are reused by 9p and FUSE."""
    if (
        a.device != b.device or a.inode != b.inode or a.kind != b.kind or a.size != b.size or a.mode != b.mode
        or a.uid != b.uid or a.gid != b.gid or a.mtime != b.mtime or a.mtime_ns != b.mtime_ns or a.ctime != b.ctime
        or a.ctime_ns != b.ctime_ns
    ):
        return False
    if a.kind == KIND_SYMLINK:
        return memcmp(a.link.target, b.link.target, a.size) == 0
    if a.kind == KIND_CHARACTER or a.kind == KIND_BLOCK:
        return a.link.device == b.link.device
    return True


cdef class Plan:
    """The plan of one layer. The table is its own from now on: entries are put in order and made hard links.

    Args:
        table: A table that a scan has filled.
        block_size: The most bytes of tar in a block; a multiple of 512, at least 1024.
        uid, gid: The owner of every entry found in the tree, -1 to keep each its own.
        mtime_limit: Later modification times become this one, seconds since the epoch; None for no limit.

    Raises:
        EngineFault: An entry's headers alone are larger than a block.
        MemoryError: Memory was short.
    """

    def __cinit__(self, EntryTable table not None, *, uint32_t block_size, int64_t uid=-1, int64_t gid=-1,
                  mtime_limit=None):
        cdef bint done
        if block_size < TRAILER_SIZE or block_size % RECORD:
            raise ValueError("a block is a whole number of tar records, two of them at least")
        if table.order != NULL:
            raise ValueError("the table has a plan already")
        self.table = table
        self.block_size = block_size
        self.policy.uid = uid
        self.policy.gid = gid
        self.policy.mtime_limit = INT64_MAX if mtime_limit is None else mtime_limit
        with nogil:
            done = self.order() and self.link() and self.measure() and self.cut()
        if not done:
            raise_fault(&self.fault)

    def __dealloc__(self):
        free(self.blocks)
        fault_clear(&self.fault)

    @property
    def owner(self):
        """The one (uid, gid) that every entry found in the tree has; None where they differ or there are none."""
        return (self.owner_uid, self.owner_gid) if self.one_owner else None

    @property
    def newest_mtime(self):
        """The newest modification time of what was found in the tree, after the policy; None where there is nothing."""
        return self.newest if self.found else None

    def block(self, uint64_t number):
        """Return (first entry, offset in its data or -1, offset in the tar stream, size) of a block."""
        if number >= self.block_count:
            raise IndexError(number)
        cdef Block *block = &self.blocks[number]
        return block.first, block.data_offset, block.tar_offset, block.size

    cdef bint fail(self, FaultKind kind, const Entry *entry, int64_t expected, int64_t found) noexcept nogil:
        self.fault.kind = kind
        self.fault.expected = expected
        self.fault.found = found
        if entry != NULL:
            self.fault.path = path_copy(entry, self.table.root, &self.fault.path_size)
        return False

    cdef bint order(self) noexcept nogil:
        """Put the entries into the order of their paths' bytes.

        Names were sorted within each directory, directories as if they ended in a slash: so the order is that of a
        walk, each directory before what it holds.
        """
        cdef Entry *top = self.table.root
        cdef const Entry *entry
        cdef uint64_t count = 0
        while top.parent != NULL:
            top = top.parent
        _readmit(top)
        entry = top
        while entry != NULL:
            count += entry.name_size != 0
            entry = _next(entry)
        self.table.order = <Entry **>malloc((count + 1) * sizeof(Entry *))
        if self.table.order == NULL:
            return self.fail(FAULT_MEMORY, NULL, 0, 0)
        count = 0
        entry = top
        while entry != NULL:
            # Only the top itself may be nameless: no layer has an entry for `/`.
            if entry.name_size:
                self.table.order[count] = <Entry *>entry
                count += 1
            entry = _next(entry)
        self.table.count = count
        return True

    cdef bint link(self) noexcept nogil:
        """Make every name of a file but the first in order a hard link to it."""
        cdef uint64_t number, slots = 16, slot
        cdef Entry *entry
        cdef Entry **seen
        cdef uint64_t linked = 0
        for number in range(self.table.count):
            entry = self.table.order[number]
            linked += entry.links > 1 and entry.kind != KIND_DIRECTORY
        if linked < 2:
            return True
        while slots < 2 * linked:
            slots *= 2
        seen = <Entry **>calloc(slots, sizeof(Entry *))
        if seen == NULL:
            return self.fail(FAULT_MEMORY, NULL, 0, 0)
        for number in range(self.table.count):
            entry = self.table.order[number]
            if entry.links < 2 or entry.kind == KIND_DIRECTORY:
                continue
            slot = _hash(entry) & (slots - 1)
            while seen[slot] != NULL and not _is_same_file(seen[slot], entry):
                slot = (slot + 1) & (slots - 1)
            if seen[slot] == NULL:
                seen[slot] = entry
            else:
                entry.kind = KIND_HARDLINK
                entry.link.origin = seen[slot]
                entry.size = 0
                entry.xattrs = NULL
        free(seen)
        return True

    cdef bint measure(self) noexcept nogil:
        """Measure every entry's headers, and see who owns what and which time is the newest."""
        cdef PathBuffer path_buffer, link_buffer
        cdef Header header
        cdef Entry *entry
        cdef uint64_t number
        cdef int64_t size
        cdef bint done = True
        path_init(&path_buffer)
        path_init(&link_buffer)
        self.newest = -INT64_MAX
        self.one_owner = True
        for number in range(self.table.count):
            entry = self.table.order[number]
            header_fill(&header, entry, &self.policy)
            if not entry.flags & FLAG_SYNTHETIC:
                self.newest = max(self.newest, header.mtime)
                if not self.found:
                    self.owner_uid = entry.uid
                    self.owner_gid = entry.gid
                elif entry.uid != self.owner_uid or entry.gid != self.owner_gid:
                    self.one_owner = False
                self.found = True
            if not header_names(&header, &path_buffer, &link_buffer):
                done = self.fail(FAULT_MEMORY, NULL, 0, 0)
                break
            size = header_size(&header)
            if size > self.block_size:
                done = self.fail(FAULT_HEADERS, entry, self.block_size, size)
                break
            entry.header_size = size
        self.one_owner = self.one_owner and self.found
        path_free(&path_buffer)
        path_free(&link_buffer)
        return done

    cdef bint cut(self) noexcept nogil:
        """Cut the stream into blocks."""
        cdef PathBuffer buffer
        cdef const char *path
        cdef size_t path_bytes
        cdef Entry *entry
        cdef uint64_t number, first = 0
        cdef int64_t fill = 0, data, weight, offset, limit = self.block_size
        cdef bint done = True
        path_init(&buffer)
        for number in range(self.table.count):
            entry = self.table.order[number]
            path = path_of(&buffer, entry, NULL, &path_bytes)
            if path == NULL:
                done = self.fail(FAULT_MEMORY, NULL, 0, 0)
                break
            data = padded(data_size(entry))
            weight = entry.header_size + (data if entry.header_size + data <= limit else 0)
            if fill and (fill + weight > limit or crc32(path, path_bytes) % CUT_MODULUS == 0):
                done = self.add_block(first, -1, fill)
                fill = 0
                first = number
            fill += weight
            if done and weight < entry.header_size + data:
                done = self.add_block(first, -1, fill)
                offset = 0
                while done and offset < data:
                    done = self.add_block(number, offset, min(limit, data - offset))
                    offset += limit
                fill = 0
                first = number + 1
            if not done:
                break
        path_free(&buffer)
        if not done:
            return False
        if fill + TRAILER_SIZE > limit:
            if not self.add_block(first, -1, fill):
                return False
            fill = 0
            first = self.table.count
        return self.add_block(first, -1, fill + TRAILER_SIZE)

    cdef bint add_block(self, uint32_t first, int64_t data_offset, int64_t size) noexcept nogil:
        cdef Block *grown
        cdef uint64_t capacity
        if self.block_count == self.block_capacity:
            capacity = 2 * self.block_capacity if self.block_capacity else 64
            grown = <Block *>realloc(self.blocks, capacity * sizeof(Block))
            if grown == NULL:
                return self.fail(FAULT_MEMORY, NULL, 0, 0)
            self.blocks = grown
            self.block_capacity = capacity
        self.blocks[self.block_count].tar_offset = self.tar_size
        self.blocks[self.block_count].data_offset = data_offset
        self.blocks[self.block_count].first = first
        self.blocks[self.block_count].size = size
        self.block_count += 1
        self.tar_size += size
        return True
