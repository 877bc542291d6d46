# cython: language_level=3
"""Plain entries: headers of small files, directories and symbolic links of which nothing is left to be decided.

What is taken here means the same to every reader of tars: a ustar or GNU header with the right checksum and octal
numbers, no longer name before it, and a path of names alone, the last of which is no whiteout. Everything else, broken
headers included, is no plain entry, and Python's reader says what it is.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from "<string.h>" nogil:
    size_t strnlen(const char *text, size_t most)

cdef enum:
    TAR_BLOCK = 512
    PLAIN_MOST = 1 << 16    # bytes of a file and more are not for here: they may hold holes
    PATH_LIMIT = 256        # of a ustar header: a prefix of 155 bytes, a slash, a name of 100
    TARGET_LIMIT = 100      # of a symbolic link, in a ustar header

cdef enum PlainKind:
    PLAIN_FILE
    PLAIN_DIRECTORY
    PLAIN_SYMLINK

cdef struct Plain:
    PlainKind kind
    uint32_t mode           # permission bits, with set-user-ID, set-group-ID and sticky
    uint32_t uid
    uint32_t gid
    int64_t mtime           # seconds
    const uint8_t *data     # of a file, or a link's target; stands in what was read
    size_t size             # bytes of it
    size_t path_size
    size_t above            # bytes of the path before the last name, the slash between them included
    char path[PATH_LIMIT + 1]  # from the root, without a slash at either end

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

cdef inline bint is_name(const char *name, size_t size) noexcept nogil:
    """Is it a name, and neither nothing nor `.` nor `..`?"""
    return size > 2 or (size != 0 and memcmp(name, b"..", size) != 0)

cdef inline bint is_plain_path(Plain *plain) noexcept nogil:
    """Are these names, of which the last is to be made? Then it is known where that begins."""
    cdef size_t at, start = 0
    for at in range(plain.path_size + 1):
        if at == plain.path_size or plain.path[at] == 0x2F:
            if not is_name(plain.path + start, at - start):
                return False
            if at < plain.path_size:
                start = at + 1
    plain.above = start
    return plain.path_size - start < 4 or memcmp(plain.path + start, b".wh.", 4) != 0

cdef inline bint read_path(const uint8_t *block, Plain *plain) noexcept nogil:
    """Read the path of a header; False: it is not plain."""
    cdef char path[PATH_LIMIT]
    cdef size_t start = 0, size = 0
    # POSIX ends its "ustar" by a NUL, and has a prefix; GNU has a space there, and other things in the prefix's place.
    if block[262] == 0:
        size = strnlen(<const char *>block + 345, 155)
        memcpy(path, block + 345, size)
        if size:
            path[size] = 0x2F
            size += 1
    elif block[262] != 0x20:
        return False
    memcpy(path + size, block, 100)
    size += strnlen(<const char *>block, 100)
    # As `tar .` begins every path.
    while size - start > 2 and path[start] == 0x2E and path[start + 1] == 0x2F:
        start += 2
    if plain.kind == PLAIN_DIRECTORY and size > start and path[size - 1] == 0x2F:
        size -= 1
    plain.path_size = size - start
    memcpy(plain.path, path + start, plain.path_size)
    plain.path[plain.path_size] = 0
    return is_plain_path(plain)

cdef inline size_t plain_entry(const uint8_t *block, size_t left, Plain *plain) noexcept nogil:
    """Read an entry, and return how many bytes it takes, header, data and padding; 0 where it is not plain.

    `left` bytes are there.
    """
    cdef uint64_t mode, uid, gid, size, mtime
    cdef size_t total
    if left < TAR_BLOCK or memcmp(block + 257, b"ustar", 5) != 0:
        return 0
    if block[156] == 0x30 or block[156] == 0:
        plain.kind = PLAIN_FILE
    elif block[156] == 0x35:
        plain.kind = PLAIN_DIRECTORY
    elif block[156] == 0x32:
        plain.kind = PLAIN_SYMLINK
    else:
        return 0
    if not (
        octal(block + 100, 8, &mode)
        and octal(block + 108, 8, &uid)
        and octal(block + 116, 8, &gid)
        and octal(block + 124, 12, &size)
        and octal(block + 136, 12, &mtime)
        and has_checksum(block)
        and read_path(block, plain)
    ):
        return 0
    if size >= (PLAIN_MOST if plain.kind == PLAIN_FILE else 1):
        return 0
    total = TAR_BLOCK + <size_t>(size + TAR_BLOCK - 1) // TAR_BLOCK * TAR_BLOCK
    if total > left:
        return 0
    plain.data = block + TAR_BLOCK
    plain.size = <size_t>size
    if plain.kind == PLAIN_SYMLINK:
        plain.data = block + 157
        plain.size = strnlen(<const char *>block + 157, TARGET_LIMIT)
        if plain.size == 0:
            return 0
    plain.mode = mode & 0o7777
    plain.uid = <uint32_t>uid
    plain.gid = <uint32_t>gid
    plain.mtime = <int64_t>mtime
    return total
