"""Digests: `algorithm:encoded`, the names of blobs (image-spec descriptor.md, "Digests").

A digest becomes part of a path and of a URL, so there is no value of this class that does not fit the grammar: neither
a slash nor a name made of dots has a way in.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from fastoci.errors import InvalidImageError

__all__ = ["Digest"]

_ALGORITHM = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*")
_ENCODED = re.compile(r"[A-Za-z0-9=_-]+")
_HEX = re.compile(r"[a-f0-9]+")
# descriptor.md, "Registered algorithms": the length of the lower-case hexadecimal part.
_HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_LONGEST = 255  # the longest file name; the specification sets no limit


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The digest of some bytes.

    Args:
        algorithm: As `sha256`. One that the specification does not register is let through, as it asks, but cannot
            be computed here.
        hex: The encoded part; hexadecimal in lower case for the registered algorithms.

    Raises:
        InvalidImageError: They do not fit the grammar.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        """Hold the parts against the grammar."""
        length = _HEX_LENGTHS.get(self.algorithm)
        if length is not None:
            valid = len(self.hex) == length and _HEX.fullmatch(self.hex) is not None
        else:
            valid = (
                len(self.algorithm) + len(self.hex) <= _LONGEST
                and _ALGORITHM.fullmatch(self.algorithm) is not None
                and _ENCODED.fullmatch(self.hex) is not None
            )
        if not valid:
            shown = f"{self.algorithm}:{self.hex}"
            raise InvalidImageError(
                f"not a digest: {shown[:_LONGEST]!r}",
                cause=None if length is None else f"{self.algorithm} takes {length} lower-case hexadecimal digits",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest that `text` (`algorithm:encoded`) says.

        Raises:
            InvalidImageError: It is none.
        """
        algorithm, colon, encoded = text.partition(":")
        if not colon:
            raise InvalidImageError(f"not a digest: {text[:_LONGEST]!r}", cause="there is no colon in it")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Self:
        """Return the sha256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    @property
    def is_supported(self) -> bool:
        """Whether this program can compute digests of this algorithm."""
        return self.algorithm in _HEX_LENGTHS

    def hasher(self) -> hashlib._Hash:
        """Return a fresh hash object of this algorithm, to be fed what the digest is said to be of.

        Raises:
            InvalidImageError: The algorithm is neither sha256 nor sha512.
        """
        if not self.is_supported:
            raise InvalidImageError(
                f"cannot verify {self}", cause=f"{self.algorithm} is not an algorithm known here", digest=str(self)
            )
        return hashlib.new(self.algorithm)

    def matches(self, data: bytes | bytearray | memoryview) -> bool:
        """Return whether this is the digest of `data`.

        Raises:
            InvalidImageError: See `hasher`.
        """
        hasher = self.hasher()
        hasher.update(data)
        return hasher.hexdigest() == self.hex

    @property
    def short(self) -> str:
        """The first eight digits, as it is called on screen."""
        return self.hex[:8]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
