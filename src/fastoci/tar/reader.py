"""A tar stream as entries: headers, extended headers and data, with nothing believed that is not checked.

Sources: POSIX.1-2017 `pax`; the GNU tar manual; image-spec layer.md. Where these leave a choice, that of Go's
archive/tar is taken, with which docker, containerd and podman unpack: a global PAX header says nothing of an entry,
and a file whose name ends in a slash is a directory.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fastoci.errors import InvalidImageError
from fastoci.spec.tarheader import (
    BLOCK,
    RECORD_LIMIT,
    has_checksum,
    name_in,
    number_in,
    pax_records,
    signed_in,
    text_in,
)
from fastoci.tar.pieces import Pieces
from fastoci.tar.sparse import Region, SparseError, checked, gnu_map, pax_map, spread

__all__ = ["Kind", "Meter", "TarEntry", "TarReader", "entry_path", "shown"]

Kind = Literal["file", "hardlink", "symlink", "character", "block", "directory", "fifo"]

# POSIX: `7` is a file that some systems lay out in one piece; `\0` is how tar wrote files before ustar.
_KINDS: dict[int, Kind] = {
    ord("\0"): "file",
    ord("0"): "file",
    ord("7"): "file",
    ord("S"): "file",
    ord("1"): "hardlink",
    ord("2"): "symlink",
    ord("3"): "character",
    ord("4"): "block",
    ord("5"): "directory",
    ord("6"): "fifo",
}
_ZEROS = bytes(BLOCK)
_SCHILY = b"SCHILY.xattr."
_LIBARCHIVE = b"LIBARCHIVE.xattr."
_NS = 10**9
_DEVICE_LIMIT = 1 << 32  # of each of its two numbers, in any kernel's device number
_OWNER_LIMIT = (1 << 32) - 1  # the last one means none (chown(2))
_SIZE_LIMIT = 1 << 63
_TIME_LIMIT = 1 << 62  # seconds
_SHOWN = 200


@dataclass(slots=True)
class TarEntry:
    """One entry of a layer.

    Args:
        path: As it is written in the archive.
        kind: What it is.
        mode: Permission bits, with set-user-ID, set-group-ID and sticky.
        uid: The owner.
        gid: The group.
        mtime: Of its last change, in nanoseconds since the epoch.
        size: Bytes of the file, holes included; 0 of anything else.
        target: Where a link leads, as it is written.
        device: Major and minor number.
        xattrs: Extended attributes by name.
        regions: Where the data of a sparse file goes; None: it is one piece.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    regions: list[Region] | None = None


class Meter(Protocol):
    """Counts what a layer holds, and raises where that is too much; `rootfs.limits.Usage` is one."""

    def add_entry(self, layer: str, /) -> None:
        """Count a header."""

    def add_bytes(self, layer: str, size: int, /) -> None:
        """Count bytes that a sparse entry has beyond those in the stream."""


