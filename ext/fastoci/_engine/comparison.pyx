# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The comparison of a tree with a base: what a layer has to hold that makes the tree of the base.

Two tables in order are walked in step, a pair of directories at a time, by one thread without the GIL. Compared is what
a layer would say, after the policy. What differs is marked in the tree's table, with all directories above it; for what
is gone that table gets whiteouts, for the topmost name alone. Files that are the same in all that a scan knows are
pairs: others compare their bytes (contents.pyx), and give each pair back. Then the marks are a selection.

Rules beyond the obvious ones:

- Where a name is another kind of thing now, its entry alone replaces what was there (layer.md, "Change Types").
- A directory that lost all of its names, and more than one, is opaque (layer.md, "Opaque Whiteout"), if it may be; but
  the root of the image never is: overlayfs merges the roots of its layers without asking.
- Names that are one file are in the layer all together or not at all: a hard link reaches nothing of a layer below.
  They are left out if they are one file in the base as well, the same one; and no other file of the tree may be left
  out by the same one of the base, or the two would be one.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport UINT32_MAX, UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcmp, memcpy

from fastoci._engine.entry cimport (
    Entry,
    FLAG_DIFFERS,
    FLAG_EXCLUDED,
    FLAG_IMPLIED,
    FLAG_SYNTHETIC,
    KIND_BLOCK,
    KIND_CHARACTER,
    KIND_DIRECTORY,
    KIND_FILE,
    KIND_SYMLINK,
    Xattr,
    entry_order,
    sibling_order,
)
from fastoci._engine.header cimport Header, header_fill, policy_fill
from fastoci._engine.links cimport LinkedFile, is_same_file, links_find, links_free
from fastoci._engine.pairs cimport FilePair, pairs_add, pairs_free, pairs_init, pairs_stop
from fastoci._engine.room cimport make_room
from fastoci._engine.table cimport EntryTable

cdef uint64_t NO_FILE = UINT64_MAX
cdef const char *OPAQUE = b".wh..opq"       # what follows `.wh.` in the name that makes a directory opaque


cdef int _by_order(const void *left, const void *right) noexcept nogil:
    return entry_order((<const LinkName *>left).entry, (<const LinkName *>right).entry)


cdef void _mark(Entry *entry) noexcept nogil:
    """Mark an entry, and the directories above it: what is marked has them marked."""
    while entry != NULL and not entry.flags & FLAG_DIFFERS:
        entry.flags |= FLAG_DIFFERS
        entry = entry.parent


cdef bint _has_other_kind(const Entry *directory, const Entry *entry) noexcept nogil:
    """Return whether a directory has the name of `entry`, as a directory where that is none, or the other way round."""
    cdef Entry wanted = entry[0]
    cdef const Entry *middle
    cdef int64_t low = 0, high = directory.size
    cdef int order
    wanted.kind = KIND_FILE if entry.kind == KIND_DIRECTORY else KIND_DIRECTORY
    while low < high:
        middle = directory.link.children + (low + high) // 2
        order = sibling_order(middle, &wanted)
        if order == 0:
            return not middle.flags & FLAG_EXCLUDED
        if order < 0:
            low = (low + high) // 2 + 1
        else:
            high = (low + high) // 2
    return False


cdef bint _same_xattrs(const Xattr *a, const Xattr *b) noexcept nogil:
    while a != NULL and b != NULL:
        if (
            a.name_size != b.name_size or a.value_size != b.value_size
            or memcmp(a.name, b.name, a.name_size) != 0 or memcmp(a.value, b.value, a.value_size) != 0
        ):
            return False
        a, b = a.next, b.next
    return a == b


