"""Compressors: what becomes of one block of tar, so that all blocks together are one valid stream.

Gzip: all blocks stand in ONE member, since some readers stop after the first. Each block is deflated on its own by
ISA-L and ends on a byte boundary (RFC 1951, an empty stored block), so that blocks can be made in any order and joined.

ISA-L's levels 1 and 2 hash an uninitialised register when a stream starts without history; the same block would now
and then become other, valid bytes in another process. So the first 64 bytes of a block are written as a stored deflate
block, and the rest is compressed with these 64 bytes as its dictionary: then there is history from the first byte on.

Zstandard is in a file of its own, `zstd.py`.
"""

from __future__ import annotations

import hashlib
import os
import struct
from typing import Protocol

from isal import isal_zlib

from fastoci._engine.sample import is_even
from fastoci.layer.options import LayerOptions
from fastoci.spec import mediatypes

__all__ = ["Compressor", "GzipCompressor", "NoCompressor", "compressor_for", "differs_from_golden"]

_PREFIX_SIZE = 64
_STORED_MAX = 65535
_TRIAL_SIZE = 64 * 1024
_RAW_DEFLATE = -15
_MEMORY_LEVEL = 8
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""No name, no time, no flags, operating system unknown (RFC 1952, 2.3)."""
_LAST_BLOCK = b"\x03\x00"
"""An empty block of fixed codes with the final bit set (RFC 1951, 3.2.3)."""


class Compressor(Protocol):
    """What the pipeline asks of a compression. One object serves one layer and all of its threads."""

    media_type: str
    """The media type of the layer's blob."""

    identity: bool
    """Whether the blob is the tar stream itself, so that one digest serves for both."""

    def start(self) -> bytes:
        """Return what stands before the first block."""

    def compress(self, block: memoryview) -> tuple[bytes | memoryview, int]:
        """Return a block's compressed bytes, and its checksum. Called by many threads at once."""

    def finish(self, checksums: list[tuple[int, int]]) -> bytes:
        """Return what stands after the last block, from each block's (checksum, size in bytes), in order."""


class GzipCompressor:
    """Gzip by ISA-L.

    Args:
        level: 1 to 3.
    """

    media_type = mediatypes.OCI_LAYER_GZIP
    identity = False

    def __init__(self, level: int) -> None:
        self._level = level

    def start(self) -> bytes:
        """Return the member's header."""
        return _GZIP_HEADER

    def compress(self, block: memoryview) -> tuple[bytes, int]:
        """Return the block as deflate blocks that end on a byte boundary, and its CRC-32."""
        return deflate_block(block, self._level), isal_zlib.crc32(block)

    def finish(self, checksums: list[tuple[int, int]]) -> bytes:
        """Return the final block and the trailer: CRC-32 and size of the tar stream modulo 2^32 (RFC 1952, 2.3.1)."""
        crc = total = 0
        for checksum, size in checksums:
            crc = isal_zlib.crc32_combine(crc, checksum, size)
            total += size
        return _LAST_BLOCK + struct.pack("<II", crc, total & 0xFFFFFFFF)


class NoCompressor:
    """The tar stream as it is."""

    media_type = mediatypes.OCI_LAYER_TAR
    identity = True

    def start(self) -> bytes:
        """Return nothing."""
        return b""

    def compress(self, block: memoryview) -> tuple[memoryview, int]:
        """Return the block itself."""
        return block, 0

    def finish(self, checksums: list[tuple[int, int]]) -> bytes:  # noqa: ARG002 - the protocol's argument
        """Return nothing."""
        return b""


def compressor_for(options: LayerOptions) -> Compressor:
    """Return the compressor that the options name.

    Raises:
        FastociError: There is no library for it here.
    """
    if options.compression == "zstd":
        from fastoci.layer.zstd import ZstdCompressor  # not at the top: that builds upon this, and few want it

        return ZstdCompressor(options.level)
    return GzipCompressor(options.level) if options.compression == "gzip" else NoCompressor()


def deflate_block(block: memoryview, level: int) -> bytes:
    """Return a block deflated on its own: 64 bytes stored, the rest compressed with them as its dictionary.

    One call for all of it: ISA-L's output depends on how its input is cut into calls. Data that does not compress is
    stored, which is noticed from the block's own bytes: they are spread evenly, and a part of them does not shrink.
    """
    prefix = bytes(block[:_PREFIX_SIZE])
    rest = block[_PREFIX_SIZE:]
    parts: list[bytes | memoryview] = [_stored_header(len(prefix)), prefix]
    if _does_not_compress(block, level):
        for start in range(0, len(rest), _STORED_MAX):
            piece = rest[start : start + _STORED_MAX]
            parts += (_stored_header(len(piece)), piece)
    elif rest:
        parts += _deflate(prefix, rest, level)
    return b"".join(parts)


def _deflate(dictionary: bytes, data: memoryview, level: int) -> tuple[bytes, bytes]:
    deflater = isal_zlib.compressobj(
        level, isal_zlib.DEFLATED, _RAW_DEFLATE, _MEMORY_LEVEL, isal_zlib.Z_DEFAULT_STRATEGY, dictionary
    )
    return deflater.compress(data), deflater.flush(isal_zlib.Z_SYNC_FLUSH)


def _does_not_compress(block: memoryview, level: int) -> bool:
    if len(block) < 2 * _TRIAL_SIZE or not is_even(block):
        return False
    middle = len(block) // 2
    trial = block[middle : middle + _TRIAL_SIZE]
    body, end = _deflate(bytes(block[middle - _PREFIX_SIZE : middle]), trial, level)
    return len(body) + len(end) > _TRIAL_SIZE * 99 // 100


def _stored_header(size: int) -> bytes:
    """Return the head of a stored block that is not the last (RFC 1951, 3.2.4), on a byte boundary."""
    return struct.pack("<BHH", 0, size, size ^ 0xFFFF)


GOLDEN_TEXT = b"".join(b"%d bottles of beer on the wall, %x\n" % (number, number * 2654435761) for number in range(999))
_GOLDEN_DIGESTS = {
    "x86_64": {
        1: "91cb4387dd2a7aee930085ad68889c0c8d8ff7e98ef02327c53b69a2e1e34432",
        2: "0b4f9502e956c2c8900c2032e88340791b439c316e744940fc55976b92b39bcc",
    }
}


def differs_from_golden(level: int) -> bool:
    """Return whether this machine's ISA-L compresses a known text to other bytes than this format version's.

    Level 3 promises nothing, and neither does an architecture that has no golden digests.
    """
    golden = _GOLDEN_DIGESTS.get(os.uname().machine, {}).get(level)
    if golden is None:
        return False
    return hashlib.sha256(deflate_block(memoryview(GOLDEN_TEXT), level)).hexdigest() != golden
