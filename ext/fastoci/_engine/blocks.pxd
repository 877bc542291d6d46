# cython: language_level=3
"""The blocks of a plan: one record for each, but one for all the data of a large file.

So the list grows with the entries, and not with what they hold: of a file that is one hole no memory has room for every
block. Whoever shares a list guards it.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from fastoci._engine.entry cimport Entry

cdef enum:
    BLOCKS_FIRST = 64

cdef struct Block:
    const Entry *entry      # its first entry; NULL: nothing but the trailer
    int64_t tar_offset
    int64_t data_offset     # in the data of its first entry; -1: it begins with that entry's headers
    uint32_t first          # the number of its first entry
    uint32_t size

# One block, or the data of one entry in blocks that are all full but the last.
cdef struct BlockRun:
    const Entry *entry
    int64_t tar_offset
    int64_t size            # of all of it
    uint64_t number         # of its first block
    uint32_t first
    bint is_data

cdef struct BlockList:
    BlockRun *runs
    uint64_t run_count
    uint64_t run_capacity
    uint64_t count          # of blocks
    int64_t size            # of all of them, bytes of tar

cdef inline bint blocks_add(BlockList *blocks, const Entry *entry, uint32_t first, bint is_data, int64_t size,
                            uint32_t block_size) noexcept nogil:
    """Add a block that begins with an entry's headers, or the blocks of its data; False where memory is short."""
    cdef BlockRun *grown
    cdef uint64_t capacity
    if blocks.run_count == blocks.run_capacity:
        capacity = 2 * blocks.run_capacity if blocks.run_capacity else BLOCKS_FIRST
        grown = <BlockRun *>realloc(blocks.runs, capacity * sizeof(BlockRun))
        if grown == NULL:
            return False
        blocks.runs = grown
        blocks.run_capacity = capacity
    blocks.runs[blocks.run_count] = BlockRun(entry, blocks.size, size, blocks.count, first, is_data)
    blocks.run_count += 1
    blocks.count += (<uint64_t>size + block_size - 1) // block_size
    blocks.size += size
    return True

cdef inline bint blocks_get(const BlockList *blocks, uint64_t number, uint32_t block_size, Block *block) noexcept nogil:
    """Say what is in a block; False where there is none of that number."""
    cdef uint64_t low = 0, high = blocks.run_count, middle
    cdef const BlockRun *run
    cdef int64_t offset
    if number >= blocks.count:
        return False
    # The last run that does not begin after it.
    while high - low > 1:
        middle = low + (high - low) // 2
        if blocks.runs[middle].number <= number:
            low = middle
        else:
            high = middle
    run = &blocks.runs[low]
    offset = <int64_t>(number - run.number) * block_size
    block.entry = run.entry
    block.tar_offset = run.tar_offset + offset
    block.data_offset = offset if run.is_data else -1
    block.first = run.first
    block.size = <uint32_t>min(run.size - offset, <int64_t>block_size)
    return True

cdef inline void blocks_free(BlockList *blocks) noexcept nogil:
    """Give back the list; it is empty again."""
    free(blocks.runs)
    memset(blocks, 0, sizeof(BlockList))
