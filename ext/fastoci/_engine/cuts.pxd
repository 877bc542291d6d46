# cython: language_level=3
"""Cuts: at which of many places an order of entries is cut into pieces of one order of size.

Places have ranks, and are tried, the lowest rank first: a piece is cut there if it is over the limit, and if both of
what comes of it have a quarter of that at least. So whether a cut is made depends on stronger cuts near it alone: a
change in one place leaves the cuts elsewhere where they were. That pieces may be of a quarter or of all of the limit is
what lets one of them grow or shrink without its cuts moving.

Where a number of pieces is wanted, it is the most that there may be, and what it decides is the limit, in steps of a
third or a half: an order that has grown a little has the same. Where there are more pieces than are wanted, which is
seldom where many are wanted, the lightest neighbours are joined. To meet the number always, a cut that comes in one
place would have to be one that goes in another, far away. Few pieces are to be of about one size, many are to stay
where they are: so the more are wanted, the fewer of them, in parts of the number, there are.

One thread owns them.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memset

from fastoci._engine.header cimport RECORD

cdef enum:
    LEAST_PART = 4      # of the limit: the least that a cut leaves on both of its sides
    SHARE = 16          # parts of an even share, of which the limit is so many more ...
    MOST_SHARES = 12    # ... as pieces are wanted, up to this number

# A place to cut, before an entry.
cdef struct Cut:
    uint64_t rank
    int64_t offset      # of the entry, in bytes
    uint32_t entry      # its number
    bint made

cdef struct Cuts:
    Cut *all            # in order; the first is the beginning of all, the last the end, and both are made
    Cut **lowest        # those between them, the lowest rank first
    uint32_t count
    uint32_t pieces

cdef inline bint cuts_begin(Cuts *cuts, size_t most) noexcept nogil:
    """Begin a list of no more places than `most`; False where memory is short."""
    cuts.all = <Cut *>malloc((most + 2) * sizeof(Cut))
    cuts.lowest = <Cut **>malloc((most + 1) * sizeof(Cut *))
    if cuts.all == NULL or cuts.lowest == NULL:
        return False
    cuts.all[0] = Cut(0, 0, 0, True)
    cuts.count = 1
    cuts.pieces = 1
    return True

cdef inline void cuts_free(Cuts *cuts) noexcept nogil:
    """Give back the list."""
    free(cuts.all)
    free(cuts.lowest)
    memset(cuts, 0, sizeof(Cuts))

cdef inline void cuts_add(Cuts *cuts, uint64_t rank, int64_t offset, uint32_t entry) noexcept nogil:
    """Add the next place."""
    cuts.all[cuts.count] = Cut(rank, offset, entry, False)
    cuts.lowest[cuts.count - 1] = &cuts.all[cuts.count]
    cuts.count += 1

cdef inline int _by_rank(const void *left, const void *right) noexcept nogil:
    """Order the lowest rank first; of equal ones the earlier place."""
    cdef const Cut *a = (<const Cut **>left)[0]
    cdef const Cut *b = (<const Cut **>right)[0]
    if a.rank != b.rank:
        return 1 if a.rank > b.rank else -1
    return (a.entry > b.entry) - (a.entry < b.entry)

cdef inline void cuts_end(Cuts *cuts, int64_t size, uint32_t entries) noexcept nogil:
    """Say how much all is together, and how many entries: there are no more places."""
    qsort(cuts.lowest, cuts.count - 1, sizeof(Cut *), _by_rank)
    cuts.all[cuts.count] = Cut(0, size, entries, True)
    cuts.count += 1

cdef inline const Cut *cut_before(const Cut *cut) noexcept nogil:
    """Return the last cut before a place that is made."""
    cut -= 1
    while not cut.made:
        cut -= 1
    return cut

cdef inline const Cut *cut_behind(const Cut *cut) noexcept nogil:
    """Return the first cut behind a place that is made."""
    cut += 1
    while not cut.made:
        cut += 1
    return cut

cdef inline void cuts_make(Cuts *cuts, int64_t limit) noexcept nogil:
    """Cut the pieces that are over the limit.

    Most places that are tried early are cut at, so the next one on either side is near.
    """
    cdef int64_t least = limit // LEAST_PART, before, behind
    cdef uint32_t at
    cdef Cut *cut
    for at in range(cuts.count - 2):
        cut = cuts.lowest[at]
        before = cut.offset - cut_before(cut).offset
        behind = cut_behind(cut).offset - cut.offset
        if before + behind > limit and before >= least and behind >= least:
            cut.made = True
            cuts.pieces += 1

cdef inline void cuts_join(Cuts *cuts, uint32_t wanted) noexcept nogil:
    """Give up cuts while there are more pieces than are wanted: of those whose two pieces have the least together.

    Of equal ones the latest. There are not many: none of the pieces is less than a quarter of the limit.
    """
    cdef Cut *cut
    cdef Cut *lightest
    cdef int64_t least, weight
    while cuts.pieces > wanted:
        lightest = NULL
        least = 0
        cut = <Cut *>cut_behind(cuts.all)
        while cut != &cuts.all[cuts.count - 1]:
            weight = cut_behind(cut).offset - cut_before(cut).offset
            if lightest == NULL or weight <= least:
                lightest = cut
                least = weight
            cut = <Cut *>cut_behind(cut)
        lightest.made = False
        cuts.pieces -= 1

cdef inline int64_t cuts_limit(int64_t size, uint32_t wanted) noexcept nogil:
    """Return the limit for a number of pieces, over 1, of so many bytes together: RECORD by 2^k, or half as much more."""
    cdef int64_t share = size // wanted
    cdef int64_t limit = RECORD
    cdef bint is_power = True
    share += share // SHARE * min(wanted, <uint32_t>MOST_SHARES)
    while limit <= share:
        limit = limit // 2 * 3 if is_power else limit // 3 * 4
        is_power = not is_power
    return limit
