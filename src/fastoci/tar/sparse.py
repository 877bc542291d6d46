"""Sparse entries: where in a file the data of the archive belongs. Everything else in it is a hole.

GNU tar has written them in four ways: in the header and blocks after it (type `S`), and in PAX records of the
versions 0.0, 0.1 and 1.0, of which the last has its map before the data (GNU tar manual, "Storing Sparse Files").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.spec.tarheader import BLOCK, RECORD_LIMIT, number_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fastoci.tar.pieces import Pieces

__all__ = ["Region", "SparseError", "checked", "gnu_map", "pax_map", "spread"]

Region = tuple[int, int]
"""Offset in the file and length, in bytes."""

_ENTRY = 24
_IN_HEADER = 4  # entries of a map in a header of type `S`, at byte 386
_IN_EXTENSION = 21  # in each block that follows it
_DIGITS = 20
_MOST = RECORD_LIMIT // _ENTRY


class SparseError(ValueError):
    """A map that describes no file."""


def gnu_map(header: bytes, pieces: Pieces) -> tuple[list[Region], int]:
    """Return the map and the size of a file in a header of type `S`; blocks that continue the map are taken."""
    size = number_in(header[483:495])
    if size is None:
        raise SparseError("its size is no number")
    regions = _regions(header[386 : 386 + _IN_HEADER * _ENTRY])
    more = header[482]
    while more:
        block = pieces.take(BLOCK)
        if len(block) < BLOCK or len(regions) > _MOST:
            raise SparseError("its map is cut, or too long")
        regions += _regions(block[: _IN_EXTENSION * _ENTRY])
        more = block[504]
    return regions, size


def _regions(data: bytes) -> list[Region]:
    regions = []
    for at in range(0, len(data), _ENTRY):
        entry = data[at : at + _ENTRY]
        if not entry.strip(b"\0"):
            break
        offset, length = number_in(entry[:12]), number_in(entry[12:])
        if offset is None or length is None:
            raise SparseError("its map holds what is no number")
        regions.append((offset, length))
    return regions


def pax_map(records: Mapping[bytes, bytes], pieces: Pieces) -> tuple[list[Region], int, int] | None:
    """Return the map of a file as PAX records describe it, its size, and the bytes taken; None: it is not sparse.

    Args:
        records: Of the entry; of version 0.0 the map is joined to one record, as version 0.1 has it.
        pieces: At the start of the entry's data, where version 1.0 has its map.
    """
    if records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
        size = _decimal(records.get(b"GNU.sparse.realsize", b""))
        numbers, taken = _leading_map(pieces)
    elif (text := records.get(b"GNU.sparse.map")) is not None:
        size = _decimal(records.get(b"GNU.sparse.size", b""))
        numbers, taken = [_decimal(word) for word in text.split(b",")] if text else [], 0
    elif any(key.startswith(b"GNU.sparse.") for key in records):
        raise SparseError("its map is of an unknown version")
    else:
        return None
    if len(numbers) % 2:
        raise SparseError("its map is cut")
    return list(zip(numbers[::2], numbers[1::2], strict=True)), size, taken


def _leading_map(pieces: Pieces) -> tuple[list[int], int]:
    """Return the numbers of a map of version 1.0, one a line, the first their count, in blocks before the data."""
    data = bytearray()
    wanted: int | None = None
    taken = lines = 0
    while True:
        if wanted is None and lines:
            wanted = 2 * _decimal(bytes(data.partition(b"\n")[0]))
            if wanted > 2 * _MOST:
                raise SparseError("its map is too long")
        if wanted is not None and lines > wanted:
            return [_decimal(line) for line in bytes(data).split(b"\n")[1 : wanted + 1]], taken
        block = pieces.take(BLOCK)
        if len(block) < BLOCK or len(data) > RECORD_LIMIT:
            raise SparseError("its map is cut, or too long")
        taken += BLOCK
        data += block
        lines += block.count(b"\n")


def checked(regions: list[Region], size: int, data: int) -> list[Region]:
    """Return the regions that hold something.

    Args:
        regions: The map.
        size: Of the file, in bytes.
        data: The bytes that the archive has for it.

    Raises:
        SparseError: They overlap, leave the file, or are not as long as the data.
    """
    end = total = 0
    for offset, length in regions:
        if offset < end:
            raise SparseError("its map runs backwards")
        end = offset + length
        total += length
    if end > size:
        raise SparseError("its map leaves the file")
    if total != data:
        raise SparseError(f"its map is for {total:,} bytes, and the archive has {data:,}")
    return [region for region in regions if region[1]]


def spread(
    regions: Sequence[Region], size: int, data: Iterator[bytes | memoryview]
) -> Iterator[bytes | memoryview | int]:
    """Yield a sparse file as whoever reads it has it: bytes, and where nothing is how many zeros there are.

    Args:
        regions: The map, as `checked` gives it.
        size: Of the file, in bytes.
        data: What the archive has for it, in chunks of any size; all of it is taken.
    """
    position = 0
    chunk = memoryview(b"")
    for offset, length in regions:
        if offset > position:
            yield offset - position
        position = offset
        while position < offset + length:
            if not chunk:
                chunk = memoryview(next(data))
            part = chunk[: offset + length - position]
            chunk = chunk[len(part) :]
            position += len(part)
            yield part
    if size > position:
        yield size - position


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > _DIGITS:
        raise SparseError("its map holds what is no number")
    return int(text)
