"""Reads a layer's tar stream from its first byte to its last, keeps nothing, and says what is wrong with it.

The stream is pushed in, in pieces of any size, so that its reader can hash the same pieces. Only headers are looked
at; a PAX or GNU long name record is collected up to `RECORD_LIMIT`, and nothing else ever is, so a stream of any size
needs the same memory.

Sources: POSIX.1-2017 `pax`, "ustar Interchange Format" and "pax Header Block"; the GNU tar manual, "Basic Tar
Format"; the OCI image specification, layer.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastoci.spec.tarheader import BLOCK, RECORD_LIMIT, has_checksum, name_in, number_in, pax_records

__all__ = ["RECORD_LIMIT", "Problem", "TarCheck"]

_ZEROS = bytes(BLOCK)
_EXAMPLES = 3  # problems of one kind that are told one by one; the rest is counted

# POSIX: a reader treats a type that it does not know as a regular file, data included.
_HEADER_ONLY = frozenset(b"123456")  # links, devices, directories, FIFOs: any size in the header describes no data
_KNOWN = frozenset(b"\x0001234567gxLKS")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in one place. An `error` breaks a rule, a `warning` is legal and yet means trouble."""

    severity: Literal["error", "warning"]
    message: str


class TarCheck:
    """Checks one tar stream: `feed` it to its end, call `finish`, and look at `problems`.

    Attributes:
        size: Bytes seen so far.
        entries: Entries seen so far; extended headers do not count.
    """

    def __init__(self) -> None:
        self.size = 0
        self.entries = 0
        self._problems: list[Problem] = []
        self._counts: dict[str, int] = {}
        self._broken = False  # the position of the next header is lost: nothing after it can be judged
        self._held = bytearray()  # the part of a header or of a record that has arrived
        self._skip = 0  # bytes of data and padding before the next header
        self._record: tuple[int, int] | None = None  # the type of the record that is being collected, and its size
        self._pax: dict[bytes, bytes] = {}  # what the records before an entry say about it
        self._pending = False  # a record waits for its entry
        self._sparse = 0  # the data that follows the extension blocks of an old GNU sparse header
        self._in_sparse = False
        self._zero_blocks = 0
        self._trailing = 0  # bytes other than zero after the end

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, in the order of the stream; beyond a few of one kind only their number."""
        more = [
            Problem("warning", f"{count - _EXAMPLES:,} more: {kind}")
            for kind, count in self._counts.items()
            if count > _EXAMPLES
        ]
        return (*self._problems, *more)

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the stream."""
        view = memoryview(data)
        position = 0
        end = len(view)
        start = self.size
        self.size += end
        while position < end and not self._broken:
            if self._zero_blocks >= 2:
                rest = bytes(view[position:])
                self._trailing += len(rest) - rest.count(0)
                return
            if self._skip:
                step = min(self._skip, end - position)
                self._skip -= step
                position += step
                continue
            wanted = BLOCK if self._record is None else self._record[1]
            if not self._held and end - position >= wanted:
                block = bytes(view[position : position + wanted])
                position += wanted
            else:
                step = min(wanted - len(self._held), end - position)
                self._held += view[position : position + step]
                position += step
                if len(self._held) < wanted:
                    return
                block = bytes(self._held)
                self._held.clear()
            if self._record is not None:
                self._end_record(block)
            elif self._in_sparse:
                self._sparse_block(block)
            else:
                self._header(block, start + position - BLOCK)

    def finish(self) -> None:
        """Say that the stream is over."""
        if self._broken:
            return
        if self._held or self._skip or self._record or self._in_sparse:
            self._break("the tar ends in the middle of an entry")
        elif self._zero_blocks == 0:
            self._error("the tar has no end: the two blocks of zeros are missing")
        elif self._zero_blocks == 1:
            self._warn("tar ends with one block of zeros", "the tar ends with one block of zeros instead of two")
        elif self._trailing:
            self._warn("data after the end", f"{self._trailing:,} bytes other than zero follow the end of the tar")
        if self._pending:
            self._error("the tar ends after an extended header that belongs to no entry")

    def _header(self, block: bytes, offset: int) -> None:
        if block == _ZEROS:
            self._zero_blocks += 1
            return
        if self._zero_blocks:
            self._break(f"a single block of zeros stands before the entry at byte {offset:,}")
            return
        if not has_checksum(block):
            self._break(f"the tar header at byte {offset:,} does not match its checksum")
            return
        size = number_in(block[124:136])
        if size is None:
            self._break(f"the tar header at byte {offset:,} has no valid size")
            return
        kind = block[156]
        if kind in b"xgLK":
            if size > RECORD_LIMIT:
                self._break(f"an extended header of {size:,} bytes at byte {offset:,}, over {RECORD_LIMIT:,}")
                return
            self._pending = self._pending or kind != ord("g")
            if size:
                self._record = (kind, size)
            return
        self._entry(block, kind, size)

    def _end_record(self, data: bytes) -> None:
        assert self._record is not None  # noqa: S101 - feed() collects a record only where there is one
        kind, size = self._record
        self._record = None
        self._skip = -size % BLOCK
        if kind == ord("L"):
            self._pax[b"path"] = data.rstrip(b"\0")
        elif kind == ord("x"):
            try:
                self._pax.update(dict(pax_records(data)))
            except ValueError:
                self._error("a PAX header holds a malformed record")

    def _entry(self, block: bytes, kind: int, size: int) -> None:
        self.entries += 1
        pax, self._pax, self._pending = self._pax, {}, False
        # POSIX: an empty value undoes a record.
        name = pax.get(b"path") or name_in(block)
        shown = name.decode("utf-8", "backslashreplace")
        if digits := pax.get(b"size"):
            if not digits.isdigit() or len(digits) > 19:
                self._break(f"the PAX header of {shown} has no valid size")
                return
            size = int(digits)
        if kind not in _KNOWN:
            self._warn("entries of unknown type", f"{shown} has the unknown type {chr(kind)!r}")
        if kind == ord("S") or any(key.startswith(b"GNU.sparse.") for key in pax):
            # OCI image specification, layer.md: "Sparse files SHOULD NOT be used".
            self._warn("sparse entries", f"{shown} is a sparse entry, which not every reader understands")
        if not name:
            self._error("an entry has no name")
        elif b".." in name.split(b"/"):
            self._warn("names that lead upwards", f"{shown} leads out of its directory by '..'")
        data = 0 if kind in _HEADER_ONLY else size + -size % BLOCK
        if kind == ord("S") and block[482]:
            self._in_sparse, self._sparse = True, data
        else:
            self._skip = data

    def _sparse_block(self, block: bytes) -> None:
        # GNU tar manual: an extension block holds 21 map entries of 24 bytes, then whether another one follows.
        if not block[504]:
            self._in_sparse = False
            self._skip = self._sparse

    def _error(self, message: str) -> None:
        self._problems.append(Problem("error", message))

    def _warn(self, kind: str, message: str) -> None:
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count <= _EXAMPLES:
            self._problems.append(Problem("warning", message))

    def _break(self, message: str) -> None:
        self._broken = True
        self._error(message)
