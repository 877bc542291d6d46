# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""Tar headers: ustar (POSIX.1-1988), with a PAX extended header (POSIX.1-2001) only where ustar cannot say it.

Names stand in ustar as raw bytes, which every reader extracts as they are. A PAX record is written for what does not
fit: a path over 100 bytes that does not split at its last possible slash, a link's target over 100 bytes, a size of
8 GiB or more, an owner over 2097151, a time before 1970 or from 8^11 on, and extended attributes. The ustar field of a
number that overflows is 0. Records are sorted by key. Owners have no names, and the time is in whole seconds.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from fastoci._engine.entry cimport (
    Entry,
    FLAG_SYNTHETIC,
    KIND_BLOCK,
    KIND_CHARACTER,
    KIND_DIRECTORY,
    KIND_FILE,
    KIND_HARDLINK,
    KIND_SYMLINK,
    Xattr,
    data_size,
)
from fastoci._engine.path cimport PathBuffer, path_of

cdef extern from "<sys/sysmacros.h>" nogil:
    unsigned int major(uint64_t device)
    unsigned int minor(uint64_t device)

cdef enum:
    NAME_SIZE = 100
    PREFIX_SIZE = 155
    OWNER_MAX = 0o7777777
    NUMBER_LIMIT = 0o100000000000   # 8^11: the first size and time that do not fit

cdef const char *XATTR_KEY = b"SCHILY.xattr."
cdef const char *PAX_NAME = b"././@PaxHeader"


cdef int policy_fill(Policy *policy, int64_t uid, int64_t gid, object mtime_limit, object mtime,
                     bytes modes) except -1:
    """Set a policy to what Python says of it; see `Plan`. It points into `modes`, which the caller keeps.

    Raises:
        ValueError: The modes are none.
    """
    if modes is not None and len(modes) != 2 * MODES * sizeof(uint16_t):
        raise ValueError("modes are 2 x 4096 numbers of 16 bits")
    policy.uid = uid
    policy.gid = gid
    policy.mtime_limit = INT64_MAX if mtime_limit is None else mtime_limit
    policy.has_mtime = mtime is not None
    policy.mtime = 0 if mtime is None else mtime
    policy.modes = NULL if modes is None else <const uint16_t *><const char *>modes
    return 0


cdef bint _is_symlink(const Entry *entry) noexcept nogil:
    if entry.kind == KIND_HARDLINK:
        entry = entry.link.origin
    return entry.kind == KIND_SYMLINK


cdef void header_fill(Header *header, const Entry *entry, const Policy *policy) noexcept nogil:
    """Take the entry's numbers through the policy. Path and link are the caller's to set."""
    cdef bint found = not entry.flags & FLAG_SYNTHETIC
    header.entry = entry
    header.path = NULL
    header.path_size = 0
    header.link = NULL
    header.link_size = 0
    header.size = data_size(entry)
    # A time before 1970 has its nanoseconds counted upwards from the second below: whole seconds are floored.
    header.mtime = min(policy.mtime if found and policy.has_mtime else entry.mtime, policy.mtime_limit)
    header.mode = entry.mode
    if found and policy.modes != NULL and not _is_symlink(entry):
        header.mode = policy.modes[entry.mode if entry.kind == KIND_DIRECTORY else MODES + entry.mode]
    header.uid = <uint32_t>policy.uid if found and policy.uid >= 0 else entry.uid
    header.gid = <uint32_t>policy.gid if found and policy.gid >= 0 else entry.gid


cdef bint header_names(Header *header, PathBuffer *path, PathBuffer *link) noexcept nogil:
    """Set path and link; they point into the buffers and the entry. Returns False when memory is short."""
    cdef const Entry *entry = header.entry
    header.path = path_of(path, entry, NULL, &header.path_size)
    if entry.kind == KIND_SYMLINK:
        header.link = entry.link.target
        header.link_size = entry.size
    elif entry.kind == KIND_HARDLINK:
        header.link = path_of(link, entry.link.origin, NULL, &header.link_size)
        return header.path != NULL and header.link != NULL
    return header.path != NULL


