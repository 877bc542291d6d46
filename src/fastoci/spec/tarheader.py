"""What a tar header says, field by field: no reading, no policy.

Sources: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Header Block"; the GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator

__all__ = ["BLOCK", "RECORD_LIMIT", "has_checksum", "name_in", "number_in", "pax_records", "signed_in", "text_in"]

BLOCK = 512

RECORD_LIMIT = 1 << 20
"""Bytes of one PAX or GNU long name record; PATH_MAX and a few xattrs need far less."""

_CHECKSUM_AS_SPACES = 8 * 0x20
_ADLER_BASE = 65521


def has_checksum(block: bytes) -> bool:
    """Return whether a header's checksum is right: the sum of all its bytes, the field itself taken as spaces."""
    stored = number_in(block[148:156])
    if stored is None:
        return False
    field = sum(block[148:156])
    # The low half of Adler-32 is one more than the sum of all bytes, and comes twenty times as fast as Python's sum.
    if zlib.adler32(block) & 0xFFFF == (1 + stored + field - _CHECKSUM_AS_SPACES) % _ADLER_BASE:
        return True
    # Some old writers summed the bytes as signed ones.
    signed = sum(block) - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
    return stored == signed - field + _CHECKSUM_AS_SPACES


@functools.lru_cache(maxsize=4096)  # the same modes, owners and times over and over
def number_in(field: bytes) -> int | None:
    """Return a field's number, None where it holds none or a negative one: octal digits, or GNU's base 256."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            return None  # negative, or beyond 2^88: no size and no checksum is
        return int.from_bytes(field[1:], "big")
    text = field.split(b"\0", 1)[0].strip(b" ")
    if not text:
        return 0
    try:
        return int(text, 8) if text.isdigit() else None
    except ValueError:
        return None


def signed_in(field: bytes) -> int | None:
    """Return a field's number, which may be negative as a time may be; None where it holds none."""
    return int.from_bytes(field, "big", signed=True) if field[0] == 0xFF else number_in(field)


def text_in(field: bytes) -> bytes:
    """Return a field's text, which NUL ends if something does."""
    return field.split(b"\0", 1)[0]


def name_in(block: bytes) -> bytes:
    """Return the name in a header, its prefix included."""
    name = text_in(block[:100])
    # Only POSIX's ustar has a prefix; GNU's "ustar  " keeps times and maps there.
    prefix = text_in(block[345:500]) if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    r"""Yield the records of a PAX header in order, keys that are given twice included.

    Raises:
        ValueError: One breaks the form `LENGTH KEY=VALUE\n`.
    """
    position = 0
    while position < len(data):
        digits, space, _ = data[position : position + 20].partition(b" ")
        if not space or not digits.isdigit():
            raise ValueError(position)
        end = position + int(digits)
        record = data[position + len(digits) + 1 : end]
        key, equals, value = record.partition(b"=")
        if end > len(data) or not record.endswith(b"\n") or not equals or not key:
            raise ValueError(position)
        yield key, value[:-1]
        position = end
