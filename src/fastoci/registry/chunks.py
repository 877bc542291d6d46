"""The bytes of a blob on their way out: a view of the source, never a copy of more than a piece of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fastoci.errors import BlobMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest

__all__ = ["BlobSource", "Chunk", "FilePart", "FileSource", "GrowingSource", "Piece", "SourceError", "digest_of"]

# Small enough that a slow line takes one within the time limit for sending, large enough that Python does not matter.
PIECE = 256 << 10


class BlobSource(Protocol):
    """Where the bytes of a blob come from. Read by one thread at a time."""

    @property
    def size(self) -> int:
        """How many bytes it has."""

    def read_at(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Return up to `size` bytes from `offset` on, at least one.

        Raises:
            FastociError: The source shrank, changed, or cannot be read.
        """


@runtime_checkable
class FileSource(Protocol):
    """What a source has besides whose bytes may lie in a file as they are."""

    def file_at(self, offset: int) -> tuple[int, int] | None:
        """Return the descriptor of the file, and where in it the byte at `offset` is; None where it is no file.

        Raises:
            FastociError: The source shrank, changed, or cannot be read.
        """


class GrowingSource(Protocol):
    """Where the bytes of a blob come from that is sent while it is being made. Read by one thread at a time."""

    subject: str
    """What the blob is known by before it has a digest; what was sent of it is compared by its proof."""

    @property
    def descriptor(self) -> Descriptor | None:
        """What it is, once it is whole."""

    @property
    def made(self) -> int:
        """How many bytes there are so far."""

    @property
    def size(self) -> int:
        """How many bytes it has, once it is whole."""

    def wait(self, offset: int | None) -> int:
        """Wait until there are `offset` bytes, None for all, and return how many there are: fewer if it is whole.

        Raises:
            Exception: It will not be made.
        """

    def read_at(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Return up to `size` bytes from `offset` on, at least one, of those that there are; any of them, at any time.

        Raises:
            FastociError: The source shrank, changed, or cannot be read.
        """

    def passed(self, offset: int) -> None:
        """Take note that what lies below `offset` will hardly be asked for again."""

    def proof(self, offset: int) -> str:
        """Return what tells later, in another process, that the first `offset` bytes, which there are, were these."""

    def fits(self, proof: str) -> bool:
        """Wait until there are as many bytes as a proof is about, and return whether these are they.

        Raises:
            Exception: They will not be made.
        """


class SourceError(Exception):
    """The source could not be read; `__cause__` says why. Never leaves the registry room.

    It is no OSError, so that urllib3 does not take it for a broken connection.
    """


@dataclass(frozen=True, slots=True)
class FilePart:
    """Some bytes of an open file, which the kernel can send without their being read (sendfile(2)).

    Args:
        fd: The file.
        offset: Where they begin in it.
        size: How many they are.
        read: Returns them, for whoever cannot have the kernel do it; raises SourceError.
    """

    fd: int
    offset: int
    size: int
    read: Callable[[], bytes | bytearray | memoryview]

    def __len__(self) -> int:
        """Return how many bytes they are."""
        return self.size


Piece = bytes | bytearray | memoryview | FilePart


class Chunk:
    """The bytes of a source from one offset up to another, as the body of a request.

    Args:
        source: Where they come from.
        start: The first byte's offset.
        end: The offset after the last byte's.
        on_piece: Called before a piece is handed out, with its offset and its size; None tells nobody.
    """

    def __init__(
        self,
        source: BlobSource | GrowingSource,
        start: int,
        end: int,
        on_piece: Callable[[int, int], None] | None = None,
    ) -> None:
        self._source = source
        self._start = start
        self._end = end
        self._on_piece = on_piece

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._end - self._start

    def open(self) -> Iterator[Piece]:
        """Return the bytes in pieces, read when they are asked for, or to be read by the kernel.

        Raises:
            SourceError: The source failed.
        """
        files = self._source if isinstance(self._source, FileSource) else None
        at = self._start
        while at < self._end:
            size = min(PIECE, self._end - at)
            piece: Piece | None = None if files is None else self._file_part(files, at, size)
            if piece is None:
                piece = self._read(at, size)
            if self._on_piece is not None:
                self._on_piece(at, len(piece))
            at += len(piece)
            yield piece

    def _file_part(self, source: FileSource, at: int, size: int) -> FilePart | None:
        try:
            place = source.file_at(at)
        except Exception as error:
            raise SourceError from error
        return None if place is None else FilePart(*place, size, partial(self._read, at, size))

    def _read(self, at: int, size: int) -> bytes | bytearray | memoryview:
        try:
            data = self._source.read_at(at, size)
            if not 0 < len(data) <= size:
                raise BlobMismatchError(  # noqa: TRY301 - one way out for all that a source does wrong
                    "a blob changed while it was sent", cause=f"it has no more than {at} bytes, not {self._end}"
                )
        except Exception as error:
            raise SourceError from error
        return data


def digest_of(source: BlobSource | GrowingSource, digest: Digest) -> str:
    """Return the hexadecimal digest of a whole source, by the algorithm of `digest`.

    Raises:
        SourceError: The source failed.
    """
    hasher = digest.hasher()
    for piece in Chunk(source, 0, source.size).open():
        hasher.update(piece.read() if isinstance(piece, FilePart) else piece)
    return hasher.hexdigest()
