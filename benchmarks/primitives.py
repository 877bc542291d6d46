"""How fast one core does each kind of work that a layer cannot do without, on the data of one tree.

Nothing here is fastoci's: SHA-256 is hashlib's, DEFLATE is ISA-L's through `isal`, walking and reading are `native.c`,
and the sample is cut out of GNU tar's output. Seconds are CPU seconds of one thread, from which other work on the
machine takes next to nothing away; the disk's alone are seconds on the wall. Calls are of a block's size, so that the
interpreter between them does not count; the walk is all in C.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

from isal import isal_zlib

import native
from trees import Tree

__all__ = ["BLOCK_SIZE", "Rates", "Sample", "measure"]

T = TypeVar("T")

BLOCK_SIZE = 512 << 10
_SAMPLE_SIZE = 96 << 20
_SHRINKS = 0.99


@dataclass(frozen=True, slots=True)
class Rates:
    """What one core reaches.

    Args:
        sha: R_sha, bytes of SHA-256 in a second.
        deflate: R_deflate, bytes of tar that ISA-L deflates in a second.
        deflate_shrinking: The same with blocks that it cannot shrink by a hundredth costing nothing.
        read: R_read, bytes read from the page cache in a second.
        write: R_write, bytes written to the page cache in a second.
        file: t_file, seconds of open, fstat and close, shared among all entries.
        scan: t_scan, an entry's share of getdents64, fstatat and llistxattr, in seconds.
        crc: Bytes of CRC-32 in a second; gzip needs it, the model does not count it.
        disk: Bytes in a second that reach the disk, on the wall.
        flush: Seconds on the wall of an fsync with next to nothing to do.
    """

    sha: float
    deflate: float
    deflate_shrinking: float
    read: float
    write: float
    file: float
    scan: float
    crc: float
    disk: float
    flush: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Blocks spread evenly over a tree's tar stream."""

    blocks: list[bytes]

    @classmethod
    def of(cls, tree: Tree) -> Self:
        """Return a sample of what GNU tar makes of the tree."""
        expected = tree.size + 1024 * tree.entries
        step = max(1, expected // _SAMPLE_SIZE)
        blocks = []
        command = ["tar", "-C", tree.path, "--sort=name", "--format=gnu", "-cf", "-", "."]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            number = 0
            while block := process.stdout.read(BLOCK_SIZE):
                if number % step == 0:
                    blocks.append(block)
                number += 1
        return cls(blocks)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.blocks))


def measure(tree: Tree, sample: Sample, level: int, directory: str) -> Rates:
    """Measure everything once.

    Args:
        tree: The tree, its files in the page cache.
        sample: A sample of it.
        level: ISA-L's level.
        directory: An empty directory where the output would go.
    """
    sha, _ = _timed(lambda: _digest(sample.blocks))
    crc, _ = _timed(lambda: [isal_zlib.crc32(block) for block in sample.blocks])
    deflated: list[bytes] = []
    shrinking = 0.0
    deflating = 0.0
    for block in sample.blocks:
        seconds, made = _timed(functools.partial(_deflate, block, level))
        deflating += seconds
        shrinks = len(made) < len(block) * _SHRINKS
        shrinking += seconds if shrinks else 0.0
        deflated.append(made if shrinks else block)
    # As many bytes as the blob has: a disk takes the first hundred million twice as fast as a thousand million.
    pieces = deflated * max(1, round(tree.size / sample.size))
    writing, disk, flush = _write(pieces, directory)
    names = native.walk(tree.path, 0)
    opens = native.walk(tree.path, native.OPEN)
    reads = native.walk(tree.path, native.OPEN | native.READ)
    scan = native.walk(tree.path, native.STAT | native.XATTRS)
    written = sum(map(len, pieces))
    return Rates(
        sha=sample.size / sha,
        deflate=sample.size / deflating,
        deflate_shrinking=sample.size / shrinking if shrinking else float("inf"),
        read=max(1, reads.bytes) / max(1e-9, reads.seconds - opens.seconds),
        write=written / writing,
        file=max(0.0, opens.seconds - names.seconds) / max(1, names.entries),
        scan=scan.seconds / max(1, scan.entries),
        crc=sample.size / crc,
        disk=written / disk,
        flush=flush,
    )


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.thread_time()
    result = work()
    return time.thread_time() - started, result


def _digest(blocks: list[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _deflate(block: bytes, level: int) -> bytes:
    deflater = isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15)
    return deflater.compress(block) + deflater.flush(isal_zlib.Z_SYNC_FLUSH)


def _write(pieces: list[bytes], directory: str) -> tuple[float, float, float]:
    """Return the CPU seconds of writing, and on the wall those until all is on the disk, and those of a small sync."""
    with open(f"{directory}/rate", "wb", buffering=0) as file:
        started = time.perf_counter()
        writing, _ = _timed(lambda: file.writelines(pieces))
        os.fsync(file.fileno())
        disk = time.perf_counter() - started
        file.write(b"x" * 4096)
        started = time.perf_counter()
        os.fsync(file.fileno())
        flush = time.perf_counter() - started
    os.unlink(f"{directory}/rate")
    return writing, disk, flush
