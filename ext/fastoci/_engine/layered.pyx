# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""What the layers of an image come to, one put over the other: a tree of names, and in the end a table of them.

One thread puts entries in, in the order of the stream. Most of them are plain (tarhead.pxd) and are taken from its
pieces as they stand, without a Python object for any of them; the others come one by one. Files are known by a digest
of their bytes, of whatever kind: who takes pieces gives back those of the files in them.

What a layer hides is of the layers below alone, wherever in the layer it says so (image-spec layer.md, "Whiteouts").
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memset

from fastoci._engine.arena cimport arena_copy, arena_take
from fastoci._engine.entry cimport (
    Entry,
    FLAG_EXCLUDED,
    FLAG_IMPLIED,
    FLAG_SCANNED,
    FLAG_SYNTHETIC,
    KIND_BLOCK,
    KIND_CHARACTER,
    KIND_DIRECTORY,
    KIND_FILE,
    KIND_SYMLINK,
    sibling_order,
)
from fastoci._engine.nodes cimport (
    NODES_NAME,
    Node,
    nodes_become,
    nodes_clear,
    nodes_find,
    nodes_free,
    nodes_init,
    nodes_next,
    nodes_place,
)
from fastoci._engine.path cimport PathBuffer, path_free, path_init, path_of
from fastoci._engine.pattern cimport PatternSet
from fastoci._engine.plain cimport TAR_BLOCK
from fastoci._engine.room cimport make_room
from fastoci._engine.table cimport EntryTable
from fastoci._engine.table import KINDS
from fastoci._engine.tarhead cimport TarHead, tar_head
from fastoci._engine.zeros cimport has_zero_block

cdef enum:
    DIGEST_SIZE = 32

# No file system has this number: what layers hold is no file on this machine.
cdef uint64_t NO_DEVICE = <uint64_t>-1

cdef dict _NUMBERS = {kind: number for number, kind in enumerate(KINDS) if kind != "hardlink"}


cdef int _order(const void *left, const void *right) noexcept nogil:
    return sibling_order(<const Entry *>left, <const Entry *>right)


cdef void _state(Entry *entry, const Node *node, const uint32_t *names) noexcept nogil:
    """Say of an entry what a node says; what a directory holds is its node still."""
    entry.name = node.name
    entry.name_size = node.name_size
    entry.kind = node.kind
    entry.flags = FLAG_SCANNED | (FLAG_IMPLIED if node.implied else FLAG_SYNTHETIC)
    entry.mode = node.mode
    entry.uid = node.uid
    entry.gid = node.gid
    entry.mtime = node.mtime
    entry.size = node.size
    entry.xattrs = node.xattrs
    entry.link = node.link
    entry.device = NO_DEVICE
    entry.inode = node.file
    entry.links = names[node.file]
    if node.kind == KIND_DIRECTORY:
        entry.link.children = <Entry *>node


