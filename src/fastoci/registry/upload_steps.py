"""The states of an upload, and what one comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

__all__ = ["Step", "UploadResult"]


class Step(Enum):
    """The states of an upload."""

    CHECK = auto()
    OPEN = auto()
    SEND = auto()
    SYNC = auto()
    COMMIT = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What an upload came to and what it cost.

    Args:
        how: `pushed` now, `skipped` because it stood, or `mounted` from another repository.
        size: Of the blob, in bytes.
        sent: Bytes handed to the network, those sent again included.
        repeated: Of these, the bytes sent more than once.
        resumed: How often it was gone on with, after a fault or an earlier run, where the registry held a part of it.
        seconds: From the first question to the last answer.
    """

    how: Literal["pushed", "skipped", "mounted"]
    size: int
    sent: int
    repeated: int
    resumed: int
    seconds: float
