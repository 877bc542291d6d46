# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The entry table: every name of one tree, and the memory that holds it.

The scanner fills it from several threads, each with an arena of its own; the plan goes through it in the layer's order,
close behind the scan; the renderers read what has been planned. It is freed as a whole when the last of them lets go.
The table also owns the descriptor of the tree's root, from which everything beneath is reached.

A table is planned as a whole, behind the scan; or it is put in order when the scan has ended (`arrange`), and then any
number of plans take selections of its entries, by their numbers. Whiteouts are added to it for these.
"""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset, strlen
from posix.fcntl cimport fcntl
from posix.unistd cimport close

from os import strerror

from fastoci._engine.arena cimport Arena, arena_copy, arena_free, arena_take
from fastoci._engine.entry cimport (
    Entry,
    FLAG_SCANNED,
    FLAG_SYNTHETIC,
    KIND_BLOCK,
    KIND_CHARACTER,
    KIND_DIRECTORY,
    KIND_FILE,
    KIND_HARDLINK,
    KIND_SYMLINK,
    Xattr,
    first_entry,
    next_entry,
    readmit,
)
from fastoci._engine.kernel cimport F_DUPFD_CLOEXEC
from fastoci._engine.path cimport PathBuffer, path_free, path_init, path_of
from fastoci._engine.room cimport make_room

cdef enum:
    NAME_LIMIT = 0xFFFF         # bytes that Entry.name_size counts
    WHITEOUT_MODE = 0o644

cdef const char *WHITEOUT_PREFIX = b".wh."

KINDS = ("file", "directory", "symlink", "hardlink", "character", "block", "fifo")


cdef class EntryTable:
    """The entries of one tree.

    Args:
        source: The path of the tree as the caller gave it, for messages.
        root_fd: A descriptor of the tree's root directory, or of the one file that the source is; the table keeps a
            duplicate. None: there is no tree, and nothing can be read from it.

    Raises:
        OSError: The descriptor cannot be duplicated.
    """

    def __cinit__(self, bytes source not None, root_fd):
        cdef int fd
        self.source = source
        self.root_fd = -1
        if root_fd is not None:
            fd = root_fd
            self.root_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)
            if self.root_fd < 0:
                raise OSError(errno, f"the tree's descriptor cannot be duplicated: {strerror(errno)}")
        self.root = <Entry *>arena_take(self.new_arena(), sizeof(Entry), 8)
        if self.root == NULL:
            raise MemoryError
        memset(self.root, 0, sizeof(Entry))
        self.root.kind = KIND_DIRECTORY

    def __dealloc__(self):
        cdef Arena *arena = self.arenas
        cdef Arena *following
        if self.root_fd >= 0:
            close(self.root_fd)
        while arena != NULL:
            following = arena.next
            arena_free(arena)
            free(arena)
            arena = following
        free(<void *>self.order)
        free(self.whiteouts)

    cdef Arena *new_arena(self) except NULL:
        """Return an arena that lives as long as the table. Only the thread that sets the work up calls this."""
        cdef Arena *arena = <Arena *>calloc(1, sizeof(Arena))
        if arena == NULL:
            raise MemoryError
        arena.next = self.arenas
        self.arenas = arena
        return arena

    def close(self):
        """Give up the root's descriptor. What was scanned stays; nothing can be read from the tree any more."""
        if self.root_fd >= 0:
            close(self.root_fd)
            self.root_fd = -1

    def __len__(self):
        return self.count

    @property
    def is_directory(self):
        """Whether the source is a directory, and not one file."""
        return self.root.kind == KIND_DIRECTORY

    def arrange(self):
        """Put all entries in order, so that plans can take selections of them. Called when the scan has ended.

        Returns:
            How many there are; their numbers begin with 0. Where it has been done already, only this.

        Raises:
            ValueError: The scan has not ended well, or the table is planned as a whole.
        """
        cdef const Entry *top = self.root
        cdef const Entry *entry
        if self.arranged:
            return self.count
        if self.planned:
            raise ValueError("the table has a plan already")
        if not self.complete:
            raise ValueError("the table is not complete")
        with nogil:
            while top.parent != NULL:
                top = top.parent
            readmit(top)
            entry = first_entry(top)
            while entry != NULL:
                self.count += 1
                entry = next_entry(entry)
        self.arranged = True
        return self.count

    def add_whiteout(self, directory, bytes name not None):
        """Add a whiteout of `name` in a directory (image-spec layer.md, "Whiteouts").

        Args:
            directory: The number of its entry; None is the root of the image, which has none.
            name: What is gone; `.wh..opq` makes the directory opaque.

        Returns:
            The number of the whiteout's entry, for selections; those of whiteouts begin behind those of the others.

        Raises:
            ValueError: The entry is no directory, or the name is none.
        """
        cdef Entry *above = self.root
        if directory is not None:
            above = <Entry *>self._entry(directory)
        else:
            while above.parent != NULL:
                above = above.parent
        if not name or b"/" in name or b"\0" in name:
            raise ValueError("a whiteout is of a name")
        if not self.arranged or above.kind != KIND_DIRECTORY or (directory is None and above.name_size):
            raise ValueError("a whiteout is in a directory of a table in order")
        if self._whiteout(above, name, len(name)) == NULL:
            raise MemoryError
        return self.count + self.whiteout_count - 1

    cdef Entry *_whiteout(self, Entry *directory, const char *name, size_t size) noexcept nogil:
        """Add the whiteout of a name of `size` bytes; NULL when memory is short. One thread at a time calls this."""
        cdef size_t prefix = strlen(WHITEOUT_PREFIX)
        cdef Entry *entry
        cdef char *copy
        if not make_room(
            <void **>&self.whiteouts, self.whiteout_count, &self.whiteout_capacity, sizeof(Entry *)
        ):
            return NULL
        entry = <Entry *>arena_take(self.arenas, sizeof(Entry), 8)
        copy = <char *>arena_take(self.arenas, prefix + size + 1, 1)
        if entry == NULL or copy == NULL or prefix + size > NAME_LIMIT:
            return NULL
        memset(entry, 0, sizeof(Entry))
        memcpy(copy, WHITEOUT_PREFIX, prefix)
        memcpy(copy + prefix, name, size)
        copy[prefix + size] = 0
        entry.kind = KIND_FILE
        entry.flags = FLAG_SYNTHETIC
        entry.parent = directory
        entry.name = copy
        entry.name_size = prefix + size
        entry.mode = WHITEOUT_MODE
        entry.links = 1
        self.whiteouts[self.whiteout_count] = entry
        self.whiteout_count += 1
        return entry

    def describe(self, uint64_t number):
        """Return entry `number` in the layer's order as (path, kind, facts): for messages and tests, not for work.

        The path has no trailing slash. Facts are mode, uid, gid, size, mtime, mtime_ns, link (the target's bytes, the
        origin's path or the device number; None elsewhere) and xattrs, a dict of bytes to bytes.
        """
        return describe_entry(self._entry(number))

    cdef const Entry *_entry(self, uint64_t number) except NULL:
        """Return an entry by its place in the layer's order, or a whiteout. What is asked for must be in order."""
        cdef const Entry *entry
        cdef uint64_t at = 0
        if number >= self.count:
            if number - self.count >= self.whiteout_count:
                raise IndexError(number)
            return self.whiteouts[number - self.count]
        if self.order == NULL:
            self.order = <const Entry **>malloc(self.count * sizeof(Entry *))
            if self.order == NULL:
                raise MemoryError
            entry = first_entry(self.root)
            while entry != NULL:
                self.order[at] = entry
                at += 1
                entry = next_entry(entry)
        return self.order[number]

    def find(self, bytes path not None):
        """Return (kind, facts) of the entry at `path` in the layer, or None. Facts are those of `describe`."""
        return find_entry(self.describe, self.count, path)

    def adopt_ancestor(self, bytes name not None, uint32_t mode, uint32_t uid, uint32_t gid, int64_t mtime,
                       dict xattrs not None):
        """Put a directory that was not found in the tree above its root. Called before the scan.

        The first call places the outermost directory, the next one the directory in it, and so on; `place_root` ends
        the chain. The other arguments are the entry's metadata, xattrs as bytes to bytes.
        """
        cdef Entry *entry = <Entry *>arena_take(self.arenas, sizeof(Entry), 8)
        if entry == NULL:
            raise MemoryError
        memset(entry, 0, sizeof(Entry))
        entry.kind = KIND_DIRECTORY
        entry.parent = self.root.parent
        entry.flags = FLAG_SCANNED
        entry.size = 1
        entry.link.children = self.root
        self._name(entry, name)
        self._restate(entry, mode, uid, gid, mtime, xattrs)
        if self.root.parent != NULL:
            self.root.parent.link.children = entry
        self.root.parent = entry

    def place_root(self, bytes name not None):
        """Give the root of the tree its name in the layer: the last component of the destination."""
        self._name(self.root, name)

    def place_file(self, bytes name not None):
        """Say that the source is one file, and its name in the layer. Called before the scan.

        The table's descriptor is then that of the file, and all of it is read through this one.
        """
        self._name(self.root, name)
        self.root.kind = KIND_FILE

    def restate_root(self, uint32_t mode, uint32_t uid, uint32_t gid, int64_t mtime, dict xattrs not None):
        """Give the root of the tree other metadata than its own: that of the directory an earlier layer has there.

        Called before the scan, which leaves it.
        """
        self._restate(self.root, mode, uid, gid, mtime, xattrs)

    cdef int _name(self, Entry *entry, bytes name) except -1:
        entry.name = arena_copy(self.arenas, name, len(name) + 1)
        if entry.name == NULL:
            raise MemoryError
        entry.name_size = len(name)
        return 0

    cdef int _restate(self, Entry *entry, uint32_t mode, uint32_t uid, uint32_t gid, int64_t mtime,
                      dict xattrs) except -1:
        cdef Xattr **place = &entry.xattrs
        cdef Xattr *xattr
        entry.mode = mode
        entry.uid = uid
        entry.gid = gid
        entry.mtime = mtime
        entry.mtime_ns = 0
        entry.flags |= FLAG_SYNTHETIC
        place[0] = NULL
        for key, value in sorted(xattrs.items()):
            xattr = <Xattr *>arena_take(self.arenas, sizeof(Xattr), 8)
            if xattr == NULL:
                raise MemoryError
            xattr.name = arena_copy(self.arenas, key, len(key) + 1)
            xattr.name_size = len(key)
            xattr.value = arena_copy(self.arenas, value, len(value))
            xattr.value_size = len(value)
            xattr.next = NULL
            if xattr.name == NULL or xattr.value == NULL:
                raise MemoryError
            place[0] = xattr
            place = &xattr.next
        return 0


