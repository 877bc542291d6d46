"""What the levels of zstd cost and give, block by block as a layer has them, beside gzip.

    python benchmarks/study_zstd.py FILE [LEVEL...]

FILE is read up to 200 MB, best a tar. CPU seconds of one thread; nothing is written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from fastoci.layer.compression import deflate_block
from fastoci.layer.options import BLOCK_SIZE
from fastoci.layer.zstd import ZstdCompressor, find_zstd

MOST = 200_000_000


def measure(what: str, blocks: list[memoryview], compress: Callable[[memoryview], bytes]) -> None:
    """Print one line: ratio, and megabytes of tar in a second of CPU."""
    started = time.thread_time()
    size = sum(len(compress(block)) for block in blocks)
    spent = time.thread_time() - started
    whole = sum(map(len, blocks))
    print(f"{what:<16}{whole / size:>6.3f}{whole / spent / 1e6:>8.0f} MB/s")


def main(path: str, levels: list[int]) -> None:
    with open(path, "rb") as file:
        data = memoryview(file.read(MOST))
    blocks = [data[at : at + BLOCK_SIZE] for at in range(0, len(data), BLOCK_SIZE)]
    for level in (1, 2):
        measure(f"gzip {level}", blocks, lambda block, level=level: deflate_block(block, level))  # type: ignore[misc]
    for level in levels:
        compressor = ZstdCompressor(level)
        measure(f"zstd {level}", blocks, lambda block, made=compressor: made.compress(block)[0])  # type: ignore[misc]
    module = find_zstd()
    measure("zstd 3, whole", [data], lambda whole: module.compress(whole, 3))


if __name__ == "__main__":
    main(sys.argv[1], [int(word) for word in sys.argv[2:]] or [1, 2, 3, 4, 5, 6, 9, 12, 15, 19])
