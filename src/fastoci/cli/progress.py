"""The events of the work as lines: plain ones for logs, JSON for programs, or none. `terminal.py` draws live ones."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Literal, Protocol

from fastoci.cli.console import print_warning, printable, write_stderr
from fastoci.cli.tally import Tally
from fastoci.events import (
    BlobDone,
    BlobProgress,
    CheckProgress,
    ImageLoaded,
    LayerPacked,
    LayerProgress,
    LayerScanned,
    LayerUnpacked,
    LayerUnpacking,
    Notice,
    PullSummary,
    PushAllowed,
    PushSummary,
    Resumed,
    Retry,
    Tagged,
    Warned,
)
from fastoci.units import format_part, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastoci.events import Event

__all__ = [
    "JsonProgress",
    "NoProgress",
    "PlainProgress",
    "Progress",
    "describe_resumed",
    "describe_summary",
    "open_progress",
]

STATUS_SECONDS = 10.0


class Progress(Protocol):
    """Something that shows events. Every method may be called from any thread and raises nothing."""

    def start(self) -> None:
        """Begin; called once."""

    def stop(self) -> None:
        """End, leaving no thread and no half-drawn line; called once, after an error too."""

    def event(self, event: Event) -> None:
        """Show one event."""

    def headline(self, text: str) -> None:
        """Show the settings of the run, where this kind of progress shows them."""


def open_progress(mode: Literal["auto", "tty", "plain", "json", "none", "silent"], *, verbose: bool) -> Progress:
    """Return the progress of that kind: `auto` looks at stderr, `silent` leaves out even warnings."""
    if mode == "auto":
        mode = "tty" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"
    if mode == "tty":
        from fastoci.cli.terminal import TerminalProgress

        return TerminalProgress(verbose=verbose)
    if mode == "plain":
        return PlainProgress(verbose=verbose)
    if mode == "json":
        return JsonProgress(verbose=verbose)
    return NoProgress(warnings=mode == "none")


class NoProgress:
    """Warnings, or not even these."""

    def __init__(self, *, warnings: bool) -> None:
        self._warnings = warnings

    def start(self) -> None:
        """Nothing begins."""

    def stop(self) -> None:
        """Nothing ends."""

    def event(self, event: Event) -> None:
        """Show a warning, if warnings are wanted."""
        if self._warnings and isinstance(event, Warned):
            print_warning(event.message, event.hint)

    def headline(self, text: str) -> None:
        """Show nothing."""


class JsonProgress:
    """One JSON object a line and event: `elapsed` in seconds, `event`, and the event's fields."""

    def __init__(self, *, verbose: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._verbose = verbose
        self._clock = clock
        self._started = clock()

    def start(self) -> None:
        """Nothing begins: a line comes with each event."""

    def stop(self) -> None:
        """Nothing ends."""

    def event(self, event: Event) -> None:
        """Write the event."""
        if self._verbose or not isinstance(event, Notice):
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(event).__name__).lower()
            self._write(name, event._asdict())

    def headline(self, text: str) -> None:
        """Write the settings as the event `start`."""
        self._write("start", {"message": text})

    def _write(self, name: str, fields: dict[str, object]) -> None:
        elapsed = round(self._clock() - self._started, 3)
        write_stderr(json.dumps({"elapsed": elapsed, "event": name} | fields, ensure_ascii=True))


