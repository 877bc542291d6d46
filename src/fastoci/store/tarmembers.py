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
from fastoci.store.tarformat import BLOCK, padding

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Member", "read_members"]

_MEMBER_LIMIT = 100_000
_EXTENSION_LIMIT = 1 << 20
"""Bytes of a PAX or GNU header: some hundred times what a path can need."""
_RECORD_DIGITS = 8
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
            self._check_sum(header)
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

    def _check_sum(self, header: bytes) -> None:
        without = header[:148] + b" " * 8 + header[156:]
        said, unsigned = self._number(header[148:156]), sum(without)
        # Old writers summed signed bytes.
        if said != unsigned and said != unsigned - 256 * sum(byte > 127 for byte in without):
            self._fail("a header's checksum is wrong")

    def _check_end(self, offset: int, size: int) -> None:
        if offset + size > self._end:
            self._fail("it is truncated")

    def _number(self, field: bytes) -> int:
        if field[0] in (0x80, 0xFF):
            number = int.from_bytes(field[1:], "big") if field[0] == 0x80 else -1
        else:
            text = field.replace(b"\0", b" ").strip() or b"0"
            number = int(text, 8) if not text.strip(b"01234567") else -1
        if not 0 <= number < _SIZE_LIMIT:
            self._fail("a header holds a number that is none")
        return number

    def _member(
        self, header: bytes, kind: bytes, extensions: dict[str, str], data: int, size: int
    ) -> tuple[Member | None, int]:
        name = extensions.get("path") or self._name(header)
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
        target = extensions.get("linkpath") or _text(header[157:257])
        return Member(clean, _KINDS.get(kind, "other"), data, size, target if kind in b"12" else ""), size

    def _name(self, header: bytes) -> str:
        name = _text(header[:100])
        # GNU's own format has other things where ustar has the prefix.
        prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
        return f"{prefix}/{name}" if prefix else name

    def _clean(self, name: str) -> str:
        if name.startswith("/"):
            self._fail(f"the member {name[:200]!r} is outside of it")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            self._fail(f"the member {name[:200]!r} is outside of it")
        return "/".join(parts)

    def _extension(self, kind: bytes, offset: int, size: int) -> dict[str, str]:
        """Return what a header before a header says of the next member; what a global one says is of no use here."""
        if size > _EXTENSION_LIMIT:
            self._fail(f"a header has {size:,} bytes")
        if kind == b"g":
            return {}
        data = self._read(offset, size)
        if kind in b"LK":
            return {"path" if kind == b"L" else "linkpath": _text(data)}
        return self._records(data)

    def _records(self, data: bytes) -> dict[str, str]:
        """Return the records of a PAX header: `LENGTH KEY=VALUE` and a newline, LENGTH counting all of it."""
        records: dict[str, str] = {}
        position = 0
        while position < len(data):
            digits, space, _ = data[position : position + _RECORD_DIGITS + 1].partition(b" ")
            if not space or not digits.isdigit():
                self._fail("a PAX header is not valid")
            end = position + int(digits)
            record = data[position + len(digits) + 1 : end]
            key, equals, value = record.partition(b"=")
            if end > len(data) or not equals or not record.endswith(b"\n"):
                self._fail("a PAX header is not valid")
            records[os.fsdecode(key)] = os.fsdecode(value[:-1])
            position = end
        if any("\0" in records.get(key, "") for key in ("path", "linkpath")):
            self._fail("a PAX header is not valid")
        return records


def _text(field: bytes) -> str:
    return os.fsdecode(field.partition(b"\0")[0])