cdef bytes _path(PathBuffer *buffer, const Entry *entry):
    cdef size_t size
    cdef const char *path = path_of(buffer, entry, NULL, &size)
    if path == NULL:
        raise MemoryError
    return path[:size].rstrip(b"/")


cdef tuple describe_entry(const Entry *entry):
    """Return (path, kind, facts); see `EntryTable.describe`."""
    cdef PathBuffer buffer
    cdef Xattr *xattr
    path_init(&buffer)
    try:
        path = _path(&buffer, entry)
        link = None
        if entry.kind == KIND_SYMLINK:
            link = entry.link.target[:entry.size]
        elif entry.kind == KIND_HARDLINK:
            link = _path(&buffer, entry.link.origin)
        elif entry.kind == KIND_CHARACTER or entry.kind == KIND_BLOCK:
            link = entry.link.device
    finally:
        path_free(&buffer)
    xattrs = {}
    xattr = entry.xattrs
    while xattr != NULL:
        xattrs[xattr.name[:xattr.name_size]] = xattr.value[:xattr.value_size]
        xattr = xattr.next
    return path, KINDS[entry.kind], {
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "size": 0 if entry.kind == KIND_DIRECTORY else entry.size,
        "mtime": entry.mtime,
        "mtime_ns": entry.mtime_ns,
        "link": link,
        "xattrs": xattrs,
        "synthetic": bool(entry.flags & FLAG_SYNTHETIC),
    }


cdef tuple find_entry(object describe, uint64_t count, bytes path):
    """Return (kind, facts) of what `describe` has at a path among `count` entries, or None.

    A binary search: the order of the entries is that of their paths, a directory's ending in `/`.
    """
    for candidate in (path, path + b"/"):
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            found, kind, facts = describe(middle)
            key = found + b"/" if kind == "directory" else found
            if key == candidate:
                return kind, facts
            if key < candidate:
                low = middle + 1
            else:
                high = middle
    return None
