# cython: language_level=3
"""CRC-32 (ISO-HDLC, as in gzip) of short strings, a nibble at a time: for paths, where a larger table would not pay."""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    static const uint32_t fastoci_crc32_nibbles[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    """
    const uint32_t fastoci_crc32_nibbles[16]

cdef inline uint32_t crc32(const char *data, size_t size) noexcept nogil:
    """Return the CRC-32 of `size` bytes."""
    cdef uint32_t crc = <uint32_t>0xFFFFFFFF
    cdef size_t at
    for at in range(size):
        crc ^= <uint8_t>data[at]
        crc = (crc >> 4) ^ fastoci_crc32_nibbles[crc & 15]
        crc = (crc >> 4) ^ fastoci_crc32_nibbles[crc & 15]
    return ~crc
