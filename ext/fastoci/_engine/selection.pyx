# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""A selection: some of a table's entries in the layer's order, for a plan of their own.

The directories above an entry belong to the selection, whether they were named or not. Of one table there may be many
selections that have nothing but directories in common, and their plans work at once: a plan writes into its entries,
so directories are copied, and what else there is belongs to the one selection that took it.

One thread makes a selection, holding the GIL, so that no two take the same.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

from fastoci._engine.arena cimport arena_free, arena_take
from fastoci._engine.entry cimport Entry, FLAG_PASSED, FLAG_TAKEN, KIND_DIRECTORY, entry_order
from fastoci._engine.room cimport make_room
from fastoci._engine.table cimport EntryTable


cdef int _by_order(const void *left, const void *right) noexcept nogil:
    return entry_order((<const Entry **>left)[0], (<const Entry **>right)[0])


cdef bint _is_at_or_beneath(const Entry *entry, const Entry *directory) noexcept nogil:
    while entry != NULL and entry != directory:
        entry = entry.parent
    return entry != NULL


cdef bint _append(Selection *selection, const Entry *entry) noexcept nogil:
    """Add one entry; False when memory is short."""
    cdef Entry *taken = <Entry *>entry
    if not make_room(<void **>&selection.entries, selection.count, &selection.capacity, sizeof(Entry *)):
        return False
    if entry.kind == KIND_DIRECTORY:
        taken = <Entry *>arena_take(&selection.directories, sizeof(Entry), 8)
        if taken == NULL:
            return False
        taken[0] = entry[0]
        if entry.flags & FLAG_PASSED:
            taken.flags &= ~FLAG_PASSED
            taken.mtime = 0
            taken.mtime_ns = 0
    else:
        taken.flags |= FLAG_TAKEN
    selection.entries[selection.count] = taken
    selection.count += 1
    selection.last = entry
    return True


cdef bint _push(Selection *selection, const Entry *entry) noexcept nogil:
    """Add an entry that comes after the last one, and before it what is missing of the directories above."""
    cdef const Entry *missing
    while selection.last != entry:
        # From the top: a directory is there already if the last entry is it, or is beneath it.
        missing = entry
        while (
            missing.parent != NULL and missing.parent.name_size
            and not _is_at_or_beneath(selection.last, missing.parent)
        ):
            missing = missing.parent
        if not _append(selection, missing):
            return False
    return True


cdef bint _push_all(Selection *selection, Entry **entries, uint64_t count) noexcept nogil:
    cdef uint64_t at
    for at in range(count):
        if not _push(selection, entries[at]):
            return False
    return True


cdef int selection_take(Selection *selection, EntryTable table, object numbers) except -1:
    """Take entries out of a table, which is put in order if it is not.

    Args:
        selection: A new one, all zeros.
        table: The table.
        numbers: A buffer of numbers of 32 bits in the machine's order of bytes, as they come. One with PASSING_BIT is
            of a directory that has no time here, but 0.

    Raises:
        IndexError: The table has no entry of such a number.
        ValueError: An entry is named twice, or belongs to another selection, or is passed and no directory; or the
            table is planned as a whole.
        MemoryError: Memory was short.
    """
    cdef Py_buffer view
    cdef Entry **named = NULL
    cdef uint64_t count, at, known = 0
    cdef uint32_t number
    cdef bint is_sorted = True
    table.arrange()
    PyObject_GetBuffer(numbers, &view, PyBUF_SIMPLE)
    try:
        if view.len % sizeof(uint32_t):
            raise ValueError("numbers of entries have 32 bits each")
        count = view.len // sizeof(uint32_t)
        named = <Entry **>malloc((count + 1) * sizeof(Entry *))
        # Room for one, even where nothing is selected: that is a selection, too.
        if named == NULL or not make_room(<void **>&selection.entries, 0, &selection.capacity, sizeof(Entry *)):
            raise MemoryError
        for at in range(count):
            memcpy(&number, <const char *>view.buf + at * sizeof(uint32_t), sizeof(uint32_t))
            named[at] = <Entry *>table._entry(number & ~PASSING_BIT)
            known = at + 1
            if number & PASSING_BIT:
                if named[at].kind != KIND_DIRECTORY:
                    raise ValueError("only a directory is passed")
                named[at].flags |= FLAG_PASSED
            if at and is_sorted:
                is_sorted = entry_order(named[at - 1], named[at]) < 0
        if not is_sorted:
            qsort(named, count, sizeof(Entry *), _by_order)
        for at in range(count):
            if at and entry_order(named[at - 1], named[at]) == 0:
                raise ValueError("an entry is selected twice")
            if named[at].kind != KIND_DIRECTORY and named[at].flags & FLAG_TAKEN:
                raise ValueError("another selection has the entry")
        if not _push_all(selection, named, count):
            raise MemoryError
    finally:
        for at in range(known):
            if named[at].kind == KIND_DIRECTORY:
                named[at].flags &= ~FLAG_PASSED
        free(named)
        PyBuffer_Release(&view)
    return 0


cdef void selection_free(Selection *selection) noexcept nogil:
    """Give back the selection; the entries stay the table's."""
    free(selection.entries)
    selection.entries = NULL
    arena_free(&selection.directories)
