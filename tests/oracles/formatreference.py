"""A second implementation of the layer format: slow, in plain Python, after the words of docs/layer-format.md alone.

Its constants are those of the page's own table, so that the page cannot be wrong in one of them without a test that
fails. The tar stream is written by `tarreference` and cut by `blockreference`; what becomes of a block, and the gzip
member around them, is here. Of isal it takes the one call that the page names, and nothing of fastoci's at all.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from isal import isal_zlib

from oracles.blockreference import cut
from oracles.snapshot import Tree
from oracles.tarreference import TRAILER, Rules, write_pieces

PAGE = Path(__file__).parents[2] / "docs" / "layer-format.md"


def constants() -> dict[str, int]:
    """Return the constants that the page's table names."""
    found = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: int(value) for name, value in found}


CONSTANTS = constants()


@dataclass(frozen=True)
class Layer:
    """What a layer must be: its tar stream, and its gzip blob in pieces, the header, each block, and the end."""

    blocks: list[bytes]
    pieces: list[bytes]

    @property
    def tar(self) -> bytes:
        """The tar stream."""
        return b"".join(self.blocks)

    @property
    def blob(self) -> bytes:
        """The gzip member."""
        return b"".join(self.pieces)


def layer_of(tree: Tree, rules: Rules | None = None, level: int | None = None) -> Layer:
    """Return the layer of a tree without sockets; `level` None is the format's own."""
    assert len(TRAILER) == CONSTANTS["TRAILER_SIZE"]
    blocks = cut(write_pieces(tree, rules or Rules()), CONSTANTS["BLOCK_SIZE"], CONSTANTS["CUT_MODULUS"])
    return Layer(blocks, gzip_pieces(blocks, level))


def layer_of_tar(data: bytes, level: int | None = None) -> Layer:
    """Return the layer of a tar archive, whose bytes are kept."""
    size = CONSTANTS["BLOCK_SIZE"]
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    return Layer(blocks, gzip_pieces(blocks, level))


def gzip_pieces(blocks: list[bytes], level: int | None = None) -> list[bytes]:
    """Return the pieces of the member that holds these blocks."""
    crc = size = 0
    for block in blocks:
        crc = zlib.crc32(block, crc)
        size += len(block)
    end = b"\x03\x00" + struct.pack("<II", crc, size % 2**32)
    return [bytes.fromhex("1f 8b 08 00 00 00 00 00 00 ff"), *(deflate(block, level) for block in blocks), end]


def deflate(block: bytes, level: int | None = None) -> bytes:
    """Return a block as deflate blocks that end on a byte boundary."""
    level = CONSTANTS["LEVEL"] if level is None else level
    prefix, rest = block[: CONSTANTS["PREFIX_SIZE"]], block[CONSTANTS["PREFIX_SIZE"] :]
    out = _stored(prefix)
    if not rest:
        return out
    if _does_not_compress(block, level):
        step = CONSTANTS["STORED_MAX"]
        return out + b"".join(_stored(rest[start : start + step]) for start in range(0, len(rest), step))
    return out + _compressed(prefix, rest, level)


def is_even(block: bytes) -> bool:
    """Return whether the sampled bytes of a block are spread evenly."""
    run, stride = CONSTANTS["SAMPLE_RUN"], CONSTANTS["SAMPLE_STRIDE"]
    sample = b"".join(block[start : start + run] for start in range(0, len(block) - run + 1, stride))
    pairs = sum(count * (count - 1) for count in Counter(sample).values())
    return len(sample) >= 2 * run and pairs <= len(sample) * (len(sample) - 1) * CONSTANTS["SAMPLE_PERCENT"] // 25600


def _does_not_compress(block: bytes, level: int) -> bool:
    trial = CONSTANTS["TRIAL_SIZE"]
    if len(block) < 2 * trial or not is_even(block):
        return False
    middle = len(block) // 2
    tried = _compressed(block[middle - CONSTANTS["PREFIX_SIZE"] : middle], block[middle : middle + trial], level)
    return len(tried) > trial * CONSTANTS["TRIAL_PERCENT"] // 100


def _stored(data: bytes) -> bytes:
    return b"\x00" + struct.pack("<HH", len(data), 0xFFFF - len(data)) + data


def _compressed(dictionary: bytes, data: bytes, level: int) -> bytes:
    deflater = isal_zlib.compressobj(
        level, isal_zlib.DEFLATED, -15, CONSTANTS["MEMORY_LEVEL"], isal_zlib.Z_DEFAULT_STRATEGY, dictionary
    )
    return deflater.compress(data) + deflater.flush(isal_zlib.Z_SYNC_FLUSH)
