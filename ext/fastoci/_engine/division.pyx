# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The division: which entries of a tree go into which of several layers, so that a change moves few of them.

It knows no sizes but those of the scan, and neither contents nor times nor chance. Every entry has a rank: a hash of
its path, shifted right by how much comes with it (of a directory all that it holds). So the lowest ranks are those of
large files and of directories high up, and they lie about as densely in every byte of the tree. The entries of low rank
are the places to cut before; at which of them it is done, cuts.pxd has.

What is larger than the limit counts as much as that where a number of pieces is wanted, for it is in one piece whatever
the limit.

A file that has names in several pieces goes with the first of them. Whiteouts go into the lowest piece, because they
are about what is below all of the tree. A directory is in every piece that holds something of it. But its time changes
with every name in it, and what remains of it when all layers are applied is what the last of them says: so the others
only pass through it (PASSING), without its time.

One thread does it, without the GIL, on a table whose scan is complete.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, UINT32_MAX, UINT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memset

from fastoci._engine.cuts cimport (
    Cut,
    Cuts,
    LEAST_PART,
    cut_behind,
    cuts_add,
    cuts_begin,
    cuts_end,
    cuts_free,
    cuts_join,
    cuts_limit,
    cuts_make,
)
from fastoci._engine.entry cimport Entry, KIND_DIRECTORY, data_size
from fastoci._engine.header cimport RECORD, padded
from fastoci._engine.links cimport LinkSet, LinkedFile, links_find, links_free
from fastoci._engine.path cimport path_copy
from fastoci._engine.selection cimport PASSING_BIT
from fastoci._engine.table cimport EntryTable

cdef enum:
    FINENESS = 32       # places to cut, at least, in as many bytes as the limit
    WHITEOUT_SIZE = 4   # of `.wh.`

PASSING = PASSING_BIT

cdef struct Division:
    const Entry **entries   # in the layer's order; the table's
    uint32_t count
    uint32_t *above         # the number of the directory that an entry is in; UINT32_MAX at the top
    int64_t *weights        # of an entry and all that it holds, in bytes
    uint64_t *hashes        # of paths
    LinkSet links
    Cuts cuts
    uint32_t pieces
    uint32_t *piece         # that an entry is in
    uint32_t *link_pieces   # that a file of several names is in, by its number among these
    uint32_t *members       # the entries piece by piece, in order
    uint32_t *starts        # of the pieces in `members`, and the end of the last
    uint32_t *last          # the last piece that a directory is in
    uint32_t *seen          # the last piece so far
    uint32_t *way           # from an entry up
    uint32_t *chosen        # what a piece becomes: numbers, with PASSING


cdef inline uint64_t _hash(uint64_t hash, const char *name, size_t size) noexcept nogil:
    """Go on with a path's hash (FNV-1a) by one name."""
    cdef size_t at
    for at in range(size):
        hash = (hash ^ <uint8_t>name[at]) * <uint64_t>0x100000001B3
    return (hash ^ c'/') * <uint64_t>0x100000001B3


cdef inline uint64_t _mixed(uint64_t hash) noexcept nogil:
    """Spread a hash over all of its bits (MurmurHash3's finalizer)."""
    hash = (hash ^ hash >> 33) * <uint64_t>0xFF51AFD7ED558CCD
    hash = (hash ^ hash >> 33) * <uint64_t>0xC4CEB9FE1A85EC53
    return hash ^ hash >> 33


cdef inline int _power(int64_t weight) noexcept nogil:
    """Return the greatest power of two that is in a weight, in records."""
    cdef int power = 0
    weight >>= 10
    while weight:
        power += 1
        weight >>= 1
    return power


cdef bint _allocate(Division *division) noexcept nogil:
    """Take all memory that depends on the number of entries; False where there is none."""
    cdef size_t count = <size_t>division.count + 1
    division.above = <uint32_t *>malloc(count * sizeof(uint32_t))
    division.weights = <int64_t *>malloc(count * sizeof(int64_t))
    division.hashes = <uint64_t *>malloc(count * sizeof(uint64_t))
    division.piece = <uint32_t *>malloc(count * sizeof(uint32_t))
    division.members = <uint32_t *>malloc(count * sizeof(uint32_t))
    division.last = <uint32_t *>malloc(count * sizeof(uint32_t))
    division.seen = <uint32_t *>malloc(count * sizeof(uint32_t))
    division.way = <uint32_t *>malloc(count * sizeof(uint32_t))
    division.chosen = <uint32_t *>malloc(count * sizeof(uint32_t))
    return (
        division.above != NULL and division.weights != NULL and division.hashes != NULL and division.piece != NULL
        and division.members != NULL and division.last != NULL and division.seen != NULL and division.way != NULL
        and division.chosen != NULL
    )


