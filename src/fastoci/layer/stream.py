"""A blob that can be read while it is being made, and again afterwards, without having been stored.

The packer writes into it; one reader follows, at its own pace. What lies between the two is kept, as far as a window
has room for it. A packer that is faster is held up a little, so that a reader which can nearly keep pace is fed from
memory; one that is much faster goes ahead, and what finds no room is counted, checked and thrown away. When the reader
comes there, it is made again: blocks are a pure function of the plan. So the digest is known as early as it can be,
memory is bounded, and no byte is stored.

A reader that wants nothing before all of it is there would have all of it made twice. For such a one there is a spool:
a file that takes what is written, as far as its disk has room. And where the blob is stored anyway, what is stored is
the spool, and nothing is made again.

What is made again is compared, by size and CRC-32, with what was made first; and so is, by a proof that is kept, what
another process has sent of it. That is to notice a change early, not to prove anything: whoever takes the blob checks
its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from isal import isal_zlib

from fastoci.errors import TreeChangedError
from fastoci.layer.ahead import BlocksAhead
from fastoci.spec.descriptor import Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastoci.layer.pack import PlannedLayer
    from fastoci.spec.digest import Digest

__all__ = ["BlobStream"]

# Of the time since its first byte, the part that the packer may be held up: so much longer it takes at most. And the
# seconds more at its beginning, when the reader has still to open a session.
HELD_UP = 0.25
HELD_UP_FIRST = 1.0
_MOST_THREADS = 4  # that make blocks again: enough for any line that was too slow for the packer
_MARK_DIGITS = 24  # of a digest: 96 bits, against accidents
_LONGEST_COUNT = 12  # digits of a number of pieces: no layer has more


class BlobStream:
    """A layer's blob, written once by a packer and read by one reader.

    A piece is what one call of `write` brings: first what the compressor begins with, then each block, then the end.

    Args:
        planned: The layer; its plan is good for as long as this is read.
        subject: What the blob is known by before it has a digest.
        window: How many bytes are kept between packer and reader; 0 keeps none.
        spool: A descriptor of an empty file for all bytes, open as long as this is read; None is for none.
        filled: Whether somebody else writes them to the spool, each before it is written here.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        planned: PlannedLayer,
        subject: str,
        window: int,
        *,
        spool: int | None = None,
        filled: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.subject = subject
        self._planned = planned
        self._window = window
        self._spool = spool
        self._filled = filled
        self._spooling = spool is not None
        self._spooled = 0  # bytes that the spool has
        self._clock = clock
        # Entered itself: a condition's own __enter__ is Python's, and may be interrupted when it has the lock.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        # Of each piece: where it ends in the blob, and its CRC-32.
        self._ends = array("Q")
        self._checks = array("I")
        self._descriptor: Descriptor | None = None
        self._error: BaseException | None = None
        self._head = self._tail = b""
        # The window: pieces by their numbers, in order, and their bytes in all.
        self._kept: dict[int, bytes] = {}
        self._kept_size = 0
        self._read = 0  # where the reader is
        self._waiting = False  # whether it waits for bytes that are not there
        self._began: float | None = None
        self._held_up = 0.0
        # What was made again last.
        self._ahead: BlocksAhead | None = None
        self._again: tuple[int, bytes] = (-1, b"")

    # The packer's side: a BlobSink.

    def write(self, data: bytes | memoryview) -> None:
        """Take the next piece.

        Raises:
            BaseException: What the reader has failed with.
        """
        check = isal_zlib.crc32(data)
        with self._lock:
            number, end = len(self._ends), self._made() + len(data)
            if self._spooling:
                self._store(end - len(data), data)
            if 0 < number <= self._planned.blocks.count:
                if not self._spooling:
                    self._keep(number, end, data)
            elif number:
                self._tail = bytes(data)
            else:
                self._head = bytes(data)
            if self._error is not None:
                raise self._error
            self._ends.append(end)
            self._checks.append(check)
            self._changed.notify_all()

    def commit(self, digest: Digest) -> None:
        """Say that it is whole."""
        with self._lock:
            self._descriptor = Descriptor(self._planned.compressor.media_type, digest, self._made())
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Have both sides raise `error`: it will not be made, or not be read."""
        with self._lock:
            self._error = self._error or error
            self._changed.notify_all()

    def _store(self, offset: int, data: bytes | memoryview) -> None:
        """Have a piece in the spool; from the first for which there is no room on, all is as without one."""
        assert self._spool is not None  # noqa: S101 - says what `_spooling` means
        rest = memoryview(data)
        try:
            while rest and not self._filled:
                rest = rest[os.pwrite(self._spool, rest, offset + len(data) - len(rest)) :]
        except OSError:
            self._spooling = False
        else:
            self._spooled = offset + len(data)

    def _keep(self, number: int, end: int, data: bytes | memoryview) -> None:
        """Keep a piece for the reader, if there is room, or soon will be."""
        if end <= self._read or len(data) > self._window:
            return
        if self._began is None:
            self._began = self._clock()
        while self._kept_size + len(data) > self._window and self._error is None:
            # What was sent and not yet acknowledged is kept only while nothing else needs the room.
            if self._drop(self._read):
                continue
            started = self._clock()
            patience = HELD_UP_FIRST + (started - self._began) * HELD_UP - self._held_up
            # Who waits for bytes cannot make room.
            if patience <= 0 or self._waiting:
                return
            self._changed.wait(patience)
            self._held_up += self._clock() - started
        if len(data) <= self._window:  # it may have been closed meanwhile
            self._kept[number] = bytes(data)
            self._kept_size += len(data)

    def _drop(self, offset: int) -> bool:
        """Let go of the pieces that end at or below an offset; say whether there were any."""
        numbers = []
        for number in self._kept:
            if self._ends[number] > offset:
                break
            numbers.append(number)
        for number in numbers:
            self._kept_size -= len(self._kept.pop(number))
        return bool(numbers)

    # The reader's side: a GrowingSource.

    @property
    def descriptor(self) -> Descriptor | None:
        """What it is, once it is whole."""
        return self._descriptor

    @property
    def made(self) -> int:
        """How many bytes there are so far."""
        with self._lock:
            return self._made()

    @property
    def size(self) -> int:
        """How many bytes it has, once it is whole."""
        if self._descriptor is None:
            raise ValueError("it is not whole yet")
        return self._descriptor.size

    def wait(self, offset: int | None) -> int:
        """Wait until there are `offset` bytes, None for all, and return how many there are: fewer only if it is whole.

        Raises:
            BaseException: What the packer has failed with.
        """
        with self._lock:
            self._wait_until(lambda: offset is not None and self._made() >= offset)
            return self._made()

    def passed(self, offset: int) -> None:
        """Say that what lies below `offset` will hardly be asked for again."""
        with self._lock:
            self._read = max(self._read, offset)
            self._drop(offset)
            self._changed.notify_all()

    def read_at(self, offset: int, size: int) -> memoryview:
        """Return up to `size` bytes from `offset` on, at least one, of those that there are.

        Raises:
            FastociError: They had to be made again, and the source cannot be read or has changed.
        """
        with self._lock:
            number = bisect_right(self._ends, offset)
            if number == len(self._ends):
                raise ValueError("there are not so many bytes yet")
            start = self._ends[number - 1] if number else 0
            piece = self._piece(number)
            self._read = offset
            self._changed.notify_all()
        if piece is None:
            piece = self._make_again(number)
        return memoryview(piece)[offset - start : offset - start + size]

    def proof(self, offset: int) -> str:
        """Return what tells later, in another process, that the first `offset` bytes, which there are, were these."""
        with self._lock:
            return self._proof(bisect_left(self._ends, offset) + 1 if offset else 0)

    def fits(self, proof: str) -> bool:
        """Wait until there are as many bytes as a proof is about, and return whether these are they.

        A tree that has changed shows before that: where the first doubling of its pieces is another.

        Raises:
            BaseException: What the packer has failed with.
        """
        word, _, digests = proof.partition(":")
        if not word.isascii() or not word.isdigit() or len(word) > _LONGEST_COUNT:
            return False
        count, said = int(word), digests.split(",")
        marks = _marks(count)
        if len(said) != len(marks):
            return False
        with self._lock:
            for mark, digest in zip(marks, said, strict=True):
                self._wait_until(lambda mark=mark: len(self._ends) >= mark)  # type: ignore[misc]
                if len(self._ends) < mark or self._digest(mark) != digest:
                    return False
        return True

    def close(self) -> None:
        """Let go of what is kept, and end the threads."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
        with self._lock:
            self._window = 0
            self._kept.clear()
            self._kept_size = 0
            self._changed.notify_all()

    def _wait_until(self, enough: Callable[[], bool]) -> None:
        """Wait until there is enough, or all."""
        try:
            while self._descriptor is None and not enough():
                if self._error is not None:
                    raise self._error
                self._waiting = True
                self._changed.notify_all()
                self._changed.wait()
        finally:
            self._waiting = False

    def _made(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _proof(self, count: int) -> str:
        return f"{count}:{','.join(map(self._digest, _marks(count)))}"

    def _digest(self, count: int) -> str:
        hasher = hashlib.sha256(memoryview(self._ends)[:count])
        hasher.update(memoryview(self._checks)[:count])
        return hasher.hexdigest()[:_MARK_DIGITS]

    def _piece(self, number: int) -> bytes | None:
        """Return a piece that is at hand, None where it has to be made again."""
        if number == 0:
            return self._head
        if number > self._planned.blocks.count:
            return self._tail
        if number in self._kept:
            return self._kept[number]
        if self._spool is not None and self._ends[number] <= self._spooled:
            start = self._ends[number - 1]
            with contextlib.suppress(OSError):
                piece = os.pread(self._spool, self._ends[number] - start, start)
                if len(piece) == self._ends[number] - start:
                    return piece
        return self._again[1] if self._again[0] == number else None

    def _make_again(self, number: int) -> bytes:
        blocks, block = self._planned.blocks, number - 1
        if self._ahead is None or self._ahead.due != block:
            if self._ahead is not None:
                self._ahead.close()
            # Those that were made, and are not kept: none of them will be kept again, and others may be.
            with self._lock:
                made = min(len(self._ends) - 1, blocks.count)
                numbers = [other for other in range(block, made) if other + 1 not in self._kept]
            threads = min(self._planned.threads, _MOST_THREADS)
            self._ahead = BlocksAhead(blocks, self._planned.compressor, numbers, threads)
        piece = self._ahead.take()
        with self._lock:
            size = self._ends[number] - self._ends[number - 1]
            check = self._checks[number]
        if len(piece) != size or isal_zlib.crc32(piece) != check:
            raise TreeChangedError(
                f"{self._planned.title} changed while it was sent",
                path=self._planned.title,
                cause=f"block {block} of {blocks.count} is not what it was when it was packed",
                hint="stop its writer, or pack a snapshot",
            )
        self._again = number, piece
        return piece


def _marks(count: int) -> list[int]:
    """Return the numbers of pieces after which a proof has a digest: every doubling, and all of them."""
    return [*(1 << power for power in range(count.bit_length()) if 1 << power < count), count] if count else [0]