cdef size_t _split(const char *path, size_t size) noexcept nogil:
    """Return where a path of over 100 bytes is split, at the last slash that leaves a prefix of at most 155; 0: nowhere.

    The slash itself is not written. A directory's trailing slash cannot be it: the name would be empty.
    """
    cdef size_t at = min(size - 2, <size_t>PREFIX_SIZE)
    while at > 0 and path[at] != c'/':
        at -= 1
    return at if at > 0 and size - at - 1 <= NAME_SIZE else 0


cdef bint _is_utf8(const char *text, size_t size) noexcept nogil:
    cdef const uint8_t *data = <const uint8_t *>text
    cdef size_t at = 0, more
    cdef uint8_t lead, low, high
    while at < size:
        lead = data[at]
        at += 1
        if lead < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            if lead == 0xE0:
                low = 0xA0
            elif lead == 0xED:
                high = 0x9F
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            if lead == 0xF0:
                low = 0x90
            elif lead == 0xF4:
                high = 0x8F
        else:
            return False
        while more:
            if at == size or data[at] < low or data[at] > high:
                return False
            low, high = 0x80, 0xBF
            at += 1
            more -= 1
    return True


cdef inline bint _path_overflows(const Header *header) noexcept nogil:
    return header.path_size > NAME_SIZE and _split(header.path, header.path_size) == 0


cdef bint _names_are_binary(const Header *header) noexcept nogil:
    """Return whether a name in the PAX header is not UTF-8, so that hdrcharset must say so."""
    cdef const Xattr *xattr = header.entry.xattrs
    while xattr != NULL:
        if not _is_utf8(xattr.name, xattr.name_size):
            return True
        xattr = xattr.next
    if _path_overflows(header) and not _is_utf8(header.path, header.path_size):
        return True
    return header.link_size > NAME_SIZE and not _is_utf8(header.link, header.link_size)


cdef size_t _digits(int64_t value, char *out) noexcept nogil:
    """Write a number in decimal, without an end, and return its length; 20 bytes are enough."""
    cdef char reversed[20]
    cdef size_t count = 0, size = 0
    cdef uint64_t rest = <uint64_t>value
    if value < 0:
        rest = 0 - rest
        out[0] = c'-'
        size = 1
    while True:
        reversed[count] = <char>(c'0' + rest % 10)
        count += 1
        rest //= 10
        if rest == 0:
            break
    while count:
        count -= 1
        out[size] = reversed[count]
        size += 1
    return size


cdef size_t _record(char *out, const char *key, size_t key_size, const char *more, size_t more_size,
                    const char *value, size_t value_size) noexcept nogil:
    """Write the record `LENGTH KEY=VALUE\\n`, the key in two parts; with `out` NULL only return its length."""
    cdef char digits[20]
    cdef size_t rest = 1 + key_size + more_size + 1 + value_size + 1
    cdef size_t width = 1
    # The length counts its own digits.
    while _digits(rest + width, digits) != width:
        width += 1
    if out != NULL:
        memcpy(out, digits, width)
        out += width
        out[0] = c' '
        out += 1
        memcpy(out, key, key_size)
        out += key_size
        memcpy(out, more, more_size)
        out += more_size
        out[0] = c'='
        out += 1
        memcpy(out, value, value_size)
        out[value_size] = c'\n'
    return rest + width


cdef size_t _text_record(char *out, const char *key, const char *value, size_t size) noexcept nogil:
    return _record(out, key, strlen(key), b"", 0, value, size)


cdef size_t _number_record(char *out, const char *key, int64_t value) noexcept nogil:
    cdef char digits[20]
    cdef size_t size = _digits(value, digits)
    return _record(out, key, strlen(key), b"", 0, digits, size)


