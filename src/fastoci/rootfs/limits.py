"""How much an image may ask of the disk: what keeps a few kilobytes from becoming a full file system."""

from __future__ import annotations

from dataclasses import dataclass

from fastoci.errors import InvalidImageError

__all__ = ["Limits", "Usage"]

_GRACE = 1 << 30
"""Bytes that may come of any blob, however small: a ratio says little of little data."""

_HELD = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that is unpacked.

    Args:
        entries: Tar headers of all layers together.
        size: Bytes of all layers' tar streams together, and of what sparse entries say that they hold.
        ratio: Bytes of tar for each byte of a layer's blob. Deflate reaches 1,030, on nothing but zeros. What comes
            of a blob up to 1 GiB is never over it.
    """

    entries: int = 10_000_000
    size: int = 1 << 40
    ratio: int = 250


class Usage:
    """What has been unpacked so far, held against the limits.

    Args:
        limits: The most that may be.
        adjustable: Whether whoever meets one can ask for more, by options of the command line.
    """

    def __init__(self, limits: Limits, *, adjustable: bool = True) -> None:
        self._limits = limits
        self._adjustable = adjustable
        self.entries = 0
        self.size = 0
        self._held = 0

    @property
    def entries_left(self) -> int:
        """How many more headers there may be."""
        return max(0, self._limits.entries - self.entries)

    def add_entry(self, layer: str, count: int = 1) -> None:
        """Count a tar header, or some.

        Raises:
            InvalidImageError: There are too many.
        """
        self.entries += count
        if self.entries > self._limits.entries:
            raise InvalidImageError(
                f"{layer} holds too many entries",
                cause=f"over {self._limits.entries:,} in the layers so far",
                hint=self._hint("--max-entries"),
            )

    def add_bytes(self, layer: str, size: int) -> None:
        """Count bytes of a tar stream, or what a sparse entry holds beyond them.

        Raises:
            InvalidImageError: There are too many.
        """
        self.size += size
        if self.size > self._limits.size:
            raise InvalidImageError(
                f"{layer} is too large",
                cause=f"over {self._limits.size:,} bytes in the layers so far",
                hint=self._hint("--max-size"),
            )

    def hold(self, layer: str, size: int) -> None:
        """Count bytes that stay in memory until the end: long paths and attributes of directories without number.

        Raises:
            InvalidImageError: There are too many.
        """
        self._held += size
        if self._held > _HELD:
            raise InvalidImageError(
                f"{layer} cannot be unpacked", cause=f"its directories' paths and attributes take over {_HELD:,} bytes"
            )

    def check_ratio(self, layer: str, tar_size: int, blob_size: int) -> None:
        """Compare what came out of a layer's blob with what went in.

        Raises:
            InvalidImageError: It grows too much.
        """
        if tar_size > _GRACE and tar_size > self._limits.ratio * max(blob_size, 1):
            raise InvalidImageError(
                f"{layer} grows too much",
                cause=f"{blob_size:,} bytes of it became over {tar_size:,}, more than {self._limits.ratio} for one",
                hint=self._hint("--max-ratio"),
            )

    def _hint(self, option: str) -> str | None:
        return f"{option} allows more, where the image is to be trusted" if self._adjustable else None