cdef void _free(Division *division) noexcept nogil:
    free(division.above)
    free(division.weights)
    free(division.hashes)
    links_free(&division.links)
    cuts_free(&division.cuts)
    free(division.piece)
    free(division.link_pieces)
    free(division.members)
    free(division.starts)
    free(division.last)
    free(division.seen)
    free(division.way)
    free(division.chosen)


cdef inline bint _is_linked(const Entry *entry) noexcept nogil:
    return entry.links > 1 and entry.kind != KIND_DIRECTORY


cdef bint _weigh(Division *division) noexcept nogil:
    """Find out what is in what, how large, and the hash of every path; False where memory is short."""
    cdef const Entry *entry
    cdef const LinkedFile *file
    cdef uint32_t at, above
    for at in range(division.count):
        entry = division.entries[at]
        above = at - 1 if at else UINT32_MAX
        while above != UINT32_MAX and division.entries[above] != entry.parent:
            above = division.above[above]
        division.above[at] = above
        division.hashes[at] = _hash(
            <uint64_t>0xCBF29CE484222325 if above == UINT32_MAX else division.hashes[above], entry.name, entry.name_size
        )
        division.weights[at] = RECORD + padded(data_size(entry))
        if _is_linked(entry):
            file = links_find(&division.links, <Entry *>entry)
            if file == NULL:
                return False
            if file.first != entry:
                division.weights[at] = RECORD
    for at in range(division.count, 0, -1):
        above = division.above[at - 1]
        if above != UINT32_MAX:
            division.weights[above] += division.weights[at - 1]
    return True


cdef int64_t _total(const Division *division) noexcept nogil:
    """Return the weight of the tree."""
    cdef int64_t total = 0
    cdef uint32_t at
    for at in range(division.count):
        if division.above[at] == UINT32_MAX:
            total += division.weights[at]
    return total


cdef int64_t _limit(const Division *division, uint32_t wanted) noexcept nogil:
    """Return the limit for a number of pieces, where an entry counts no more than that."""
    cdef int64_t limit = cuts_limit(_total(division), wanted)
    cdef int64_t smaller, total
    cdef uint32_t at
    while True:
        total = 0
        for at in range(division.count):
            total += min(_own(division, at), limit)
        smaller = cuts_limit(total, wanted)
        if smaller >= limit:
            return limit
        limit = smaller


cdef inline int64_t _own(const Division *division, uint32_t at) noexcept nogil:
    """Return the weight of an entry without what it holds."""
    return RECORD if division.entries[at].kind == KIND_DIRECTORY else division.weights[at]


