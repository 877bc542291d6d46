"""A layer's tar stream out of its blob, compared with its digests and held against limits as it passes.

Three threads share the work for whoever takes the stream: one reads the blob and computes its digest, one inflates,
and one computes the diff_id. What waits between them is bounded, however large the layer is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from fastoci.counted import CountedReader
from fastoci.errors import InvalidImageError
from fastoci.images.tarstream import PIECE, Ahead, BrokenStreamError, inflate, pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastoci.images.source import ImageSource
    from fastoci.rootfs.limits import Usage
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.mediatypes import Compression

__all__ = ["ImageLayer", "LayerStream"]

_TITLE_DIGITS = 8


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """A layer of an image.

    Attributes:
        descriptor: Of its blob.
        diff_id: Of its tar stream, as the config says; None where nobody has asked the config.
        compression: How the blob is compressed.
        what: What to call it in errors.
        verdict: What is said of it there, if something is wrong.
    """

    descriptor: Descriptor
    diff_id: Digest | None
    compression: Compression
    what: str
    verdict: str = "cannot be unpacked"

    @property
    def title(self) -> str:
        """What to call it on screen."""
        return self.descriptor.digest.hex[:_TITLE_DIGITS]


class _Hasher(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all that was taken."""


class LayerStream:
    """One layer's tar stream, to be taken once, and closed.

    Args:
        source: Where the layer is.
        layer: The layer.
        usage: Counts its bytes.
    """

    def __init__(self, source: ImageSource, layer: ImageLayer, usage: Usage) -> None:
        self._layer = layer
        self._usage = usage
        self._opened = source.open_verified(layer.descriptor)
        self._stages: list[Ahead] = []
        self._diff: _Hasher | None = None
        try:
            read = self._ahead(lambda: pieces_of(self._opened), "fastoci-read")
            self._blob = CountedReader(cast("BinaryIO", _Joined(read)))  # only its read is asked for
            self._pieces = self._ahead(
                lambda: inflate(cast("BinaryIO", self._blob), layer.compression), "fastoci-inflate"
            )
            if layer.diff_id is not None:
                inflated, diff = self._pieces, hashlib.new(layer.diff_id.algorithm)
                self._pieces = self._ahead(lambda: _hashed(inflated, diff), "fastoci-diff-id")
                self._diff = diff
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the threads, and close the blob."""
        # The one that takes from another goes first, or it would wait for what was taken away.
        while self._stages:
            self._stages.pop().close()
        self._opened.close()

    def pieces(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
        """Yield the stream.

        Args:
            advance: Told how many more bytes of the blob were inflated.

        Raises:
            InvalidImageError: It is not what its digests say, or grows beyond a limit.
        """
        layer, total, told = self._layer, 0, 0
        try:
            for piece in self._pieces:
                total += len(piece)
                self._usage.add_bytes(layer.what, len(piece))
                self._usage.check_ratio(layer.what, total, self._blob.size)
                size = self._blob.size
                advance(size - told)
                told = size
                yield piece
            # A decompressor may stop before the blob's end, where its digest is compared.
            while self._blob.read(PIECE):
                pass
        except BrokenStreamError as error:
            raise InvalidImageError(
                f"{layer.what} {layer.verdict}",
                cause=f"the {layer.compression} stream is broken: {error}",
                digest=str(layer.descriptor.digest),
            ) from error
        advance(self._blob.size - told)
        self._compare()

    def _ahead(self, source: Callable[[], Iterator[bytes]], name: str) -> Ahead:
        stage = Ahead(source, name)
        self._stages.append(stage)
        return stage

    def _compare(self) -> None:
        layer = self._layer
        if layer.diff_id is None or self._diff is None or self._diff.hexdigest() == layer.diff_id.hex:
            return
        raise InvalidImageError(
            f"{layer.what} is not what the config says",
            cause=f"its tar has the diff_id {layer.diff_id.algorithm}:{self._diff.hexdigest()}, "
            f"and the config says {layer.diff_id}",
            digest=str(layer.descriptor.digest),
        )


class _Joined:
    """Pieces, read as the file that they are of."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end alone."""
        if self._at == len(self._piece):
            self._piece, self._at = next(self._pieces, b""), 0
        data = self._piece if not self._at and size >= len(self._piece) else self._piece[self._at : self._at + size]
        self._at += len(data)
        return data


def _hashed(pieces: Iterator[bytes], hasher: _Hasher) -> Iterator[bytes]:
    for piece in pieces:
        hasher.update(piece)
        yield piece
