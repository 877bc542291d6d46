"""A file's data onto the disk: long runs of zeros become holes, which cost neither writing nor room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastoci.tar.reader import TarEntry

__all__ = ["write_data"]

_HOLE = 1 << 16
"""Bytes of zeros that are worth a hole; every file system has smaller blocks."""

_ZEROS = memoryview(bytes(_HOLE))


def write_data(fd: int, entry: TarEntry, chunks: Iterator[bytes | memoryview]) -> None:
    """Write a file.

    Args:
        fd: Of the file, new and empty.
        entry: Its entry.
        chunks: Its data; of a sparse one its regions' alone.

    Raises:
        OSError: The disk does not take it.
    """
    if entry.regions is not None:
        _write_regions(fd, entry, chunks)
        return
    if entry.size < _HOLE:
        for chunk in chunks:
            _write(fd, chunk)
        return
    at = 0
    for chunk in chunks:
        _write_around_holes(fd, memoryview(chunk), at)
        at += len(chunk)
    # A hole at the end was only stepped over.
    os.ftruncate(fd, entry.size)


def _write_around_holes(fd: int, chunk: memoryview, at: int) -> None:
    """Write a chunk at its place, but for what of it are blocks of zeros."""
    start = 0  # of what is still to be written
    # From the first whole block of the file that begins in the chunk.
    block = -at % _HOLE
    while block + _HOLE <= len(chunk):
        if chunk[block] == 0 and chunk[block : block + _HOLE] == _ZEROS:
            _write_at(fd, chunk[start:block], at + start)
            start = block + _HOLE
        block += _HOLE
    _write_at(fd, chunk[start:], at + start)


def _write_regions(fd: int, entry: TarEntry, chunks: Iterator[bytes | memoryview]) -> None:
    os.ftruncate(fd, entry.size)
    chunk = memoryview(b"")
    for offset, length in entry.regions or ():
        end = offset + length
        while offset < end:
            if not chunk:
                chunk = memoryview(next(chunks))
            part = chunk[: end - offset]
            _write_at(fd, part, offset)
            offset += len(part)
            chunk = chunk[len(part) :]


def _write(fd: int, data: bytes | memoryview) -> None:
    written = os.write(fd, data)
    if written < len(data):
        _write(fd, memoryview(data)[written:])


def _write_at(fd: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(fd, data, at)
        data = data[written:]
        at += written
