"""Blocks made again: those that are asked for, in order, a few ahead of who takes them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fastoci.layer.blocks import block_buffer
from fastoci.threads import Crew

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastoci.layer.blocks import BlockSource
    from fastoci.layer.compression import Compressor

__all__ = ["BlocksAhead"]


class BlocksAhead:
    """Compressed blocks of a layer. Taken by one thread, made by threads of its own.

    Args:
        source: The blocks of the tar stream.
        compressor: What becomes of them.
        numbers: Which blocks, in the order in which they are taken; they are planned.
        threads: How many workers read and compress; at most two blocks for each wait to be taken.
    """

    def __init__(self, source: BlockSource, compressor: Compressor, numbers: Sequence[int], threads: int) -> None:
        self._source = source
        self._compressor = compressor
        self._numbers = numbers
        self._ahead = 2 * threads
        self._next = 0  # place in `numbers` of what is to be made
        self._taken = 0  # and of what is to be taken
        self._made: dict[int, bytes] = {}
        self._error: BaseException | None = None
        self._over = False
        # Entered itself: a condition's own __enter__ is Python's, and may be interrupted when it has the lock.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._crew = Crew(self._stop)
        try:
            for number in range(min(threads, len(numbers))):
                self._crew.start(f"fastoci-again-{number}", self._guard)
        except BaseException:
            self.close()
            raise

    @property
    def due(self) -> int | None:
        """The number of the block that `take` gives next; None after the last."""
        return self._numbers[self._taken] if self._taken < len(self._numbers) else None

    def take(self) -> bytes:
        """Return the next block.

        Raises:
            FastociError: The source cannot be read, or has changed.
            ValueError: It was the last one.
        """
        with self._lock:
            due = self.due
            if due is None:
                raise ValueError("that was the last block")
            while due not in self._made:
                if self._error is not None:
                    raise self._error
                self._changed.wait()
            block = self._made.pop(due)
            self._taken += 1
            self._changed.notify_all()
            return block

    def close(self) -> None:
        """End the threads, and wait for that."""
        self._crew.close()

    def _stop(self) -> None:
        with self._lock:
            self._over = True
            self._changed.notify_all()

    def _guard(self) -> None:
        try:
            self._work()
        except BaseException as error:  # carried to the thread that takes, and raised there
            with self._lock:
                self._error = self._error or error
                self._changed.notify_all()

    def _work(self) -> None:
        reader = self._source.reader()
        buffer = block_buffer()
        try:
            while (number := self._take_number()) is not None:
                size = reader.read(number, buffer)
                compressed, _ = self._compressor.compress(buffer[:size])
                with self._lock:
                    # Where nothing is compressed it is the buffer itself, which the next block goes into.
                    self._made[number] = bytes(compressed)
                    self._changed.notify_all()
        finally:
            reader.close()

    def _take_number(self) -> int | None:
        with self._lock:
            while not self._over and self._error is None and self._next < len(self._numbers):
                if self._next - self._taken < self._ahead:
                    self._next += 1
                    return self._numbers[self._next - 1]
                self._changed.wait()
            return None
