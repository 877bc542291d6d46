"""The block pipeline: blocks are made by many threads in any order, and hashed and written strictly in order.

    workers (N)             read a block, compress it
    tar hasher (1)          SHA-256 of the tar stream, in order               -> diff_id
    the calling thread      SHA-256 of the compressed stream, in order, write -> digest

Tar blocks live in a fixed pool of buffers. A buffer returns to the pool when its block has been hashed and its
compressed bytes have been written, so that the pool also bounds how far the workers run ahead of a slow disk. A worker
takes a buffer before it takes a block's number: otherwise the block that everything waits for could be the one that
finds no buffer.

The first error wins. It stops every thread within a block's time; all are joined before it is raised. The calling
thread does the writing itself, so that Ctrl-C reaches it there; what is to be stopped by it stops at the end of the
threads' `Crew`, which no second one can make it miss.

Several pipelines at once share the workers of a workforce.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue

from fastoci.layer.blocks import BlockSource, block_buffer
from fastoci.layer.compression import Compressor
from fastoci.layer.workforce import Workforce
from fastoci.threads import Crew

__all__ = ["PipelineResult", "run_pipeline"]


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """What went through.

    Args:
        diff_id: SHA-256 of the tar stream, in hexadecimal.
        digest: SHA-256 of the blob, likewise.
        tar_size: Bytes of the tar stream.
        size: Bytes of the blob.
        seconds: Of CPU, each stage's summed over its threads; and on the wall `head`, from the start until the first
            block was there to be read, and `tail`, from when the last one was compressed until all was written.
    """

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
    workforce: Workforce | None = None,
) -> PipelineResult:
    """Make a layer's blob.

    Args:
        source: The blocks of the tar stream.
        compressor: What becomes of them.
        threads: How many workers read and compress, at least 1.
        write: Takes the blob's bytes, in order, in the calling thread.
        progress: Told how many bytes of tar are done and how many were written, after each block.
        workforce: Says in the place of `threads` how many workers there are; all blocks of the source are known.

    Raises:
        Exception: Whatever the first thing that failed raised.
    """
    pipeline = _Pipeline(source, compressor)
    if workforce is None:
        return pipeline.run(threads, write, progress)
    with workforce.share(pipeline) as workers:
        return pipeline.run(workers, write, progress)


@dataclass(slots=True)
class _Slot:
    """A block on its way: its buffer, and how many have still to be done with it."""

    buffer: memoryview | None = None  # from its first use on
    number: int = 0
    size: int = 0
    users: int = 0
    compressed: bytes | memoryview = b""
    checksum: int = 0

    def block(self) -> memoryview:
        """Return the block's bytes."""
        assert self.buffer is not None  # noqa: S101 - a slot on its way has one
        return self.buffer[: self.size]


