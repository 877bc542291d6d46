"""Reading the table of contents of a tar that nobody vouches for.

Every header is bounded before it is read and checked before it is used; nothing is extracted. Understood are ustar,
GNU's and PAX's long names and sizes; links are noted, not followed. A member's name is what it says without a leading
`./`; one that leads out of the archive, or comes twice, makes the archive invalid: readers would not agree on it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from fastoci.errors import InvalidImageError, StoreError
from fastoci.spec.tarheader import (
    BLOCK,
    RECORD_LIMIT,
    has_checksum,
    name_in,
    number_in,
    pax_records,
    text_in,
)
from fastoci.store.tarformat import padding

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Member", "read_members"]

_MEMBER_LIMIT = 100_000
_SIZE_LIMIT = 1 << 62

Kind = Literal["file", "symlink", "hardlink", "other"]
_KINDS: dict[bytes, Kind] = {b"0": "file", b"\0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink"}
_DIRECTORY = b"5"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar.

    Args:
        name: Without a leading `./`.
        kind: What it is; directories are not listed.
        offset: Where its data begins, in bytes from the start of the tar.
        size: Bytes of data.
        target: Where a link leads, as written.
    """

    name: str
    kind: Kind
    offset: int
    size: int
    target: str = ""


def read_members(fd: int, what: str) -> dict[str, Member]:
    """Return the members of a tar by name, directories left out.

    Args:
        fd: The tar, a regular file.
        what: What to call it in an error.

    Raises:
        StoreError: It is no tar.
        InvalidImageError: It is truncated, or not valid, or could be read in two ways.
        OSError: It cannot be read.
    """
    members: dict[str, Member] = {}
    for member in _Reader(fd, what).members():
        if member.name in members:
            raise InvalidImageError(f"{what} is not valid", cause=f"{member.name[:200]!r} is in it twice")
        members[member.name] = member
    return members


class _Reader:
    def __init__(self, fd: int, what: str) -> None:
        self._fd = fd
        self._what = what
        self._end = os.fstat(fd).st_size
        self._position = 0
        self._is_tar = False

    def _fail(self, cause: str) -> NoReturn:
        if not self._is_tar:
            raise StoreError(
                f"{self._what} is not an archive of images",
                path=self._what,
                cause="it is no tar",
                hint="name a layout, or what `docker save` or `fastoci build -o oci-archive:FILE` wrote",
            )
        raise InvalidImageError(f"{self._what} is not a valid tar", cause=f"{cause} (at byte {self._position:,})")

    def _read(self, offset: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = os.pread(self._fd, size - len(data), offset + len(data))
            if not piece:
                self._fail("it is truncated")
            data += piece
        return data

    def members(self) -> Iterator[Member]:
        extensions: dict[str, str] = {}
        count = 0
        while self._position < self._end:
            header = self._read(self._position, BLOCK)
            if not header.strip(b"\0"):
                break
            count += 1
            if count > _MEMBER_LIMIT:
                self._fail(f"it has more than {_MEMBER_LIMIT:,} members")
            if not has_checksum(header):
                self._fail("a header's checksum is wrong")
            self._is_tar = True
            size = self._number(header[124:136])
            data = self._position + BLOCK
            kind = header[156:157]
            if kind in b"xgLK":
                self._check_end(data, size)
                extensions |= self._extension(kind, data, size)
                self._position = data + size + padding(size)
                continue
            member, size = self._member(header, kind, extensions, data, size)
            extensions = {}
            # Links, devices and directories have no data, whatever their size says (pax, "ustar Interchange Format").
            follows = size if kind not in b"123456" else 0
            self._check_end(data, follows)
            if member is not None:
                yield member
            self._position = data + follows + padding(follows)
        if not count:
            self._fail("it is empty")

    def _check_end(self, offset: int, size: int) -> None:
        if offset + size > self._end:
            self._fail("it is truncated")

    def _number(self, field: bytes) -> int:
        number = number_in(field)
        if number is None or number >= _SIZE_LIMIT:
            self._fail("a header holds a number that is none")
        return number

    def _member(
        self, header: bytes, kind: bytes, extensions: dict[str, str], data: int, size: int
    ) -> tuple[Member | None, int]:
        name = extensions.get("path") or os.fsdecode(name_in(header))
        if "size" in extensions:
            text = extensions["size"]
            if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) < _SIZE_LIMIT):
                self._fail("a PAX header holds a size that is none")
            size = int(text)
        if any(key.startswith("GNU.sparse.") for key in extensions):
            self._fail("it holds a sparse file")
        clean = self._clean(name)
        if kind == _DIRECTORY or name.endswith("/") or not clean:
            return None, size
        target = extensions.get("linkpath") or os.fsdecode(text_in(header[157:257]))
        return Member(clean, _KINDS.get(kind, "other"), data, size, target if kind in b"12" else ""), size

    def _clean(self, name: str) -> str:
        if name.startswith("/"):
            self._fail(f"the member {name[:200]!r} is outside of it")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            self._fail(f"the member {name[:200]!r} is outside of it")
        return "/".join(parts)

    def _extension(self, kind: bytes, offset: int, size: int) -> dict[str, str]:
        """Return what a header before a header says of the next member; what a global one says is of no use here."""
        if size > RECORD_LIMIT:
            self._fail(f"a header has {size:,} bytes")
        if kind == b"g":
            return {}
        data = self._read(offset, size)
        if kind in b"LK":
            return {"path" if kind == b"L" else "linkpath": os.fsdecode(text_in(data))}
        return self._records(data)

    def _records(self, data: bytes) -> dict[str, str]:
        try:
            records = {os.fsdecode(key): os.fsdecode(value) for key, value in pax_records(data)}
        except ValueError:
            self._fail("a PAX header is not valid")
        if any("\0" in records.get(key, "") for key in ("path", "linkpath")):
            self._fail("a PAX header is not valid")
        return records