class TarReader:
    """The entries of one layer, in order; the data of each is to be taken before the next one is asked for.

    Args:
        pieces: The tar stream; or whatever gives what is asked for of it.
        layer: What to call it in errors, as `the layer sha256:… of NAME`.
        usage: Counts its entries.
        verdict: What is said of it there.

    Attributes:
        is_ended: Whether what ends an archive, a block of zeros, has been read.
    """

    def __init__(
        self, pieces: Iterator[bytes] | Pieces, layer: str, usage: Meter, verdict: str = "cannot be unpacked"
    ) -> None:
        self.is_ended = False
        self._pieces = pieces if isinstance(pieces, Pieces) else Pieces(pieces)
        self._layer = layer
        self._usage = usage
        self._verdict = verdict
        self._data = 0  # bytes of the entry's data that were not taken yet
        self._padding = 0

    def fail(self, cause: str) -> InvalidImageError:
        """Return the error that says what is wrong with the layer."""
        return InvalidImageError(
            f"{self._layer} {self._verdict}",
            cause=cause,
            hint="fastoci validate says what else is wrong with it",
        )

    def entries(self, take: Callable[[bytes, int], int] | None = None) -> Iterator[TarEntry]:
        """Yield the entries.

        Args:
            take: May take whole entries that nothing extends, where it wants to see to them itself: given a piece of
                the stream and where in it a header begins, it returns where the first one begins that it left.

        Raises:
            InvalidImageError: The stream is no valid tar, or goes beyond a limit.
        """
        pax: dict[bytes, bytes] = {}
        collected = 0
        while (block := self._next_header(None if pax else take)) is not None:
            self._usage.add_entry(self._layer)
            size = number_in(block[124:136])
            if size is None or size >= _SIZE_LIMIT:
                raise self.fail(f"the header at byte {self._pieces.position - BLOCK:,} has no valid size")
            kind = block[156]
            if kind in b"xgLK":
                collected += size
                if collected > RECORD_LIMIT:
                    raise self.fail(f"extended headers of {collected:,} bytes, over {RECORD_LIMIT:,}")
                self._extend(pax, kind, self._exactly(size))
                self._skip(-size % BLOCK)
                continue
            yield self._entry(block, kind, size, pax)
            pax.clear()
            collected = 0
        if pax:
            raise self.fail("it ends after an extended header that belongs to no entry")

    def data(self) -> Iterator[bytes | memoryview]:
        """Yield the data of the entry that was given last, in chunks of any size; of a sparse one its regions' alone.

        Raises:
            InvalidImageError: The stream ends within it.
        """
        for chunk in self._pieces.chunks(self._data):
            self._data -= len(chunk)
            yield chunk
        if self._data:
            raise self._truncated()

    def parts(self, entry: TarEntry) -> Iterator[bytes | memoryview | int]:
        """Yield what the entry that was given last consists of: bytes, and of each hole how many zeros it is.

        Raises:
            InvalidImageError: The stream ends within it.
        """
        return self.data() if entry.regions is None else spread(entry.regions, entry.size, self.data())

    def _next_header(self, take: Callable[[bytes, int], int] | None) -> bytes | None:
        """Return the next header, None at the end: two blocks of zeros, or one, or none, as some writers have it."""
        self._skip(self._data)
        padded = self._pieces.skip(self._padding) == self._padding
        self._data = self._padding = 0
        if padded and take is not None:
            self._pieces.offer(take)
        block = self._pieces.take(BLOCK)
        if not padded or not block:
            # umoci's layers of whiteouts have no blocks of zeros, and the last file of others no padding. That the
            # stream is whole, its diff_id says.
            return None
        if len(block) < BLOCK:
            raise self._truncated()
        if block == _ZEROS:
            self.is_ended = True
            self._pieces.skip(_SIZE_LIMIT)
            return None
        if not has_checksum(block):
            raise self.fail(f"the header at byte {self._pieces.position - BLOCK:,} does not match its checksum")
        return block

    def _extend(self, pax: dict[bytes, bytes], kind: int, data: bytes) -> None:
        if kind == ord("L"):
            pax[b"path"] = text_in(data)
        elif kind == ord("K"):
            pax[b"linkpath"] = text_in(data)
        elif kind == ord("x"):
            sparse: list[bytes] = []
            try:
                for key, value in pax_records(data):
                    if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                        # Version 0.0 says each region in two records of its own.
                        sparse.append(value)
                    else:
                        pax[key] = value
            except ValueError as error:
                raise self.fail("a PAX header holds a malformed record") from error
            if sparse:
                pax[b"GNU.sparse.map"] = b",".join(sparse)

    def _entry(self, block: bytes, kind_byte: int, size: int, pax: dict[bytes, bytes]) -> TarEntry:
        # POSIX: an empty value undoes a record.
        path = (pax and (pax.get(b"GNU.sparse.name") or pax.get(b"path"))) or name_in(block)
        kind = _KINDS.get(kind_byte)
        if not path or b"\0" in path:
            raise self.fail("an entry has no valid name")
        if kind is None:
            raise self.fail(f"{shown(path)} is of the unknown type {chr(kind_byte)!r}")
        entry = TarEntry(
            path,
            "directory" if kind == "file" and path.endswith(b"/") else kind,
            self._number(block[100:108], "mode", path) & 0o7777,
            self._owner(block[108:116], pax.get(b"uid"), path),
            self._owner(block[116:124], pax.get(b"gid"), path),
            self._time(block[136:148], pax.get(b"mtime"), path),
        )
        if kind in ("hardlink", "symlink"):
            entry.target = pax.get(b"linkpath") or text_in(block[157:257])
            if not entry.target or b"\0" in entry.target:
                raise self.fail(f"{shown(path)} is a link to nowhere")
        elif kind in ("character", "block"):
            entry.device = self._device(block[329:337], path), self._device(block[337:345], path)
        elif kind == "file":
            # Of anything else a size means nothing: no data follows it.
            self._describe_data(entry, block, kind_byte, size, pax)
        if pax:
            entry.xattrs = self._xattrs(pax, path)
        return entry

    def _describe_data(self, entry: TarEntry, block: bytes, kind_byte: int, size: int, pax: dict[bytes, bytes]) -> None:
        if digits := pax.get(b"size"):
            size = self._decimal(digits, "size", entry.path)
            if size >= _SIZE_LIMIT:
                raise self.fail(f"{shown(entry.path)} has no valid size")
        self._data, self._padding = size, -size % BLOCK
        entry.size = size
        if kind_byte != ord("S") and not any(key.startswith(b"GNU.sparse.") for key in pax):
            return
        try:
            if kind_byte == ord("S"):
                regions, entry.size = gnu_map(block, self._pieces)
            elif (described := pax_map(pax, self._pieces)) is not None:
                regions, entry.size, taken = described
                self._data -= taken
            entry.regions = checked(regions, entry.size, self._data)
        except SparseError as error:
            raise self.fail(f"the sparse entry {shown(entry.path)}: {error}") from error
        # The holes are not in the stream, where they would have been counted.
        self._usage.add_bytes(self._layer, max(0, entry.size - size))

    def _xattrs(self, pax: dict[bytes, bytes], path: bytes) -> dict[bytes, bytes]:
        xattrs = {}
        for key, value in pax.items():
            if key.startswith(_SCHILY):
                xattrs[key[len(_SCHILY) :]] = value
            elif key.startswith(_LIBARCHIVE):
                # bsdtar writes both; its own has the value in base 64, with the padding left out.
                try:
                    decoded = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
                except binascii.Error as error:
                    raise self.fail(f"{shown(path)} has an extended attribute that is not valid") from error
                xattrs.setdefault(key[len(_LIBARCHIVE) :], decoded)
        return xattrs

    def _number(self, field: bytes, what: str, path: bytes) -> int:
        number = number_in(field)
        if number is None:
            raise self.fail(f"{shown(path)} has no valid {what}")
        return number

    def _device(self, field: bytes, path: bytes) -> int:
        number = self._number(field, "device", path)
        if number >= _DEVICE_LIMIT:
            raise self.fail(f"{shown(path)} has a device number that no system has: {number}")
        return number

    def _owner(self, field: bytes, record: bytes | None, path: bytes) -> int:
        owner = self._decimal(record, "owner", path) if record else self._number(field, "owner", path)
        if owner >= _OWNER_LIMIT:
            raise self.fail(f"{shown(path)} has an owner that no system has: {owner}")
        return owner

    def _time(self, field: bytes, record: bytes | None, path: bytes) -> int:
        if record:
            sign, digits = (-1, record[1:]) if record.startswith(b"-") else (1, record)
            seconds, _, fraction = digits.partition(b".")
            if fraction and not fraction.isdigit():
                raise self.fail(f"{shown(path)} has no valid time")
            whole = self._decimal(seconds, "time", path) * _NS + int(fraction[:9].ljust(9, b"0"))
            mtime = sign * whole
        else:
            number = signed_in(field)
            if number is None:
                raise self.fail(f"{shown(path)} has no valid time")
            mtime = number * _NS
        if abs(mtime) >= _TIME_LIMIT * _NS:
            raise self.fail(f"{shown(path)} has a time that no system has")
        return mtime

    def _decimal(self, text: bytes, what: str, path: bytes) -> int:
        if not text.isdigit() or len(text) > 20:
            raise self.fail(f"{shown(path)} has no valid {what}")
        return int(text)

    def _exactly(self, size: int) -> bytes:
        data = self._pieces.take(size)
        if len(data) < size:
            raise self._truncated()
        return data

    def _skip(self, size: int) -> None:
        if self._pieces.skip(size) < size:
            raise self._truncated()

    def _truncated(self) -> InvalidImageError:
        return self.fail("the tar ends in the middle of an entry")


def entry_path(path: bytes) -> bytes:
    """Return a path of an archive as the image has it: no slash at either end, nothing above the root."""
    return posixpath.normpath(b"/" + path).lstrip(b"/")


def shown(path: bytes) -> str:
    """Return a path as an error shows it: whatever its bytes, and not without end."""
    text = path.decode("utf-8", "backslashreplace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
