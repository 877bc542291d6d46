"""The block pipeline: blocks are made by many threads in any order, and hashed and written strictly in order.

    workers (N)             read a block, compress it
    tar hasher (1)          SHA-256 of the tar stream, in order               -> diff_id
    the calling thread      SHA-256 of the compressed stream, in order, write -> digest

Tar blocks live in a fixed pool of buffers. A buffer returns to the pool when its block has been hashed and its
compressed bytes have been written, so that the pool also bounds how far the workers run ahead of a slow disk. A worker
takes a buffer before it takes a block's number: otherwise the block that everything waits for could be the one that
finds no buffer.

The first error wins. It stops every thread within a block's time; all are joined before it is raised. The calling
thread does the writing itself, so that Ctrl-C reaches it there.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

from fastoci.layer.blocks import BlockSource
from fastoci.layer.compression import Compressor
from fastoci.layer.options import BLOCK_SIZE
from fastoci.threads import start_threads

__all__ = ["PipelineResult", "run_pipeline"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """What went through. Digests in hexadecimal, sizes in bytes, `seconds` of each stage summed over its threads."""

    diff_id: str
    digest: str
    tar_size: int
    size: int
    seconds: dict[str, float]


def run_pipeline(
    source: BlockSource,
    compressor: Compressor,
    threads: int,
    write: Callable[[bytes | memoryview], None],
    progress: Callable[[int, int], None],
) -> PipelineResult:
    """Make a layer's blob.

    Args:
        source: The blocks of the tar stream.
        compressor: What becomes of them.
        threads: How many workers read and compress, at least 1.
        write: Takes the blob's bytes, in order, in the calling thread.
        progress: Told how many bytes of tar are done and how many were written, after each block.

    Raises:
        Exception: Whatever the first thing that failed raised.
    """
    return _Pipeline(source, compressor, max(1, min(threads, source.count or 1))).run(write, progress)


@dataclass(slots=True)
class _Slot:
    """A block on its way: its buffer, and how many have still to be done with it."""

    buffer: bytearray
    number: int = 0
    size: int = 0
    users: int = 0
    compressed: bytes | memoryview = b""
    checksum: int = 0


@dataclass(slots=True)
class _InOrder(Generic[T]):
    """Gives back by number what comes in any order."""

    expected: int = 0
    early: dict[int, T] = field(default_factory=dict)

    def add(self, number: int, item: T) -> Iterator[T]:
        """Take one item, and yield all that are due."""
        self.early[number] = item
        while self.expected in self.early:
            yield self.early.pop(self.expected)
            self.expected += 1


class _Pipeline:
    def __init__(self, source: BlockSource, compressor: Compressor, threads: int) -> None:
        self._source = source
        self._compressor = compressor
        self._threads = threads
        self._hashes_tar = not compressor.identity
        self._lock = threading.Lock()
        self._next = 0
        self._error: BaseException | None = None
        self._seconds: dict[str, float] = {}
        self._free: SimpleQueue[_Slot | None] = SimpleQueue()
        self._rendered: SimpleQueue[_Slot | None] = SimpleQueue()
        self._compressed: SimpleQueue[_Slot | None] = SimpleQueue()
        self._diff_id = hashlib.sha256()
        for _ in range(max(1, min(2 * threads + 2, source.count))):
            self._free.put(_Slot(bytearray(BLOCK_SIZE)))

    def run(self, write: Callable[[bytes | memoryview], None], progress: Callable[[int, int], None]) -> PipelineResult:
        threads = [
            threading.Thread(target=self._guard, args=(self._work,), name=f"fastoci-block-{number}", daemon=True)
            for number in range(self._threads)
        ]
        if self._hashes_tar:
            threads.append(
                threading.Thread(target=self._guard, args=(self._hash_tar,), name="fastoci-diff-id", daemon=True)
            )
        try:
            start_threads(threads)
            digest, size = self._write(write, progress)
        except BaseException as error:
            self._stop(error)
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self._error is not None:
            raise self._error
        diff_id = self._diff_id.hexdigest() if self._hashes_tar else digest
        return PipelineResult(diff_id, digest, self._source.tar_size, size, self._seconds)

    def _stop(self, error: BaseException | None) -> None:
        """Keep the first error, and wake everybody who waits."""
        with self._lock:
            if self._error is None:
                self._error = error
            self._next = self._source.count
        for _ in range(self._threads):
            self._free.put(None)
        self._rendered.put(None)
        self._compressed.put(None)

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # carried to the calling thread and raised there
            self._stop(error)

    def _account(self, **seconds: float) -> None:
        with self._lock:
            for stage, spent in seconds.items():
                self._seconds[stage] = self._seconds.get(stage, 0.0) + spent

    def _take_number(self) -> int | None:
        with self._lock:
            if self._next >= self._source.count:
                return None
            self._next += 1
            return self._next - 1

    def _release(self, slot: _Slot) -> None:
        """Say that one of its users is done with a slot; the last one gives it back to the pool."""
        with self._lock:
            slot.users -= 1
            if slot.users:
                return
        slot.compressed = b""
        self._free.put(slot)

    def _work(self) -> None:
        reader = self._source.reader()
        reading = compressing = 0.0
        clock = time.perf_counter
        try:
            while (slot := self._free.get()) is not None:
                number = self._take_number()
                if number is None:
                    # There is nothing left to do for the next one who waits here either.
                    self._free.put(slot)
                    break
                start = clock()
                slot.number = number
                slot.size = reader.read(number, slot.buffer)
                slot.users = 1 + self._hashes_tar
                read = clock()
                if self._hashes_tar:
                    self._rendered.put(slot)
                slot.compressed, slot.checksum = self._compressor.compress(memoryview(slot.buffer)[: slot.size])
                self._compressed.put(slot)
                reading += read - start
                compressing += clock() - read
        finally:
            reader.close()
            self._account(render=reading, compress=compressing)

    def _hash_tar(self) -> None:
        in_order: _InOrder[_Slot] = _InOrder()
        hashing = 0.0
        clock = time.perf_counter
        while in_order.expected < self._source.count:
            slot = self._rendered.get()
            if slot is None:
                break
            for due in in_order.add(slot.number, slot):
                start = clock()
                self._diff_id.update(memoryview(due.buffer)[: due.size])
                hashing += clock() - start
                self._release(due)
        self._account(hash_tar=hashing)

    def _write(
        self, write: Callable[[bytes | memoryview], None], progress: Callable[[int, int], None]
    ) -> tuple[str, int]:
        digest = hashlib.sha256()
        checksums: list[tuple[int, int]] = []
        in_order: _InOrder[_Slot] = _InOrder()
        hashing = writing = 0.0
        done = written = 0
        clock = time.perf_counter

        def put(data: bytes | memoryview) -> None:
            nonlocal hashing, writing, written
            start = clock()
            digest.update(data)
            hashed = clock()
            write(data)
            hashing += hashed - start
            writing += clock() - hashed
            written += len(data)

        put(self._compressor.start())
        while in_order.expected < self._source.count:
            slot = self._compressed.get()
            if slot is None:
                break
            for due in in_order.add(slot.number, slot):
                put(due.compressed)
                checksums.append((due.checksum, due.size))
                done += due.size
                self._release(due)
                progress(done, written)
        if in_order.expected == self._source.count:
            put(self._compressor.finish(checksums))
        self._account(hash_blob=hashing, write=writing)
        return digest.hexdigest(), written
