# cython: language_level=3
"""The names of an image while its layers are put one over the other: a tree of nodes, found by a hash of each step.

A name that is gone stays where it is, marked, and so does all beneath it; it may come again. Nothing beneath what is
gone, or is no directory, is there. The hash begins with a number that no layer's maker knows, so that nobody can make
many names meet. Nodes live in an arena of their own, names in that of whoever has them afterwards. One thread owns it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset

from fastoci._engine.arena cimport Arena, arena_free, arena_take
from fastoci._engine.entry cimport KIND_DIRECTORY, Link, Xattr
from fastoci._engine.pending cimport hash_bytes

cdef enum:
    NODES_FIRST = 1024
    NODES_NAME = 0xFFFF         # bytes that Node.name_size counts
    NODES_PATH = 256            # of a directory that is remembered
    SLASH = 0x2F

cdef struct Node:
    Node *parent            # NULL: the root of the image
    Node *following         # another one in the same directory
    Node *children          # one of them, from which the others follow; in no order
    const char *name
    Xattr *xattrs
    Link link
    int64_t size
    int64_t mtime
    uint64_t file           # all names of one file have the same number, and no others
    uint32_t mode
    uint32_t uid
    uint32_t gid
    uint32_t layer          # that has put it here
    uint16_t name_size
    uint8_t kind
    uint8_t gone
    uint8_t implied         # a directory that no layer has an entry for, or only one that is hidden

cdef struct Nodes:
    Arena arena
    Arena *names            # borrowed
    Node root
    Node **slots
    uint64_t capacity       # a power of two, or 0
    uint64_t count
    uint64_t basis
    uint64_t files          # numbers that have been given
    uint64_t held           # bytes that the nodes and their names take, and `most` of them
    uint64_t most
    uint32_t layer
    Node *last              # the directory of the last name that was placed, and its path with a slash at the end
    size_t last_size
    char last_path[NODES_PATH]

cdef inline void nodes_init(Nodes *nodes, Arena *names, uint64_t basis, uint64_t most) noexcept nogil:
    """Begin with the root alone, all else being zeros."""
    nodes.names = names
    nodes.basis = basis
    nodes.most = most
    nodes.root.kind = KIND_DIRECTORY
    nodes.root.implied = True

cdef inline void nodes_free(Nodes *nodes) noexcept nogil:
    """Give back the nodes."""
    arena_free(&nodes.arena)
    free(nodes.slots)
    nodes.slots = NULL
    nodes.capacity = 0
    nodes.root.children = NULL

cdef inline Node *nodes_next(const Node *node, const Node *top) noexcept nogil:
    """Return the node after this one in a walk beneath `top`, those that are gone included; NULL after the last."""
    if node.children != NULL:
        return node.children
    while node != top and node.following == NULL:
        node = node.parent
    return NULL if node == top else node.following

cdef inline Node **_slot(const Nodes *nodes, const Node *directory, const char *name, size_t size) noexcept nogil:
    """Return where a name stands, or where it is to stand."""
    cdef uint64_t hash = hash_bytes(nodes.basis ^ <uint64_t>directory, name, size)
    cdef uint64_t slot = (hash ^ hash >> 32) & (nodes.capacity - 1)
    cdef const Node *node = nodes.slots[slot]
    while node != NULL:
        if node.parent == directory and node.name_size == size and memcmp(node.name, name, size) == 0:
            break
        slot = (slot + 1) & (nodes.capacity - 1)
        node = nodes.slots[slot]
    return &nodes.slots[slot]

cdef inline bint _grow(Nodes *nodes) noexcept nogil:
    cdef Node **slots = nodes.slots
    cdef uint64_t number, capacity = nodes.capacity
    cdef Node **grown = <Node **>calloc(2 * capacity if capacity else NODES_FIRST, sizeof(Node *))
    if grown == NULL:
        return False
    nodes.slots = grown
    nodes.capacity = 2 * capacity if capacity else NODES_FIRST
    for number in range(capacity):
        if slots[number] != NULL:
            _slot(nodes, slots[number].parent, slots[number].name, slots[number].name_size)[0] = slots[number]
    free(slots)
    return True

cdef inline Node *nodes_find(const Nodes *nodes, const char *path, size_t size) noexcept nogil:
    """Return what is at a path; NULL: nothing is."""
    cdef const Node *node = &nodes.root
    cdef const char *slash
    cdef size_t at = 0, end
    while at < size and node != NULL:
        if nodes.capacity == 0:
            return NULL
        slash = <const char *>memchr(path + at, SLASH, size - at)
        end = size if slash == NULL else <size_t>(slash - path)
        node = _slot(nodes, node, path + at, end - at)[0]
        if node != NULL and node.gone:
            return NULL
        at = end + 1
    return <Node *>node

cdef inline void nodes_clear(Nodes *nodes, const Node *top, bint everything) noexcept nogil:
    """Take away what is beneath a node: what layers below have, or everything."""
    cdef Node *node = nodes_next(top, top)
    cdef Node *above
    nodes.last = NULL
    while node != NULL:
        if everything or node.layer != nodes.layer:
            node.gone = True
        elif not node.gone:
            # Of this layer, and so to stay; and so are the directories above, but with nothing that lower ones say.
            above = node.parent
            while above.gone:
                above.gone = False
                above.implied = True
                above.layer = nodes.layer
                above = above.parent
        node = nodes_next(node, top)

cdef inline void nodes_become(Nodes *nodes, Node *node, uint8_t kind) noexcept nogil:
    """Make something of this layer of a node, a file of its own, of which no more is known yet."""
    if kind != KIND_DIRECTORY and node.kind == KIND_DIRECTORY:
        nodes_clear(nodes, node, True)
    node.kind = kind
    node.gone = node.implied = False
    node.layer = nodes.layer
    node.xattrs = NULL
    node.link.device = 0
    node.size = 0
    node.file = nodes.files
    nodes.files += 1

cdef inline Node *_step(Nodes *nodes, Node *directory, const char *name, size_t size) noexcept nogil:
    """Return a name of a directory, a new one gone; NULL when memory is short, or too much is held."""
    cdef Node **slot
    cdef Node *node
    cdef char *copy
    # At most three of four are taken.
    if 4 * (nodes.count + 1) > 3 * nodes.capacity and not _grow(nodes):
        return NULL
    slot = _slot(nodes, directory, name, size)
    if slot[0] != NULL:
        return slot[0]
    nodes.held += sizeof(Node) + size + 1
    if nodes.held > nodes.most:
        return NULL
    node = <Node *>arena_take(&nodes.arena, sizeof(Node), 8)
    copy = <char *>arena_take(nodes.names, size + 1, 1)
    if node == NULL or copy == NULL:
        return NULL
    memset(node, 0, sizeof(Node))
    memcpy(copy, name, size)
    copy[size] = 0
    node.name = copy
    node.name_size = <uint16_t>size
    node.parent = directory
    node.following = directory.children
    node.gone = True
    directory.children = node
    slot[0] = node
    nodes.count += 1
    return node

cdef inline Node *_enter(Nodes *nodes, const char *path, size_t size) noexcept nogil:
    """Return the directory of a path, made with all above it where they are none."""
    cdef Node *node = &nodes.root
    cdef const char *slash
    cdef size_t at = 0, end
    while at < size:
        slash = <const char *>memchr(path + at, SLASH, size - at)
        end = size if slash == NULL else <size_t>(slash - path)
        node = _step(nodes, node, path + at, end - at)
        if node == NULL:
            return NULL
        if node.gone or node.kind != KIND_DIRECTORY:
            nodes_become(nodes, node, KIND_DIRECTORY)
            node.implied = True
        at = end + 1
    return node

cdef inline Node *nodes_place(Nodes *nodes, const char *path, size_t size) noexcept nogil:
    """Return the node of a path, for `nodes_become`; what is above it is there, as directories.

    Every part of it must be a name. NULL when memory is short, or `held` more than there may be.
    """
    cdef size_t above = size
    cdef Node *directory = nodes.last
    if size == 0:
        return &nodes.root
    while above and path[above - 1] != SLASH:
        above -= 1
    if directory == NULL or nodes.last_size != above or memcmp(nodes.last_path, path, above) != 0:
        directory = _enter(nodes, path, above - 1 if above else 0)
        if directory == NULL:
            return NULL
        nodes.last = NULL
        if above <= NODES_PATH:
            memcpy(nodes.last_path, path, above)
            nodes.last_size = above
            nodes.last = directory
    return _step(nodes, directory, path + above, size - above)