class PlainProgress:
    """A line at the start and the end of each piece of work, and one every ten seconds for the whole command.

    Args:
        verbose: Whether notices are shown.
        clock: A monotonic clock in seconds.
        interval: Seconds between two lines about the whole command.
    """

    def __init__(
        self, *, verbose: bool, clock: Callable[[], float] = time.monotonic, interval: float = STATUS_SECONDS
    ) -> None:
        self._verbose = verbose
        self._clock = clock
        self._interval = interval
        self._started = clock()
        self._lock = threading.Lock()
        self._tally = Tally(clock)
        self._stopped = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="fastoci-progress", daemon=True)

    def start(self) -> None:
        """Begin to count the ten seconds."""
        self._ticker.start()

    def stop(self) -> None:
        """End the counting."""
        self._stopped.set()
        self._ticker.join()

    def headline(self, text: str) -> None:
        """Write the settings."""
        self._line(text)

    def event(self, event: Event) -> None:
        """Write the line that the event is worth, if any."""
        if isinstance(event, Warned):
            print_warning(event.message, event.hint)
            return
        with self._lock:
            is_new = self._tally.add(event)
        line = self._describe(event, is_new=is_new)
        if line is not None:
            self._line(line)

    def _describe(self, event: Event, *, is_new: bool) -> str | None:
        match event:
            case LayerScanned(layer, entries, size):
                return f"scanned {layer}: {entries:,} entries, {format_size(size)}"
            case LayerProgress(layer):
                return f"packing {layer}" if is_new else None
            case LayerPacked(layer, digest=digest, tar_size=tar_size, size=size):
                return f"packed {layer}: {format_size(tar_size)} → {format_size(size)}, {digest}"
            case LayerUnpacking(layer, total=total):
                return f"unpacking {layer}: {format_size(total)}" if is_new else None
            case LayerUnpacked(layer, entries=entries, tar_size=tar_size):
                return f"unpacked {layer}: {entries:,} entries, {format_size(tar_size)}"
            case PushAllowed(repository):
                return f"{repository}: push allowed"
            case BlobProgress(title=title, total=total, pulling=pulling) if is_new:
                of_all = "" if total is None else f": {format_size(total)}"
                return f"{'pulling' if pulling else 'pushing'} {title}{of_all}"
            case CheckProgress(name, total=total):
                return f"checking {name}: {format_size(total)}" if is_new else None
            case BlobDone(digest, title, how=how):
                return f"{how} {digest} ({title})"
            case Retry():
                return _describe_retry(event, alone=self._tally.at_work < 2)
            case Resumed(title):
                return f"resumed {title} {describe_resumed(event)}"
            case Tagged(name):
                return f"tagged {name}"
            case PushSummary() | PullSummary():
                return f"total: {describe_summary(event)}"
            case ImageLoaded(engine, name):
                return f"loaded {name} into {engine}"
            case Notice(message):
                return message if self._verbose else None
        return None

    def _tick(self) -> None:
        while not self._stopped.wait(self._interval):
            with self._lock:
                status = self._tally.status()
            self._line(status)

    def _line(self, text: str) -> None:
        write_stderr(f"{self._clock() - self._started:4.1f}s {printable(text)}")


def _describe_retry(event: Retry, *, alone: bool) -> str:
    """Return the line of what went wrong, which names the blob where more than one is on its way."""
    line = f"retry: {event.reason}" if alone else f"retry {event.title}: {event.reason}"
    if event.resumed_at is None:
        return line + (f"; again in {event.wait:.1f}s" if event.wait else "")
    size = format_size(event.resumed_at)
    return line + (f"; going on at {size}" if event.pulling else f"; the registry holds {size}, going on")


def describe_resumed(event: Resumed) -> str:
    """Return where an upload goes on, and how it is known that it may."""
    if event.total is not None:
        return f"at {format_part(event.offset, event.total)}"
    size = format_size(event.offset)
    return f"at {size} (first {size} packed again, identical)"


def describe_summary(summary: PushSummary | PullSummary) -> str:
    """Return what a push or a pull cost in one line."""
    if isinstance(summary, PullSummary):
        return (
            f"fetched {format_size(summary.fetched)}, skipped {format_size(summary.skipped)}, resumed {summary.resumed}"
        )
    mounted = f", mounted {format_size(summary.mounted)}" if summary.mounted else ""
    return (
        f"sent {format_size(summary.sent)}, skipped {format_size(summary.skipped)}{mounted}, "
        f"resumed {summary.resumed}, repeated {format_size(summary.repeated)}"
    )