cdef class LayeredTree:
    """The files of an image.

    Args:
        table: A new one, without a tree; it is filled in the end.
        basis: A number that whoever made the layers cannot know.
        most: The most bytes that names, and what is said of them, may take.

    Raises:
        ValueError: The table is not new, or has a tree.
    """

    def __cinit__(self, EntryTable table not None, uint64_t basis, uint64_t most):
        if table.root_fd >= 0 or table.complete or table.planned:
            raise ValueError("a table of a tree is filled by scanning it")
        self.table = table
        nodes_init(&self.nodes, table.arenas, basis, most)

    def __dealloc__(self):
        nodes_free(&self.nodes)
        free(self.hashed)
        free(self.waiting)

    def begin(self):
        """Begin the next layer."""
        self.nodes.layer += 1

    def take(self, bytes piece not None, Py_ssize_t at, uint64_t most):
        """Take the plain entries that stand in a piece of the stream from `at` on, as far as they follow each other.

        Args:
            piece: Of the tar stream.
            at: Where in it a header begins.
            most: How many may be taken.

        Returns:
            Where the first byte is that was not taken; how many entries were; and the bytes of those that have any, in
            order, each with whether a block of them is zeros. `digest` takes what they are known by.

        Raises:
            OverflowError: The names take too much memory.
            MemoryError: Memory was short.
        """
        cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(piece)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece)
        cdef uint64_t count = 0, number
        cdef size_t start, taken
        cdef TarHead head
        cdef list found = []
        cdef bint done = True
        if not 0 <= at <= size:
            raise ValueError(at)
        self.expect_nothing()
        with nogil:
            while count < most:
                taken = tar_head(data + at, size - at, &head)
                if taken == 0:
                    break
                done = self.put_plain(&head, at)
                if not done:
                    break
                at += taken
                count += 1
        if not done:
            self.fail()
        view = memoryview(piece)
        for number in range(self.hashed_count):
            start, taken = self.hashed[number].start, self.hashed[number].size
            found.append((view[start:start + taken], has_zero_block(<const char *>data + start, taken)))
        return at, count, found

    def digest(self, bytes digests not None):
        """Say what the files are known by that were taken last.

        Args:
            digests: 32 bytes for each.

        Raises:
            ValueError: These are not as many.
        """
        cdef uint64_t number
        cdef const char *copy
        if <uint64_t>PyBytes_GET_SIZE(digests) != self.hashed_count * DIGEST_SIZE:
            raise ValueError("a digest for each file")
        copy = self.copy(digests)
        for number in range(self.hashed_count):
            # The same path may have come twice, as something else.
            if self.hashed[number].node.kind == KIND_FILE:
                self.hashed[number].node.link.digest = copy + number * DIGEST_SIZE
        self.hashed_count = 0

    def put(self, bytes path not None, str kind not None, uint32_t mode, uint32_t uid, uint32_t gid, int64_t mtime,
            int64_t size, content, dict xattrs not None):
        """Put one entry in, in place of what stands there.

        Args:
            path: Where, from the root: names with a slash between them; nothing is the root itself.
            kind: `file`, `directory`, `symlink`, `character`, `block` or `fifo`.
            mode, uid, gid: As the layer says.
            mtime: In whole seconds since 1970.
            size: Bytes of a file.
            content: A file's digest, a link's target, or a device's number; else None.
            xattrs: Names and values.

        Raises:
            KeyError: There is no such kind.
            ValueError: These are no names, or this is no digest.
            OverflowError: The names take too much memory.
            MemoryError: Memory was short.
        """
        cdef uint8_t number = _NUMBERS[kind]
        cdef Node *node
        cdef Entry said
        if number == KIND_FILE and len(content) != DIGEST_SIZE:
            raise ValueError("no digest of 32 bytes")
        for key, value in xattrs.items():
            self.hold(len(key) + len(value))
        memset(&said, 0, sizeof(Entry))
        self.table._restate(&said, mode, uid, gid, mtime, xattrs)
        node = self.node_at(path, number)
        node.mode, node.uid, node.gid, node.mtime = mode, uid, gid, mtime
        node.xattrs = said.xattrs
        if number == KIND_FILE:
            node.size = size
            node.link.digest = self.copy(content)
        elif number == KIND_SYMLINK:
            self.hold(len(content))
            node.size = len(content)
            node.link.target = self.copy(content)
        elif number == KIND_CHARACTER or number == KIND_BLOCK:
            node.link.device = content

    def link(self, bytes path not None, bytes target not None):
        """Put in another name of a file.

        Args:
            path: Where.
            target: A path of it.

        Returns:
            Whether there is such a file.

        Raises:
            ValueError: These are no names.
            OverflowError: The names take too much memory.
            MemoryError: Memory was short.
        """
        cdef const Node *found = nodes_find(&self.nodes, PyBytes_AS_STRING(target), PyBytes_GET_SIZE(target))
        cdef Node source
        cdef Node *node
        if found == NULL or found.kind == KIND_DIRECTORY:
            return False
        # What is on the way to the other name may be this one.
        source = found[0]
        node = self.node_at(path, source.kind)
        node.mode, node.uid, node.gid, node.mtime = source.mode, source.uid, source.gid, source.mtime
        node.size, node.file = source.size, source.file
        node.xattrs = source.xattrs
        node.link = source.link
        return True

    def hide(self, bytes path not None):
        """Hide what layers below have at a path, and beneath it."""
        cdef Node *node = nodes_find(&self.nodes, PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path))
        if node != NULL and node != &self.nodes.root:
            node.gone = node.layer != self.nodes.layer
            nodes_clear(&self.nodes, node, False)

    def hide_names(self, bytes path not None):
        """Hide all that layers below have in a directory."""
        cdef const Node *node = nodes_find(&self.nodes, PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path))
        if node != NULL:
            nodes_clear(&self.nodes, node, False)

    def finish(self, bytes top not None, PatternSet patterns not None):
        """Fill the table, which then is complete. Called once, and nothing is put in any more.

        Args:
            top: The path of what becomes the table's root; where there is nothing, that is empty.
            patterns: What is left out, of paths beneath that.

        Raises:
            ValueError: It has been called, or the digests of files are missing.
            MemoryError: Memory was short.
        """
        cdef const Node *node
        cdef const char *path = PyBytes_AS_STRING(top)
        cdef size_t size = PyBytes_GET_SIZE(top)
        cdef uint32_t *names
        cdef bint done
        self.expect_nothing()
        self.finished = True
        names = <uint32_t *>calloc(self.nodes.files + 1, sizeof(uint32_t))
        if names == NULL:
            raise MemoryError
        with nogil:
            node = nodes_next(&self.nodes.root, &self.nodes.root)
            while node != NULL:
                if not node.gone:
                    names[node.file] += 1
                node = nodes_next(node, &self.nodes.root)
            node = nodes_find(&self.nodes, path, size)
            done = self.build(node, names, patterns)
            nodes_free(&self.nodes)
        free(names)
        if not done:
            raise MemoryError
        self.table.complete = True

    cdef int expect_nothing(self) except -1:
        if self.finished or self.hashed_count:
            raise ValueError("the table is filled, or the digests of files are missing")
        return 0

    cdef Node *node_at(self, bytes path, uint8_t kind) except NULL:
        """Return the node of a path, as a new thing of a kind, with the directories above it there."""
        cdef Node *node
        self.expect_nothing()
        if not path and kind != KIND_DIRECTORY:
            raise ValueError("the root can only be a directory")
        for name in path.split(b"/") if path else ():
            if not 0 < len(name) <= NODES_NAME:
                raise ValueError("no name")
        node = nodes_place(&self.nodes, PyBytes_AS_STRING(path), PyBytes_GET_SIZE(path))
        if node == NULL:
            self.fail()
        nodes_become(&self.nodes, node, kind)
        return node

    cdef int hold(self, size_t size) except -1:
        self.nodes.held += size
        return self.fail() if self.nodes.held > self.nodes.most else 0

    cdef const char *copy(self, bytes data) except NULL:
        cdef const char *copy = arena_copy(self.table.arenas, data, len(data))
        if copy == NULL:
            raise MemoryError
        return copy

    cdef int fail(self) except -1:
        if self.nodes.held > self.nodes.most:
            raise OverflowError("the names take too much memory")
        raise MemoryError("the engine got no memory for its tables")

    # What follows holds no GIL, and is False or NULL when memory is short, or too much is held.

    cdef bint put_plain(self, const TarHead *head, size_t at) noexcept nogil:
        """Put in a plain entry whose header begins at a byte of a piece."""
        cdef Node *node = nodes_place(&self.nodes, head.path, head.path_size)
        if node == NULL:
            return False
        nodes_become(&self.nodes, node, head.kind)
        node.mode, node.uid, node.gid, node.mtime = head.mode, head.uid, head.gid, head.mtime
        node.size = head.size
        if head.kind == KIND_SYMLINK:
            node.link.target = arena_copy(self.table.arenas, head.target, head.size)
            return node.link.target != NULL
        if head.size == 0:
            return True
        if not make_room(<void **>&self.hashed, self.hashed_count, &self.hashed_capacity, sizeof(Hashed)):
            return False
        self.hashed[self.hashed_count] = Hashed(node, at + TAR_BLOCK, head.size)
        self.hashed_count += 1
        return True

    cdef bint build(self, const Node *top, const uint32_t *names, PatternSet patterns) noexcept nogil:
        """Fill the table: directory after directory, breadth first, the names of each in the layer's order."""
        cdef PathBuffer path
        cdef Waiting one
        cdef uint64_t number = 0
        cdef uint8_t *scratch = <uint8_t *>arena_take(&self.nodes.arena, patterns.scratch_size + 1, 1)
        self.table.root.flags |= FLAG_IMPLIED | FLAG_SCANNED
        if scratch == NULL or not make_room(<void **>&self.waiting, 0, &self.waiting_capacity, sizeof(Waiting)):
            return False
        self.waiting[0] = Waiting(self.table.root, top, NULL)
        self.waiting_count = 1
        path_init(&path)
        while number < self.waiting_count:
            one = self.waiting[number]
            if not self.fill(&one, names, patterns, &path, scratch):
                break
            number += 1
        path_free(&path)
        return number == self.waiting_count

    cdef bint fill(self, const Waiting *one, const uint32_t *names, PatternSet patterns, PathBuffer *path,
                   uint8_t *scratch) noexcept nogil:
        """Fill one directory, and let those in it wait."""
        cdef const Node *first = NULL if one.node == NULL else one.node.children
        cdef const Node *node = first
        cdef Entry *entries
        cdef Entry *entry
        cdef const uint8_t *matched = NULL
        cdef uint64_t count = 0, at = 0
        while node != NULL:
            count += not node.gone
            node = node.following
        one.entry.size = count
        if count == 0:
            return True
        entries = <Entry *>arena_take(self.table.arenas, count * sizeof(Entry), 8)
        if entries == NULL:
            return False
        memset(entries, 0, count * sizeof(Entry))
        node = first
        while node != NULL:
            if not node.gone:
                _state(&entries[at], node, names)
                entries[at].parent = one.entry
                at += 1
            node = node.following
        qsort(entries, count, sizeof(Entry), _order)
        one.entry.link.children = entries
        for at in range(count):
            entry = &entries[at]
            if patterns.count:
                matched = self.match(entry, one.matched, patterns, path, scratch)
                if matched == NULL:
                    return False
            if entry.kind == KIND_DIRECTORY:
                node = <const Node *>entry.link.children
                entry.link.children = NULL
                if not make_room(
                    <void **>&self.waiting, self.waiting_count, &self.waiting_capacity, sizeof(Waiting)
                ):
                    return False
                self.waiting[self.waiting_count] = Waiting(entry, node, matched)
                self.waiting_count += 1
        return True

    cdef const uint8_t *match(self, Entry *entry, const uint8_t *above, PatternSet patterns, PathBuffer *path,
                              uint8_t *scratch) noexcept nogil:
        """Mark an entry that the patterns leave out, and return which of them match it."""
        cdef uint8_t *matched = <uint8_t *>arena_take(&self.nodes.arena, patterns.count, 1)
        cdef size_t size
        cdef const char *found = path_of(path, entry, self.table.root, &size)
        if matched == NULL or found == NULL:
            return NULL
        if entry.kind == KIND_DIRECTORY:
            size -= 1
        if patterns.excludes(found, size, above, matched, scratch):
            entry.flags |= FLAG_EXCLUDED
        return matched
