"""The tar format as archives of images need it: headers of regular files and directories (POSIX pax, "ustar").

Everything in such an archive belongs to 0:0 and was modified at 0, so that the same image is the same archive.
"""

from __future__ import annotations

from fastoci.spec.tarheader import BLOCK

__all__ = ["END", "NAME_LIMIT", "directory_header", "file_header", "padding"]

END = bytes(2 * BLOCK)
NAME_LIMIT = 100

_OCTAL_LIMIT = 8**11
"""The first size that the eleven octal digits of a ustar header cannot say."""


def padding(size: int) -> int:
    """Return how many zero bytes follow `size` bytes of data."""
    return -size % BLOCK


def file_header(name: str, size: int) -> bytes:
    """Return the header of a regular file.

    A size of 8 GiB or more is in base 256, as GNU tar, Go, Python and bsdtar read it: it needs no second header, so
    that the room for one header, left before the size is known, is enough.

    Args:
        name: ASCII, at most 100 characters.
        size: Bytes of data that follow.
    """
    return _header(name, size, 0o644, b"0")


def directory_header(name: str) -> bytes:
    """Return the header of a directory; its name ends with a slash."""
    return _header(name, 0, 0o755, b"5")


def _header(name: str, size: int, mode: int, kind: bytes) -> bytes:
    encoded = name.encode("ascii")
    if len(encoded) > NAME_LIMIT:
        raise ValueError(f"{name} is longer than a tar header has room for")
    header = b"".join(
        (
            encoded.ljust(100, b"\0"),
            b"%07o\0" % mode,
            b"%07o\0" % 0,  # uid
            b"%07o\0" % 0,  # gid
            b"%011o\0" % size if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big"),
            b"%011o\0" % 0,  # mtime
            b" " * 8,  # the checksum, for which these bytes count as spaces
            kind,
            bytes(100),  # link name
            b"ustar\00000",
            bytes(247),  # uname, gname, device, prefix, and nothing
        )
    )
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]
