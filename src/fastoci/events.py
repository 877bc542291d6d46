"""Progress as values: what the engine, the stores and the registry client have to say while they work.

Nothing below the command line prints. Each use case takes a `Sink`, a callable that is given one event at a time; it
may be called from any thread, never from two at once for the same piece of work, and must be quick. Numbers are
absolute positions, never increments, so that a retry needs no subtraction and an event may be dropped. Events of the
same kind for the same piece of work come at most ten times a second; the first and the last always come.

They are named tuples, not frozen dataclasses as other values are: every command defines all of them when it starts, in
a third of the time (6 against 17 ms of CPU time on the machine where it was measured).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

__all__ = [
    "BlobDone",
    "BlobProgress",
    "CheckProgress",
    "Event",
    "ImageLoaded",
    "LayerPacked",
    "LayerProgress",
    "LayerScanned",
    "LayerUnpacked",
    "LayerUnpacking",
    "Notice",
    "PullSummary",
    "PushAllowed",
    "PushSummary",
    "Resumed",
    "Retry",
    "Sink",
    "Tagged",
    "Throttle",
    "Warned",
    "discard",
]


class LayerScanned(NamedTuple):
    """The scan of one source is complete. `entries` counts tar entries, `size` is the bytes of the tar to come."""

    layer: str
    entries: int
    size: int
    seconds: float


class LayerProgress(NamedTuple):
    """Of the `total` bytes of a layer's tar `done` are packed, into `written` compressed bytes."""

    layer: str
    done: int
    total: int
    written: int


class LayerPacked(NamedTuple):
    """A layer is whole: `tar_size` bytes of tar became a blob of `size` bytes. Digests are `sha256:…` as text."""

    layer: str
    diff_id: str
    digest: str
    tar_size: int
    size: int
    seconds: float


class LayerUnpacking(NamedTuple):
    """Of the `total` bytes of a layer's blob `done` are read and on their way to the disk."""

    layer: str
    done: int
    total: int


class LayerUnpacked(NamedTuple):
    """A layer of `entries` entries and `tar_size` bytes of tar is applied."""

    layer: str
    digest: str
    entries: int
    tar_size: int
    seconds: float


class PushAllowed(NamedTuple):
    """The registry has agreed to take blobs for `repository` (host and path)."""

    repository: str


class BlobProgress(NamedTuple):
    """Of the `total` bytes of a blob `done` are on their way or there. `title` is what to call it on screen.

    After a fault `done` falls back to what the registry has acknowledged. `pulling` says that it comes from there.
    Where the blob is sent while it is being made, `digest` is another word that stands for it, and `total` is None
    until it is whole.
    """

    digest: str
    title: str
    done: int
    total: int | None
    pulling: bool = False


class BlobDone(NamedTuple):
    """A blob stands where it shall: pushed or pulled now, there already (`skipped`), or mounted from a repository.

    Its progress was told under `key`, which is another word than its digest where that was not known from the start;
    None is the digest.
    """

    digest: str
    title: str
    size: int
    how: Literal["pushed", "pulled", "skipped", "mounted"]
    seconds: float
    key: str | None = None


class CheckProgress(NamedTuple):
    """Of the `total` bytes of the blobs of an image, or of all of a layout, `done` have been read and checked."""

    name: str
    done: int
    total: int


class Retry(NamedTuple):
    """Something passing went wrong with `title`, and it goes on: `reason` says what, `resumed_at` from which byte.

    `pulling` says that the bytes come from the registry, and that it is we who hold those before.
    """

    title: str
    reason: str
    wait: float
    resumed_at: int | None = None
    pulling: bool = False


class Resumed(NamedTuple):
    """An upload that an earlier run of the command left goes on: of `total` bytes the registry holds `offset`.

    `total` is None where the blob is being made while it is sent.
    """

    title: str
    offset: int
    total: int | None


class Tagged(NamedTuple):
    """The manifest stands under its final name. `platform` is `os/arch[/variant]`."""

    name: str
    digest: str
    platform: str | None


class PushSummary(NamedTuple):
    """What a push cost, in bytes: sent in all, not sent because it stood or was mounted, and sent a second time.

    `resumed` is how often an upload was gone on with where the registry held a part of it.
    """

    sent: int
    skipped: int
    mounted: int
    resumed: int
    repeated: int


class PullSummary(NamedTuple):
    """What a pull cost, in bytes: fetched now, and not fetched because it stood.

    `resumed` is how often a blob was gone on with where a part of it was here: after a fault, or by another run.
    """

    fetched: int
    skipped: int
    resumed: int


class ImageLoaded(NamedTuple):
    """A container engine has taken the image under `name`."""

    engine: str
    name: str


class Warned(NamedTuple):
    """Something the caller should know and may want to change. Work goes on."""

    message: str
    hint: str | None = None


class Notice(NamedTuple):
    """A detail for those who ask (`-v`): which credentials were found where, which mode an upload uses."""

    message: str


Event = (
    LayerScanned
    | LayerProgress
    | LayerPacked
    | LayerUnpacking
    | LayerUnpacked
    | PushAllowed
    | BlobProgress
    | BlobDone
    | CheckProgress
    | Retry
    | Resumed
    | Tagged
    | PushSummary
    | PullSummary
    | ImageLoaded
    | Warned
    | Notice
)

Sink = Callable[[Event], None]


def discard(event: Event) -> None:
    """The sink for callers who do not want to know."""


class Throttle:
    """Says when the next event of a stream is due, at most ten a second.

    Args:
        interval: Seconds between two events; 0 lets every event pass.
        clock: A monotonic clock in seconds.
    """

    def __init__(self, interval: float = 0.1, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._next = clock()

    def due(self) -> bool:
        """Return whether an event may pass now, and if so count it."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + self._interval
        return True
