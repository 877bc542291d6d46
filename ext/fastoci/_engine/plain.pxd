# cython: language_level=3
"""Plain entries: the headers of small regular files of which nothing is left to be decided.

What is taken here means the same to every reader of tars: a ustar or GNU header of type `0` with the right checksum
and octal numbers, no longer name before it, and a name in the directory at hand that is neither a whiteout nor `.` nor
`..`. Everything else, broken headers included, is no plain entry, and Python's reader says what it is.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from "<string.h>" nogil:
    size_t strnlen(const char *text, size_t most)

cdef enum:
    TAR_BLOCK = 512
    PLAIN_MOST = 1 << 16    # bytes of a file and more are not for here: they may hold holes
    NAME_LIMIT = 255        # NAME_MAX (limits.h)
    PATH_LIMIT = 256        # of a ustar header: a prefix of 155 bytes, a slash, a name of 100

cdef struct Plain:
    uint32_t mode           # permission bits, with set-user-ID, set-group-ID and sticky
    uint32_t uid
    uint32_t gid
    int64_t mtime           # seconds
    size_t size             # bytes of data, which follow the header
    size_t name_size
    char name[NAME_LIMIT + 1]

cdef inline bint octal(const uint8_t *field, size_t size, uint64_t *value) noexcept nogil:
    """Read a number of at least one octal digit: spaces around it are allowed, and whatever follows a NUL."""
    cdef size_t at = 0, start
    cdef uint64_t number = 0
    while at < size and field[at] == 0x20:
        at += 1
    start = at
    while at < size and 0x30 <= field[at] <= 0x37:
        number = number << 3 | (field[at] - 0x30)
        at += 1
    if at == start:
        return False
    while at < size and field[at] == 0x20:
        at += 1
    value[0] = number
    return at == size or field[at] == 0

cdef inline bint has_checksum(const uint8_t *block) noexcept nogil:
    """Is the sum of all bytes, those of the checksum itself taken as spaces, what the header says?"""
    cdef uint64_t said
    cdef uint32_t total = 8 * 0x20
    cdef size_t at
    if not octal(block + 148, 8, &said):
        return False
    for at in range(TAR_BLOCK):
        total += block[at]
    for at in range(148, 156):
        total -= block[at]
    return said == total

cdef inline bint is_plain_name(const char *name, size_t size) noexcept nogil:
    """Is it one name, of something that is to be made there?"""
    cdef size_t at
    for at in range(size):
        if name[at] == 0x2F:
            return False
    if name[0] != 0x2E:
        return True
    if size == 1 or (size == 2 and name[1] == 0x2E):
        return False
    return size < 4 or memcmp(name, b".wh.", 4) != 0

cdef inline size_t plain_entry(
    const uint8_t *block, size_t left, const char *directory, size_t directory_size, Plain *plain
) noexcept nogil:
    """Read an entry, and return how many bytes it takes, header, data and padding; 0 where it is not plain.

    `left` bytes are there; `directory` is the path of the directory at hand as the archive writes it, with a slash at
    its end, or nothing.
    """
    cdef uint64_t mode, uid, gid, size, mtime
    cdef size_t prefix_size = 0, name_size, path_size, total
    cdef char path[PATH_LIMIT]
    cdef const char *name
    if left < TAR_BLOCK or (block[156] != 0x30 and block[156] != 0) or memcmp(block + 257, b"ustar", 5) != 0:
        return 0
    # POSIX ends its "ustar" by a NUL, and has a prefix; GNU has a space there, and other things in the prefix's place.
    if block[262] == 0:
        prefix_size = strnlen(<const char *>block + 345, 155)
    elif block[262] != 0x20:
        return 0
    if not (
        octal(block + 100, 8, &mode)
        and octal(block + 108, 8, &uid)
        and octal(block + 116, 8, &gid)
        and octal(block + 124, 12, &size)
        and octal(block + 136, 12, &mtime)
        and has_checksum(block)
    ):
        return 0
    if size >= PLAIN_MOST:
        return 0
    total = TAR_BLOCK + <size_t>(size + TAR_BLOCK - 1) // TAR_BLOCK * TAR_BLOCK
    if total > left:
        return 0
    name_size = strnlen(<const char *>block, 100)
    path_size = name_size
    if prefix_size:
        memcpy(path, block + 345, prefix_size)
        path[prefix_size] = 0x2F
        prefix_size += 1
        path_size += prefix_size
    memcpy(path + prefix_size, block, name_size)
    if path_size <= directory_size or memcmp(path, directory, directory_size) != 0:
        return 0
    name = path + directory_size
    name_size = path_size - directory_size
    if name_size > NAME_LIMIT or not is_plain_name(name, name_size):
        return 0
    memcpy(plain.name, name, name_size)
    plain.name[name_size] = 0
    plain.name_size = name_size
    plain.mode = mode & 0o7777
    plain.uid = <uint32_t>uid
    plain.gid = <uint32_t>gid
    plain.mtime = <int64_t>mtime
    plain.size = <size_t>size
    return total