cdef size_t _pax(const Header *header, char *out) noexcept nogil:
    """Write the PAX records, sorted by key, and return their length; with `out` NULL only return it."""
    cdef size_t size = 0
    cdef const Xattr *xattr = header.entry.xattrs
    while xattr != NULL:
        size += _record(out + size if out else NULL, XATTR_KEY, strlen(XATTR_KEY), xattr.name, xattr.name_size,
                        xattr.value, xattr.value_size)
        xattr = xattr.next
    if header.gid > OWNER_MAX:
        size += _number_record(out + size if out else NULL, b"gid", header.gid)
    if _names_are_binary(header):
        size += _text_record(out + size if out else NULL, b"hdrcharset", b"BINARY", 6)
    if header.link_size > NAME_SIZE:
        size += _text_record(out + size if out else NULL, b"linkpath", header.link, header.link_size)
    if header.mtime < 0 or header.mtime >= NUMBER_LIMIT:
        size += _number_record(out + size if out else NULL, b"mtime", header.mtime)
    if _path_overflows(header):
        size += _text_record(out + size if out else NULL, b"path", header.path, header.path_size)
    if header.size >= NUMBER_LIMIT:
        size += _number_record(out + size if out else NULL, b"size", header.size)
    if header.uid > OWNER_MAX:
        size += _number_record(out + size if out else NULL, b"uid", header.uid)
    return size


cdef int64_t header_size(const Header *header) noexcept nogil:
    """Return the bytes that the headers take, in whole records."""
    cdef size_t pax = _pax(header, NULL)
    return RECORD + (RECORD + padded(pax) if pax else 0)


cdef void _octal(char *field, int width, uint64_t value) noexcept nogil:
    """Write `width` octal digits and a NUL."""
    field[width] = 0
    while width:
        width -= 1
        field[width] = <char>(c'0' + (value & 7))
        value >>= 3


cdef void _checksum(char *record) noexcept nogil:
    """Sum the bytes of the header, its own field taken as spaces (POSIX.1, ustar interchange format)."""
    cdef uint32_t total = 0
    cdef int number
    memset(record + 148, c' ', 8)
    for number in range(RECORD):
        total += <uint8_t>record[number]
    _octal(record + 148, 6, total)


cdef void _ustar(char *record, uint32_t mode, uint32_t uid, uint32_t gid, int64_t size, int64_t mtime,
                 char flag) noexcept nogil:
    """Write every field of a ustar header but the names, the devices and the checksum."""
    memset(record, 0, RECORD)
    _octal(record + 100, 7, mode)
    _octal(record + 108, 7, uid if uid <= OWNER_MAX else 0)
    _octal(record + 116, 7, gid if gid <= OWNER_MAX else 0)
    _octal(record + 124, 11, size if size < NUMBER_LIMIT else 0)
    _octal(record + 136, 11, mtime if 0 <= mtime < NUMBER_LIMIT else 0)
    record[156] = flag
    memcpy(record + 257, b"ustar\x0000", 8)
    _octal(record + 329, 7, 0)
    _octal(record + 337, 7, 0)


cdef char _type_flag(const Entry *entry) noexcept nogil:
    if entry.kind == KIND_FILE:
        return c'0'
    if entry.kind == KIND_HARDLINK:
        return c'1'
    if entry.kind == KIND_SYMLINK:
        return c'2'
    if entry.kind == KIND_CHARACTER:
        return c'3'
    if entry.kind == KIND_BLOCK:
        return c'4'
    if entry.kind == KIND_DIRECTORY:
        return c'5'
    return c'6'


cdef void header_write(const Header *header, char *out, size_t size) noexcept nogil:
    """Write the headers, `size` bytes as header_size said."""
    cdef size_t pax, split = 0
    cdef const Entry *entry = header.entry
    if size > RECORD:
        pax = _pax(header, out + RECORD)
        memset(out + RECORD + pax, 0, size - 2 * RECORD - pax)
        _ustar(out, 0o644, 0, 0, pax, 0, c'x')
        memcpy(out, PAX_NAME, strlen(PAX_NAME))
        _checksum(out)
        out += size - RECORD
    _ustar(out, header.mode, header.uid, header.gid, header.size, header.mtime, _type_flag(entry))
    if header.path_size > NAME_SIZE:
        split = _split(header.path, header.path_size)
    if split:
        memcpy(out + 345, header.path, split)
        memcpy(out, header.path + split + 1, header.path_size - split - 1)
    else:
        memcpy(out, header.path, min(header.path_size, <size_t>NAME_SIZE))
    if header.link != NULL:
        memcpy(out + 157, header.link, min(header.link_size, <size_t>NAME_SIZE))
    if entry.kind == KIND_CHARACTER or entry.kind == KIND_BLOCK:
        _octal(out + 329, 7, major(entry.link.device))
        _octal(out + 337, 7, minor(entry.link.device))
    _checksum(out)
