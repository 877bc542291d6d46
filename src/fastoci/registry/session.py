"""What is known of an upload on its way, and of the host it goes to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastoci.registry.urls import Url

__all__ = ["DEFAULT_CHUNK", "LARGEST_CHUNK", "HostProfile", "Mode", "UploadSession"]

# What a fault may cost is a chunk, where a registry keeps nothing of one that broke off; and each one costs a pause, in
# which the registry makes it safe and answers. So they begin small, and on a fast line, where the one costs little time
# and the other much, they become larger. Proxies draw the line at 100 MB, where they draw one.
DEFAULT_CHUNK = 16 << 20
LARGEST_CHUNK = 64 << 20
QUICK = 1.0  # seconds for a chunk and its answer: after less the next one is twice as large
SMALLEST_CHUNK = 64 << 10
# What a registry may ask for by OCI-Chunk-Min-Length. A chunk is a view of the source, so a large one costs no memory;
# it costs what is sent again after a fault.
LARGEST_MINIMUM = 1 << 30


class Mode(Enum):
    """How the bytes of a blob travel."""

    CHUNKED = "chunked"  # PATCH after PATCH, then an empty PUT
    STREAMED = "streamed"  # one PATCH, then an empty PUT: what docker does, and what every registry knows
    MONOLITHIC = "monolithic"  # one PUT

    @property
    def other(self) -> Mode:
        """What to try where this one does not work."""
        return Mode.STREAMED if self is Mode.CHUNKED else Mode.CHUNKED


@dataclass(slots=True)
class UploadSession:
    """One upload session: with what is uploaded, and to where, all that is needed to go on with it.

    Args:
        mode: How its bytes travel.
        chunk: How many bytes go in one PATCH, where the mode has more than one.
        largest: What `chunk` may grow to, from the default; 0 leaves it as it is.
        location: Where the next request goes; a secret. None before there is a session.
        offset: How many bytes the registry has acknowledged.
        minimum: The fewest bytes the registry takes in a chunk that is not the last.
        reached: The furthest that `offset` has been.
        tried: How far bytes went out at most, acknowledged or not; None is not known.
        patches: How many PATCHes were made.
        told: The offset that the registry has given last when it was asked.
        refused_offsets: Of those that it gave, where it answered with 416, since the last progress.
        begun: When the last PATCH was begun, by the client's clock.
        stuck: How often bytes were sent again because it held none of them.
        crumbs: How often in a row it took next to nothing of a chunk.
        blind: Whether bytes were sent on after a fault without knowing the offset.
    """

    mode: Mode
    chunk: int
    largest: int = 0
    location: Url | None = field(default=None, repr=False)
    offset: int = 0
    minimum: int = 1
    # What its answers have taught about this session, and is forgotten with it.
    reached: int = 0
    tried: int | None = 0
    patches: int = 0
    told: int | None = None
    refused_offsets: set[int] = field(default_factory=set)
    begun: float = 0.0
    stuck: int = 0
    crumbs: int = 0
    blind: bool = False

    def limit_chunk(self, minimum: int | None, maximum: int | None) -> None:
        """Heed what a registry says about the sizes of chunks, within reason.

        Who has them begin at a size is taken to want all of one size: an object that is put together from parts.

        Args:
            minimum: Its `OCI-Chunk-Min-Length`; None where it does not say.
            maximum: The unofficial `OCI-Chunk-Max-Length`.
        """
        if maximum is not None and maximum >= SMALLEST_CHUNK:
            self.chunk = min(self.chunk, maximum)
            self.largest = min(self.largest, maximum)
        if minimum is not None and minimum > 1:
            self.minimum = min(minimum, LARGEST_MINIMUM)
            self.chunk, self.largest = max(self.chunk, self.minimum), 0

    def grow_chunk(self, seconds: float) -> None:
        """Take larger chunks from now on, if one took no longer than this."""
        if seconds < QUICK:
            self.chunk = max(self.chunk, min(self.chunk * 2, self.largest))

    def shrink_chunk(self) -> bool:
        """Take chunks of the first size again, if they had grown; say whether they had."""
        grown = DEFAULT_CHUNK < self.chunk <= self.largest
        if grown:
            self.chunk = DEFAULT_CHUNK
        return grown

    def halve_chunk(self) -> bool:
        """Take smaller chunks from now on; say whether that was possible."""
        smaller = max(self.chunk // 2, self.minimum, SMALLEST_CHUNK)
        if smaller >= self.chunk:
            return False
        self.chunk, self.largest = smaller, 0
        return True


@dataclass(slots=True)
class HostProfile:
    """What uploads to a host have taught about it. Shared by all of a client's uploads.

    Args:
        mode: The mode that worked last; None before any did.
        chunk: The largest chunk it takes; None before it refused one.
        minimum: The smallest chunk it takes that is not the last; registries that say so themselves are heeded beside.
        patch_range: Whether the `Range` of its answers to PATCH can be believed; `unknown` before that was a question.
        keep: Told when something was learnt, to keep it for the next run; None forgets it with the client.
    """

    mode: Mode | None = None
    chunk: int | None = None
    minimum: int = 1
    patch_range: Literal["unknown", "ignored"] = "unknown"
    keep: Callable[[HostProfile], None] | None = field(default=None, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def first_mode(self, chosen: Literal["auto", "monolithic", "chunked"]) -> Mode:
        """Return how the bytes of a blob travel as long as nothing speaks against it.

        Args:
            chosen: What the user says of it.
        """
        return Mode(chosen) if chosen != "auto" else self.mode or Mode.CHUNKED

    def learn_mode(self, mode: Mode) -> None:
        """Note that an upload in this mode came to its end."""
        with self.lock:
            if self.mode is not mode:
                self.mode = mode
                self._learnt()

    def learn_chunk(self, chunk: int) -> None:
        """Note that chunks over this size are refused."""
        with self.lock:
            if self.chunk is None or chunk < self.chunk:
                self.chunk = chunk
                self._learnt()

    def ignore_patch_range(self) -> None:
        """Note that a PATCH is stored whatever the `Range` of its answer says (ECR)."""
        with self.lock:
            if self.patch_range != "ignored":
                self.patch_range = "ignored"
                self._learnt()

    def _learnt(self) -> None:
        if self.keep is not None:
            self.keep(self)
