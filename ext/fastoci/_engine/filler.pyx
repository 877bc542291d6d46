# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""A table filled from Python: the files of an image, as its layers say, without a tree on disk.

Directories are filled one after the other, breadth first, each once, and all that is in one at a time. Files are known
by the SHA-256 of their bytes.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from fastoci._engine.arena cimport arena_copy, arena_take
from fastoci._engine.entry cimport (
    Entry,
    FLAG_IMPLIED,
    FLAG_SCANNED,
    KIND_BLOCK,
    KIND_CHARACTER,
    KIND_DIRECTORY,
    KIND_FILE,
    KIND_SYMLINK,
    sibling_order,
)
from fastoci._engine.room cimport make_room
from fastoci._engine.table cimport EntryTable
from fastoci._engine.table import KINDS

cdef enum:
    DIGEST_SIZE = 32
    NAME_LIMIT = 0xFFFF

# No file system has this number: what layers hold is no file on this machine.
cdef uint64_t NO_DEVICE = <uint64_t>-1


cdef class Filler:
    """Fills one table.

    Args:
        table: A new one, without a tree.

    Raises:
        ValueError: The table is not new, or has a tree.
    """

    cdef readonly EntryTable table
    cdef dict kinds
    cdef Entry **directories    # in the order in which they are filled
    cdef uint64_t count
    cdef uint64_t capacity
    cdef uint64_t filled

    def __cinit__(self, EntryTable table not None):
        if table.root_fd >= 0 or table.complete or table.planned:
            raise ValueError("a table of a tree is filled by scanning it")
        self.table = table
        self.kinds = {kind: number for number, kind in enumerate(KINDS) if kind != "hardlink"}
        table.root.flags |= FLAG_IMPLIED | FLAG_SCANNED
        self._append(table.root)

    def __dealloc__(self):
        free(self.directories)

    def fill(self, list children not None):
        """Say what the next directory holds.

        Args:
            children: Tuples of name, kind, mode, uid, gid, mtime, size, content, xattrs, file, links: in the layer's
                order of names. `content` is a file's SHA-256, a link's target, or a device's number, else None. Names
                of one file have one number `file`, and `links` is how many there are. A directory of which nothing but
                its name is known has the mode None.

        Raises:
            ValueError: There is no directory to fill, or these are no names in order.
        """
        cdef Entry *directory
        cdef Entry *entries
        cdef Entry *entry
        cdef uint64_t count = len(children), number
        if self.filled == self.count:
            raise ValueError("all directories are filled")
        directory = self.directories[self.filled]
        entries = <Entry *>arena_take(self.table.arenas, (count + 1) * sizeof(Entry), 8)
        if entries == NULL:
            raise MemoryError
        memset(entries, 0, (count + 1) * sizeof(Entry))
        for number in range(count):
            entry = &entries[number]
            entry.parent = directory
            self._set(entry, children[number])
            if number and sibling_order(entry - 1, entry) >= 0:
                raise ValueError("the names are not in order")
        for number in range(count):
            if entries[number].kind == KIND_DIRECTORY:
                self._append(&entries[number])
        directory.link.children = entries
        directory.size = count
        self.filled += 1

    def finish(self):
        """Say that this was all.

        Raises:
            ValueError: A directory has not been filled.
        """
        if self.filled != self.count:
            raise ValueError("a directory has not been filled")
        self.table.complete = True

    cdef int _append(self, Entry *directory) except -1:
        if not make_room(<void **>&self.directories, self.count, &self.capacity, sizeof(Entry *)):
            raise MemoryError
        self.directories[self.count] = directory
        self.count += 1
        return 0

    cdef int _set(self, Entry *entry, tuple facts) except -1:
        name, kind, mode, uid, gid, mtime, size, content, xattrs, file, links = facts
        if not name or len(name) > NAME_LIMIT:
            raise ValueError("no name")
        self.table._name(entry, name)
        entry.kind = self.kinds[kind]
        if mode is None:
            entry.flags |= FLAG_IMPLIED
        else:
            self.table._restate(entry, mode, uid, gid, mtime, xattrs)
        entry.flags |= FLAG_SCANNED
        entry.device = NO_DEVICE
        entry.inode = file
        entry.links = links
        if entry.kind == KIND_FILE:
            if len(content) != DIGEST_SIZE:
                raise ValueError("no digest of SHA-256")
            entry.size = size
            entry.link.digest = self._copy(content)
        elif entry.kind == KIND_SYMLINK:
            entry.size = len(content)
            entry.link.target = self._copy(content)
        elif entry.kind == KIND_CHARACTER or entry.kind == KIND_BLOCK:
            entry.link.device = content
        return 0

    cdef const char *_copy(self, bytes data) except NULL:
        cdef const char *copy = arena_copy(self.table.arenas, data, len(data))
        if copy == NULL:
            raise MemoryError
        return copy