cdef bint _find_cuts(Division *division, int64_t limit) noexcept nogil:
    """List the places to cut: those of low rank, and those behind a large file; False where memory is short."""
    cdef int most = _power(limit)
    cdef uint64_t records = max(limit // RECORD, <int64_t>1)
    cdef uint64_t threshold = UINT64_MAX if records <= FINENESS else UINT64_MAX // records * FINENESS
    cdef uint64_t rank
    cdef int64_t offset = 0, own = 0
    cdef uint32_t at
    if not cuts_begin(&division.cuts, division.count):
        return False
    for at in range(division.count):
        rank = _mixed(division.hashes[at]) >> min(_power(division.weights[at]), most)
        # Never between a directory and the first that it holds: it would come with that all the same.
        if at and division.above[at] != at - 1 and (rank < threshold or own >= limit // LEAST_PART):
            cuts_add(&division.cuts, rank, offset, at)
        own = _own(division, at)
        offset += own
    cuts_end(&division.cuts, offset, division.count)
    return True


cdef bint _cut(Division *division, int64_t limit, uint32_t wanted) noexcept nogil:
    """Decide where the pieces begin; False where memory is short."""
    if wanted:
        limit = INT64_MAX if wanted == 1 else _limit(division, wanted)
    if not _find_cuts(division, limit):
        return False
    cuts_make(&division.cuts, limit)
    if wanted:
        cuts_join(&division.cuts, wanted)
    division.pieces = division.cuts.pieces
    return True


cdef bint _assign(Division *division) noexcept nogil:
    """Say of every entry which piece it is in, and list them by it; False where memory is short."""
    cdef const Cut *end = cut_behind(division.cuts.all)      # of the piece
    cdef const Entry *entry
    cdef const LinkedFile *file
    cdef uint32_t at, number, taken = 0
    cdef uint32_t *renamed
    division.starts = <uint32_t *>calloc(<size_t>division.pieces + 2, sizeof(uint32_t))
    division.link_pieces = <uint32_t *>malloc((division.links.count + 1) * sizeof(uint32_t))
    if division.starts == NULL or division.link_pieces == NULL:
        return False
    memset(division.link_pieces, 0xFF, (division.links.count + 1) * sizeof(uint32_t))
    number = 0
    for at in range(division.count):
        if at == end.entry:
            end = cut_behind(end)
            number += 1
        entry = division.entries[at]
        division.piece[at] = number
        if entry.name_size >= WHITEOUT_SIZE and memcmp(entry.name, b".wh.", WHITEOUT_SIZE) == 0:
            division.piece[at] = 0
        elif _is_linked(entry):
            file = links_find(&division.links, <Entry *>entry)
            if file == NULL:
                return False
            if division.link_pieces[file.number] == UINT32_MAX:
                division.link_pieces[file.number] = number
            division.piece[at] = division.link_pieces[file.number]
        division.starts[division.piece[at] + 1] += 1
    # Pieces that others have left without entries are none.
    renamed = division.way
    for number in range(division.pieces):
        renamed[number] = taken
        if division.starts[number + 1]:
            taken += 1
            division.starts[taken] = division.starts[number + 1]
    division.pieces = max(taken, <uint32_t>1)
    for number in range(taken):
        division.starts[number + 1] += division.starts[number]
    for at in range(division.count):
        number = division.piece[at] = renamed[division.piece[at]]
        division.members[division.starts[number]] = at
        division.starts[number] += 1
    # Each start has moved to the next one's place.
    for number in range(taken, 0, -1):
        division.starts[number] = division.starts[number - 1]
    division.starts[0] = 0
    return True


cdef void _find_last(Division *division) noexcept nogil:
    """Say of every directory which piece is the last that it is in."""
    cdef uint32_t number, at, above
    memset(division.last, 0xFF, (<size_t>division.count + 1) * sizeof(uint32_t))
    memset(division.seen, 0xFF, (<size_t>division.count + 1) * sizeof(uint32_t))
    for number in range(division.pieces):
        for at in range(division.starts[number], division.starts[number + 1]):
            above = division.members[at]
            while above != UINT32_MAX and division.last[above] != number:
                division.last[above] = number
                above = division.above[above]


cdef uint32_t _choose(Division *division, uint32_t number) noexcept nogil:
    """List what is in a piece, with the directories above, in order; return how many entries these are.

    Pieces are asked for from the first on.
    """
    cdef uint32_t at, above, steps, count = 0
    for at in range(division.starts[number], division.starts[number + 1]):
        above = division.members[at]
        steps = 0
        while above != UINT32_MAX and division.seen[above] != number:
            division.seen[above] = number
            division.way[steps] = above
            steps += 1
            above = division.above[above]
        while steps:
            steps -= 1
            above = division.way[steps]
            division.chosen[count] = above | (0 if division.last[above] == number else <uint32_t>PASSING_BIT)
            count += 1
    return count


def divide(EntryTable table not None, *, int64_t limit=0, uint32_t count=0):
    """Return which entries go into which layer, lowest first.

    Args:
        table: Its scan is complete; it is put in order.
        limit: The most bytes of tar that a layer may have, where its entries can be told apart; 0: `count` says.
        count: How many layers there are at most; 0: as many as it takes.

    Returns:
        For each layer the path of the entry that it begins with, and the numbers of its entries in order, the
        directories above them included: 32 bits each, as `Plan` takes them. There is one layer at least.

    Raises:
        ValueError: Neither or both are given; or the table is not complete, or planned as a whole.
        MemoryError: Memory was short.
    """
    cdef Division division
    cdef bint done
    cdef uint32_t number, chosen
    if (limit > 0) == (count > 0) or limit < 0:
        raise ValueError("a limit or a count is wanted")
    if table.arrange() >= PASSING_BIT:
        raise ValueError("more entries than can be divided")
    memset(&division, 0, sizeof(division))
    division.count = table.count
    if division.count:
        table._entry(0)     # which lists them
    division.entries = table.order
    parts = []
    try:
        with nogil:
            done = _allocate(&division) and _weigh(&division) and _cut(&division, limit, count) and _assign(&division)
            if done:
                _find_last(&division)
        if not done:
            raise MemoryError
        for number in range(division.pieces):
            with nogil:
                chosen = _choose(&division, number)
            first = b""
            if number:
                first = _path(division.entries[division.members[division.starts[number]]])
            parts.append((first, PyBytes_FromStringAndSize(<char *>division.chosen, chosen * sizeof(uint32_t))))
    finally:
        _free(&division)
    return parts


cdef bytes _path(const Entry *entry):
    cdef size_t size
    cdef char *copy = path_copy(entry, NULL, &size)
    if copy == NULL:
        raise MemoryError
    try:
        return copy[:size]
    finally:
        free(copy)
