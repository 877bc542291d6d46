# cython: language_level=3
"""Plain headers: entries of a tar stream of which a header alone says everything, wherever they are.

What is taken here means the same to every reader of tars: a ustar or GNU header of a regular file, a directory or a
symbolic link, with the right checksum and octal numbers, nothing before it that extends it, and a path of which every
part is a name, the last one no whiteout. Everything else, broken headers included, is left to Python's reader.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from fastoci._engine.entry cimport KIND_DIRECTORY, KIND_FILE, KIND_SYMLINK
from fastoci._engine.plain cimport TAR_BLOCK, has_checksum, octal, strnlen

cdef enum:
    TAR_PATH = 256          # of a ustar header: a prefix of 155 bytes, a slash, a name of 100

cdef struct TarHead:
    uint8_t kind
    uint32_t mode           # permission bits, with set-user-ID, set-group-ID and sticky
    uint32_t uid
    uint32_t gid
    int64_t mtime           # seconds
    size_t size             # of a file's data, which follows the header, or of a link's target
    const char *target      # in the header
    size_t path_size
    char path[TAR_PATH]     # without a slash at its end, or `./` at its beginning

cdef inline bint is_plain_path(const char *path, size_t size) noexcept nogil:
    """Is every part of a path a name, and the last one no whiteout?"""
    cdef size_t start = 0, end
    cdef const char *slash
    while start <= size:
        slash = <const char *>memchr(path + start, 0x2F, size - start)
        end = size if slash == NULL else <size_t>(slash - path)
        if end == start:
            return False
        if path[start] == 0x2E:
            if end - start == 1 or (end - start == 2 and path[start + 1] == 0x2E):
                return False
            if end == size and end - start >= 4 and memcmp(path + start, b".wh.", 4) == 0:
                return False
        start = end + 1
    return True

cdef inline bint _read_path(const uint8_t *block, TarHead *head) noexcept nogil:
    cdef size_t prefix = 0, name = strnlen(<const char *>block, 100), skipped = 0
    # POSIX ends its "ustar" by a NUL, and has a prefix; GNU has a space there, and other things in the prefix's place.
    if block[262] == 0:
        prefix = strnlen(<const char *>block + 345, 155)
    elif block[262] != 0x20:
        return False
    if prefix:
        memcpy(head.path, block + 345, prefix)
        head.path[prefix] = 0x2F
        prefix += 1
    else:
        # As `tar -C DIR -c .` has it.
        skipped = 2 if name > 2 and block[0] == 0x2E and block[1] == 0x2F else 0
    memcpy(head.path + prefix, block + skipped, name - skipped)
    head.path_size = prefix + name - skipped
    if head.path_size and head.path[head.path_size - 1] == 0x2F:
        # A file of such a name is a directory, which is for others to say.
        if head.kind != KIND_DIRECTORY:
            return False
        head.path_size -= 1
    return is_plain_path(head.path, head.path_size)

cdef inline size_t tar_head(const uint8_t *block, size_t left, TarHead *head) noexcept nogil:
    """Read an entry, and return how many bytes it takes, header, data and padding; 0 where it is not plain.

    `left` bytes are there; what `head` points to is in them.
    """
    cdef uint64_t mode, uid, gid, size, mtime, total
    if left < TAR_BLOCK or memcmp(block + 257, b"ustar", 5) != 0:
        return 0
    if block[156] == 0x30 or block[156] == 0:
        head.kind = KIND_FILE
    elif block[156] == 0x35:
        head.kind = KIND_DIRECTORY
    elif block[156] == 0x32:
        head.kind = KIND_SYMLINK
    else:
        return 0
    if not (
        octal(block + 100, 8, &mode)
        and octal(block + 108, 8, &uid)
        and octal(block + 116, 8, &gid)
        and octal(block + 124, 12, &size)
        and octal(block + 136, 12, &mtime)
        and has_checksum(block)
        and _read_path(block, head)
    ):
        return 0
    head.mode = mode & 0o7777
    head.uid = <uint32_t>uid
    head.gid = <uint32_t>gid
    head.mtime = <int64_t>mtime
    head.size = size
    if head.kind != KIND_FILE:
        if size:
            return 0
        if head.kind == KIND_SYMLINK:
            head.target = <const char *>block + 157
            head.size = strnlen(head.target, 100)
            return TAR_BLOCK if head.size else 0
        return TAR_BLOCK
    total = TAR_BLOCK + (size + TAR_BLOCK - 1) // TAR_BLOCK * TAR_BLOCK
    return <size_t>total if total <= left else 0
