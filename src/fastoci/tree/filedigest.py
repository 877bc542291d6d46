"""What the bytes of a file are known by, so that it can be compared with one that is not at hand.

Holes are not read, and SHA-256 has no short way over zeros: so blocks of zeros are left out of what is hashed, and
where they were is hashed beside it, wherever the zeros come from.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from fastoci._engine.contents import zero_runs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FileDigest", "digest_of"]

_BLOCK = 4096
_RUN = struct.Struct("<QQ")


class FileDigest:
    """The digest of one file, whose bytes come in order.

    It is the SHA-256 of the bytes where none of the whole blocks of 4,096 is zeros alone. Else it is the SHA-256 of two
    others: that of all other bytes, and that of where the zeros are, as pairs of 64 bits in little-endian order, the
    first block of a run and how many. Only of files of one size it says whether they are the same.

    Args:
        exact: Whether the SHA-256 of all bytes is wanted, too.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self._kept = hashlib.sha256()
        self._runs = hashlib.sha256()
        self._has_runs = False
        self._run = (0, 0)  # the one at hand: its first block, and how many
        self._block = 0  # the next one
        self._part = b""  # of it
        # Of all bytes, once that is not the same as of those that were kept.
        self._all = self._kept if exact else None

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        if self._part:
            missing = _BLOCK - len(self._part)
            self._part += data[:missing]
            data = data[missing:]
            if len(self._part) == _BLOCK:
                part, self._part = self._part, b""
                self._take(part)
        whole = len(data) // _BLOCK * _BLOCK
        if whole:
            self._take(data[:whole])
        if len(data) > whole:
            self._part = bytes(data[whole:])

    def skip(self, size: int) -> None:
        """Take zeros that nobody has read."""
        if self._part:
            missing = min(size, _BLOCK - len(self._part))
            self.update(bytes(missing))
            size -= missing
        if size >= _BLOCK:
            self._all = None
            self._pass(size // _BLOCK)
        if size % _BLOCK:
            self._part = bytes(size % _BLOCK)

    def digest(self) -> bytes:
        """Return the digest of what was taken; nothing may be taken after it."""
        self._keep(self._part)
        if not self._has_runs:
            return self._kept.digest()
        self._end_run()
        return hashlib.sha256(self._kept.digest() + self._runs.digest()).digest()

    def exact(self) -> bytes | None:
        """Return the SHA-256 of all bytes, after `digest`; None where there were zeros that nobody has read."""
        return None if self._all is None else self._all.digest()

    def _take(self, data: bytes | memoryview) -> None:
        """Take whole blocks."""
        at = 0
        for start, end in zero_runs(data):
            self._keep(data[at:start])
            if self._all is self._kept:
                self._all = self._kept.copy()
            if self._all is not None:
                self._all.update(data[start:end])
            self._pass((end - start) // _BLOCK)
            at = end
        self._keep(data[at:] if at else data)

    def _keep(self, data: bytes | memoryview) -> None:
        if not data:
            return
        self._kept.update(data)
        if self._all is not None and self._all is not self._kept:
            self._all.update(data)
        self._block += len(data) // _BLOCK

    def _pass(self, count: int) -> None:
        """Pass over blocks of zeros."""
        first, before = self._run
        if first + before == self._block and before:
            self._run = first, before + count
        else:
            self._end_run()
            self._run = self._block, count
        self._has_runs = True
        self._block += count

    def _end_run(self) -> None:
        if self._run[1]:
            self._runs.update(_RUN.pack(*self._run))
        self._run = 0, 0


def digest_of(files: Iterable[tuple[bytes | memoryview, bool]]) -> bytes:
    """Return the digests of files, one after the other.

    Args:
        files: The bytes of each, and whether a block of them is zeros.
    """
    return b"".join([_digest_with_zeros(data) if zeros else hashlib.sha256(data).digest() for data, zeros in files])


def _digest_with_zeros(data: bytes | memoryview) -> bytes:
    digest = FileDigest()
    digest.update(data)
    return digest.digest()