cdef class Comparison:
    """One comparison of two tables.

    Args:
        table: Of the tree; in order, and of no plan yet. It gets the marks, and whiteouts.
        base: Of the base; in order.
        uid, gid, mtime_limit, mtime, modes: What becomes of what is found, in both trees; see `Plan`.
        recorded: Whether the base is what layers say already: no policy touches it.
        may_hide: Whether directories may be made opaque: not where there may be names that the base's table has not.

    Raises:
        ValueError: A table is not in order.
        MemoryError: Memory was short.
    """

    def __cinit__(self, EntryTable table not None, EntryTable base not None, *, int64_t uid=-1, int64_t gid=-1,
                  mtime_limit=None, mtime=None, bytes modes=None, bint recorded=False, bint may_hide=True):
        if not table.arranged or not base.arranged or table is base or table.whiteout_count:
            raise ValueError("two tables in order are compared, without whiteouts")
        if not table.is_directory or not base.is_directory:
            raise ValueError("a source that is one file is not compared")
        self.table = table
        self.base = base
        self.modes = modes
        policy_fill(&self.policy, uid, gid, mtime_limit, mtime, modes)
        if recorded:
            policy_fill(&self.base_policy, -1, -1, None, None, None)
        else:
            self.base_policy = self.policy
        self.may_hide = may_hide
        if not pairs_init(&self.pairs):
            raise MemoryError
        self.ready = True

    def __dealloc__(self):
        if self.ready:
            pairs_free(&self.pairs)
        links_free(&self.links)
        links_free(&self.base_links)
        free(self.directories)
        free(<void *>self.gone)
        free(self.groups)
        free(self.names)

    def run(self):
        """Compare all but the bytes of files. Called once.

        Raises:
            MemoryError: Memory was short.
        """
        cdef bint done
        if self.made:
            raise ValueError("it has been compared")
        with nogil:
            done = self.compare()
        if not done:
            raise MemoryError("the engine got no memory for its tables")
        self.made = True

    def stop(self):
        """Make everybody who compares bytes end soon."""
        pairs_stop(&self.pairs)

    @property
    def pair_count(self):
        """How many files have to be compared by their bytes, known after `run`."""
        return self.pairs.count

    def selection(self):
        """Return what is in the layer: numbers of entries of the tree's table, for `Plan`.

        Called once, when all pairs have been given back.

        Raises:
            ValueError: Some have not.
            OverflowError: There are more entries than 32 bits can number.
            MemoryError: Memory was short.
        """
        cdef uint64_t count = self.table.count, total = count + self.table.whiteout_count, number, selected = 0
        cdef uint32_t written
        cdef char *out
        cdef bint done
        if not self.made or self.pairs.done != self.pairs.count:
            raise ValueError("not everything has been compared")
        if total > UINT32_MAX:
            raise OverflowError("more entries than can be numbered")
        with nogil:
            done = self.settle_links()
        if not done:
            raise MemoryError("the engine got no memory for its tables")
        if count:
            self.table._entry(0)    # which puts them in order, if nobody has asked before
        for number in range(count):
            selected += (self.table.order[number].flags & FLAG_DIFFERS) != 0
        selected += total - count
        numbers = PyBytes_FromStringAndSize(NULL, selected * sizeof(uint32_t))
        out = PyBytes_AS_STRING(numbers)
        for number in range(total):
            if number >= count or self.table.order[number].flags & FLAG_DIFFERS:
                written = <uint32_t>number
                memcpy(out, &written, sizeof(written))
                out += sizeof(written)
        return numbers

    # What follows holds no GIL, and is False when memory is short. The comparing thread's part:

    cdef bint compare(self) noexcept nogil:
        cdef Entry *root = self.table.root
        cdef DirectoryPair pair
        if root.name_size and not self.is_same(root, self.base.root):
            _mark(root)
        if not self.push(root, self.base.root):
            return False
        while self.directory_count:
            self.directory_count -= 1
            pair = self.directories[self.directory_count]
            if not self.compare_directories(pair.entry, pair.base):
                return False
        return True

    cdef bint compare_directories(self, Entry *entry, const Entry *base) noexcept nogil:
        """Compare what two directories hold; without a base all of it is new."""
        cdef Entry *child = entry.link.children
        cdef Entry *end = child + entry.size
        cdef Entry *base_child = NULL if base == NULL else base.link.children
        cdef Entry *base_end = NULL if base == NULL else base_child + base.size
        cdef uint64_t kept = 0
        cdef int order
        self.gone_count = 0
        while child != end or base_child != base_end:
            if child != end and child.flags & FLAG_EXCLUDED:
                child += 1
                continue
            if base_child != base_end and base_child.flags & FLAG_EXCLUDED:
                base_child += 1
                continue
            order = 1 if child == end else -1 if base_child == base_end else sibling_order(child, base_child)
            if order == 0:
                kept += 1
                if not self.match(child, base_child):
                    return False
            elif order < 0:
                if not self.add(child):
                    return False
            elif _has_other_kind(entry, base_child):
                kept += 1
            else:
                if not make_room(<void **>&self.gone, self.gone_count, &self.gone_capacity, sizeof(Entry *)):
                    return False
                self.gone[self.gone_count] = base_child
                self.gone_count += 1
            if order <= 0:
                child += 1
            if order >= 0:
                base_child += 1
        if self.gone_count == 0:
            return True
        _mark(entry)
        if self.may_hide and kept == 0 and self.gone_count > 1 and entry.name_size:
            return self.table._whiteout(entry, OPAQUE, 8) != NULL
        return self.remove(entry)

    cdef bint remove(self, Entry *entry) noexcept nogil:
        """Add a whiteout for each name that is gone from a directory."""
        cdef uint64_t number
        for number in range(self.gone_count):
            if self.table._whiteout(entry, self.gone[number].name, self.gone[number].name_size) == NULL:
                return False
        return True

    cdef bint match(self, Entry *entry, Entry *base) noexcept nogil:
        """Take a name that both have; both are directories, or none of them is."""
        cdef bint same = entry.kind == base.kind and self.is_same(entry, base)
        if entry.kind == KIND_DIRECTORY:
            if not same:
                _mark(entry)
            return self.push(entry, base)
        if entry.links > 1 or base.links > 1:
            return self.note_link(entry, base, same)
        if not same:
            _mark(entry)
            return True
        return self.ask(entry, base, NO_FILE)

    cdef bint add(self, Entry *entry) noexcept nogil:
        """Take a name that the base has not, or has as another kind of thing."""
        _mark(entry)
        if entry.kind == KIND_DIRECTORY:
            return self.push(entry, NULL)
        return entry.links <= 1 or self.note_link(entry, NULL, False)

    cdef bint note_link(self, Entry *entry, Entry *base, bint same) noexcept nogil:
        """Take a name of what may be a file with others; `base` is NULL for a new one."""
        cdef const LinkedFile *found = links_find(&self.links, entry)
        cdef uint64_t file, base_file = NO_FILE
        cdef LinkGroup *group
        if found == NULL:
            return False
        file = found.number
        if base != NULL:
            found = links_find(&self.base_links, base)
            if found == NULL:
                return False
            base_file = found.number
        if file == self.group_count:
            if not make_room(<void **>&self.groups, self.group_count, &self.group_capacity, sizeof(LinkGroup)):
                return False
            self.groups[file] = LinkGroup(base_file, False, False, False)
            self.group_count += 1
        if not make_room(<void **>&self.names, self.name_count, &self.name_capacity, sizeof(LinkName)):
            return False
        self.names[self.name_count] = LinkName(entry, file)
        self.name_count += 1
        group = &self.groups[file]
        if not same or base_file != group.base:
            group.differs = True
        if group.differs or group.asked:
            return True
        group.asked = True
        return self.ask(entry, base, file)

    cdef bint ask(self, Entry *entry, Entry *base, uint64_t file) noexcept nogil:
        """Have the bytes of two files compared, unless they have none, or are one file."""
        if entry.kind != KIND_FILE or entry.size == 0 or is_same_file(entry, base):
            return True
        return pairs_add(&self.pairs, entry, base, file)

    cdef bint is_same(self, const Entry *entry, const Entry *base) noexcept nogil:
        """Return whether a layer would say the same of two entries of a kind, their bytes and their other names aside."""
        cdef Header header, base_header
        if entry.flags & FLAG_SYNTHETIC:
            # The root of a tree at the place of a directory that the layers below have, said as they say it.
            return True
        if base.flags & FLAG_IMPLIED:
            return False
        header_fill(&header, entry, &self.policy)
        header_fill(&base_header, base, &self.base_policy)
        if (
            header.mtime != base_header.mtime or header.uid != base_header.uid or header.gid != base_header.gid
            or header.size != base_header.size
        ):
            return False
        if entry.kind == KIND_SYMLINK:
            # Linux gives all of them one mode, whatever a layer says.
            if entry.size != base.size or memcmp(entry.link.target, base.link.target, entry.size) != 0:
                return False
        elif header.mode != base_header.mode:
            return False
        elif entry.kind == KIND_CHARACTER or entry.kind == KIND_BLOCK:
            if entry.link.device != base.link.device:
                return False
        return _same_xattrs(entry.xattrs, base.xattrs)

    cdef bint push(self, Entry *entry, const Entry *base) noexcept nogil:
        if not make_room(
            <void **>&self.directories, self.directory_count, &self.directory_capacity, sizeof(DirectoryPair)
        ):
            return False
        self.directories[self.directory_count] = DirectoryPair(entry, base)
        self.directory_count += 1
        return True

    cdef bint settle_links(self) noexcept nogil:
        """Mark what the bytes have decided, and the files with several names, now that all is known of them.

        Of two files that could be left out by the same one of the base, that is left out whose first name comes first.
        """
        cdef uint64_t number
        cdef const FilePair *pair
        cdef LinkGroup *group
        cdef uint8_t *taken = <uint8_t *>calloc(self.base_links.count + 1, 1)
        if taken == NULL:
            return False
        for number in range(self.pairs.count):
            pair = &self.pairs.items[number]
            if pair.differs:
                if pair.file == NO_FILE:
                    _mark(pair.entry)
                else:
                    self.groups[pair.file].differs = True
        if self.name_count:
            qsort(self.names, self.name_count, sizeof(LinkName), _by_order)
        for number in range(self.name_count):
            group = &self.groups[self.names[number].file]
            if not group.differs and not group.settled:
                group.differs = taken[group.base]
                taken[group.base] = True
            group.settled = True
            if group.differs:
                _mark(self.names[number].entry)
        free(taken)
        return True