class _Pipeline:
    def __init__(self, source: BlockSource, compressor: Compressor) -> None:
        self._source = source
        self._compressor = compressor
        self._crew: Crew | None = None  # while more threads may begin
        self._workers = 0
        self._hashes_tar = not compressor.identity
        self._lock = threading.Lock()
        self._next = 0
        self._count: int | None = None  # of all blocks, once the end of the source is known
        self._error: BaseException | None = None
        self._over = False  # nobody is to go on: after an error, and when all is written
        self._seconds: dict[str, float] = {}
        self._started = time.perf_counter()
        self._last_compressed = 0.0
        self._free: SimpleQueue[_Slot | None] = SimpleQueue()
        # None wakes whoever waits: the end is known, or an error is.
        self._rendered: SimpleQueue[_Slot | None] = SimpleQueue()
        self._compressed: SimpleQueue[_Slot | None] = SimpleQueue()
        self._diff_id = hashlib.sha256()
        for _ in range(2):
            self._free.put(_Slot())

    def run(
        self, workers: int, write: Callable[[bytes | memoryview], None], progress: Callable[[int, int], None]
    ) -> PipelineResult:
        with Crew(self._stop) as crew:
            self._crew = crew
            if self._hashes_tar:
                crew.start("fastoci-diff-id", lambda: self._guard(self._hash_tar))
            self.reinforce(workers)
            digest, size = self._write(write, progress)
            with self._lock:
                self._crew = None
            crew.join()
        if self._error is not None:
            raise self._error
        diff_id = self._diff_id.hexdigest() if self._hashes_tar else digest
        return PipelineResult(diff_id, digest, self._source.tar_size, size, self._seconds)

    @property
    def left(self) -> int:
        """How many of the blocks that are known nobody works at yet."""
        return max(0, self._source.count - self._next)

    def reinforce(self, workers: int) -> None:
        """Let workers begin, each with buffers of its own; none where the end has come. Called by any thread.

        Raises:
            FastociError: The machine gives no more threads.
        """
        with self._lock:
            if self._crew is None or self._over:
                return
            for _ in range(workers):
                self._free.put(_Slot())
                self._free.put(_Slot())
                self._workers += 1
                self._crew.start(f"fastoci-block-{self._workers - 1}", lambda: self._guard(self._work))

    def fail(self, error: BaseException) -> None:
        """Keep the first error, and stop. Called by any thread."""
        with self._lock:
            if self._error is None:
                self._error = error
        self._stop()

    def _stop(self) -> None:
        """Let nobody go on, nor begin, and wake everybody who waits."""
        with self._lock:
            self._over = True
        self._source.stop()
        self._wake()

    def _end(self) -> None:
        """Note that the source has no more blocks than are known."""
        with self._lock:
            if self._count is not None:
                return
            self._count = self._source.count
        self._wake()

    def _wake(self) -> None:
        for _ in range(self._workers):
            self._free.put(None)
        self._rendered.put(None)
        self._compressed.put(None)

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # carried to the calling thread and raised there
            self.fail(error)

    def _account(self, **seconds: float) -> None:
        with self._lock:
            for stage, spent in seconds.items():
                self._seconds[stage] = self._seconds.get(stage, 0.0) + spent

    def _take_number(self) -> int | None:
        """Return the number of the next block when it can be read; None after the last, and after an error."""
        with self._lock:
            number = self._next
            self._next += 1
        if self._over or (self._count is not None and number >= self._count):
            return None
        if self._source.has(number):
            if number == 0:
                self._account(head=time.perf_counter() - self._started)
            return number
        if not self._over:
            self._end()
        return None

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
        clock = time.thread_time
        try:
            while (slot := self._free.get()) is not None and (number := self._take_number()) is not None:
                start = clock()
                slot.number = number
                buffer = slot.buffer = slot.buffer or block_buffer()
                slot.size = reader.read(number, buffer)
                slot.users = 1 + self._hashes_tar
                read = clock()
                if self._hashes_tar:
                    self._rendered.put(slot)
                slot.compressed, slot.checksum = self._compressor.compress(slot.block())
                self._last_compressed = time.perf_counter()
                self._compressed.put(slot)
                reading += read - start
                compressing += clock() - read
        finally:
            reader.close()
            self._account(render=reading, compress=compressing)

    def _hash_tar(self) -> None:
        hashing = 0.0
        clock = time.thread_time
        for slot in self._in_order(self._rendered):
            start = clock()
            self._diff_id.update(slot.block())
            hashing += clock() - start
            self._release(slot)
        self._account(hash_tar=hashing)

    def _write(
        self, write: Callable[[bytes | memoryview], None], progress: Callable[[int, int], None]
    ) -> tuple[str, int]:
        digest = hashlib.sha256()
        checksums: list[tuple[int, int]] = []
        hashing = writing = 0.0
        done = written = 0
        clock = time.thread_time

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
        for slot in self._in_order(self._compressed):
            put(slot.compressed)
            checksums.append((slot.checksum, slot.size))
            done += slot.size
            self._release(slot)
            progress(done, written)
        if not self._over:
            put(self._compressor.finish(checksums))
        self._account(hash_blob=hashing, write=writing, tail=time.perf_counter() - self._last_compressed)
        return digest.hexdigest(), written

    def _in_order(self, queue: SimpleQueue[_Slot | None]) -> Iterator[_Slot]:
        """Yield blocks by their numbers as they come in any order, until the last of them, or an error."""
        early: dict[int, _Slot] = {}
        expected = 0
        while not self._over and expected != self._count:
            slot = queue.get()
            if slot is None:
                continue
            early[slot.number] = slot
            while (due := early.pop(expected, None)) is not None:
                yield due
                expected += 1
