"""What an upload has cost so far."""

from __future__ import annotations

__all__ = ["Account"]


class Account:
    """The bytes of one upload, and how often it was gone on with. Belongs to the upload's thread.

    Attributes:
        sent: Bytes handed to the network, those sent again included.
        repeated: Of these, the bytes sent more than once.
        resumed: How often the upload went on from a byte that the registry held.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.repeated = 0
        self.resumed = 0
        self._furthest = 0  # the end of what has been sent at least once, by this run or the one before

    def send(self, offset: int, size: int) -> None:
        """Note that `size` bytes from `offset` on are handed to the network."""
        end = offset + size
        self.sent += size
        self.repeated += min(size, max(0, self._furthest - offset))
        self._furthest = max(self._furthest, end)

    def recall(self, offset: int) -> None:
        """Note that an earlier run has sent what lies below `offset`, and that it is gone on from there."""
        self._furthest = offset
        self.resume(offset)

    def resume(self, offset: int) -> None:
        """Note that it is gone on from `offset`; nothing is gone on with from the first byte."""
        self.resumed += offset > 0
