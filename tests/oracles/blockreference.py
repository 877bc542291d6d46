"""The cut of a layer's tar stream into blocks, slowly, after the words of docs/layer-format.md."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from oracles.tarreference import TRAILER, Piece


def cut(pieces: Sequence[Piece], limit: int, modulus: int = 256) -> list[bytes]:
    """Return the blocks of a stream.

    Before an entry, the open block is closed if it is not empty and fill + t > limit, or the CRC-32 of the path is 0
    modulo `modulus`. If t > limit, the headers alone obey this; then the block is closed, and the data, padding
    included, is cut every `limit` bytes from its own start and closed after its last piece. The trailer is an entry
    without a path.
    """
    blocks: list[bytes] = []
    fill = b""

    def close() -> None:
        nonlocal fill
        if fill:
            blocks.append(fill)
        fill = b""

    for piece in pieces:
        data = piece.padded
        weighed = piece.headers + data
        whole = len(weighed) <= limit
        weight = len(weighed) if whole else len(piece.headers)
        if len(fill) + weight > limit or zlib.crc32(piece.path) % modulus == 0:
            close()
        fill += weighed if whole else piece.headers
        if not whole:
            close()
            blocks.extend(data[start : start + limit] for start in range(0, len(data), limit))
    if len(fill) + len(TRAILER) > limit:
        close()
    fill += TRAILER
    close()
    return blocks
