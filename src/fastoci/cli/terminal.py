"""Progress on a terminal: one live bar for each layer or blob at work, which becomes a line when it is done.

Imported only where stderr is a terminal: rich costs a start-up more than all the rest.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID
from rich.text import Text

from fastoci.cli.console import printable
from fastoci.cli.progress import describe_resumed, describe_summary
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
    Throttle,
    Warned,
)
from fastoci.units import format_position, format_rate, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Task

    from fastoci.events import Event

__all__ = ["TerminalProgress"]

_BAR_WIDTH = 16
_VERB_WIDTH = 8
_NAME_WIDTH = 10
_LONGEST_NAME = 24
# Where the seconds of a finished piece of work end.
_TIME_COLUMN = 60
_REFRESH_PER_SECOND = 8


class TerminalProgress:
    """Live bars over finished lines.

    Args:
        verbose: Whether notices are shown.
        console: Where to draw; None is stderr.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self, *, verbose: bool, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._verbose = verbose
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._bars = Progress(
            _Label(),
            BarColumn(bar_width=_BAR_WIDTH, style="dim", complete_style="default", finished_style="default"),
            _Figures(),
            console=console or Console(stderr=True, force_terminal=True, highlight=False, soft_wrap=True),
            transient=True,
            # rich's own refreshing is a thread that may outlive the command; events come often enough.
            auto_refresh=False,
        )
        self._redraw = Throttle(1 / _REFRESH_PER_SECOND, clock)

    def start(self) -> None:
        """Begin to draw."""
        self._bars.start()

    def stop(self) -> None:
        """Take away what is still live and give the cursor back."""
        with self._lock:
            for task in self._tasks.values():
                self._bars.remove_task(task)
            self._tasks.clear()
        self._bars.stop()

    def headline(self, text: str) -> None:
        """Show nothing: whoever sits there knows what was asked for."""

    def event(self, event: Event) -> None:
        """Move a bar, or print the line of what is done."""
        match event:
            case LayerProgress(layer, done, total, written):
                self._move(("packing", layer), layer, done, total, f"{format_size(done)} → {format_size(written)}")
            case BlobProgress(digest, title, done, total, pulling):
                verb = "pulling" if pulling else "pushing"
                figures = f"{format_size(done)} sent" if total is None else format_position(done, total)
                self._move((verb, digest), title, done, total, figures)
            case CheckProgress(name, done, total):
                self._move(("checking", name), name, done, total, format_position(done, total))
            case LayerPacked(layer):
                self._finish(("packing", layer))
                sizes = f"{format_size(event.tar_size)} → {format_size(event.size)}"
                self._done("packed", layer, f"{'━' * _BAR_WIDTH} {sizes}", event.seconds)
            case LayerUnpacking(layer, done, total):
                self._move(("unpacking", layer), layer, done, total, format_position(done, total))
            case LayerUnpacked(layer, _, entries, tar_size, seconds):
                self._finish(("unpacking", layer))
                self._done("unpacked", layer, f"{entries:,} entries  {format_size(tar_size)}", seconds)
            case BlobDone(digest, title):
                self._finish(("pulling", event.key or digest))
                self._finish(("pushing", event.key or digest))
                self._done(event.how, title, _blob_figures(event), event.seconds)
            case Warned(message, hint):
                self._print(Text("warning: ", "yellow").append(printable(message + (f"; {hint}" if hint else ""))))
            case _:
                self._say(event)

    def _say(self, event: Event) -> None:
        match event:
            case LayerScanned(layer, entries, size, seconds):
                self._done("scanned", layer, f"{entries:,} entries  {format_size(size)}", seconds)
            case Retry(title, reason, wait, resumed_at):
                going_on = f"; going on at {format_size(resumed_at)}" if resumed_at else ""
                waiting = f"; again in {wait:.1f}s" if wait else ""
                self._done("retry", title, f"{reason}{going_on}{waiting}", None)
            case Resumed(title):
                self._done("resumed", title, describe_resumed(event), None)
            case Tagged(name, platform=platform):
                text = name if platform is None else f"{name}  {platform}"
                self._done("tagged", text, "", self._clock() - self._started)
            case PushSummary() | PullSummary():
                self._done("total", describe_summary(event), "", None)
            case ImageLoaded(engine, name):
                self._done("loaded", f"{name}  into {engine}", "", self._clock() - self._started)
            case PushAllowed(repository) if self._verbose:
                self._done("allowed", f"push to {repository}", "", self._clock() - self._started)
            case Notice(message) if self._verbose:
                self._print(Text(printable(message), "dim"))

    def _move(self, key: tuple[str, str], name: str, done: int, total: int | None, figures: str) -> None:
        with self._lock:
            task = self._tasks.get(key)
            if task is None:
                task = self._tasks[key] = self._bars.add_task(key[0], total=total, name=name, figures=figures)
            self._bars.update(task, completed=done, total=total, figures=figures)
            if self._redraw.due():
                self._bars.refresh()

    def _finish(self, key: tuple[str, str]) -> None:
        with self._lock:
            task = self._tasks.pop(key, None)
            if task is not None:
                self._bars.remove_task(task)
                # Or the line that is printed next is followed by the bar as it was drawn last.
                self._bars.refresh()

    def _done(self, verb: str, name: str, rest: str, seconds: float | None) -> None:
        left = f"{verb:<{_VERB_WIDTH}} {printable(name):<{_NAME_WIDTH if rest else 0}} {printable(rest)}".rstrip()
        time_ = "" if seconds is None else f"{seconds:.1f}s"
        gap = max(2, _TIME_COLUMN - len(left) - len(time_)) if time_ else 0
        self._print(Text(left + " " * gap + time_))

    def _print(self, text: Text) -> None:
        self._bars.console.print(text, soft_wrap=True)


class _Label(ProgressColumn):
    """`pushing  9f2c41aa  `."""

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        name = printable(str(task.fields["name"]))
        if len(name) > _LONGEST_NAME:
            name = f"{name[: _LONGEST_NAME - 1]}…"
        return Text(f"{task.description:<{_VERB_WIDTH}} {name:<{_NAME_WIDTH}}", no_wrap=True, overflow="ellipsis")


class _Figures(ProgressColumn):
    """`1.1/2.5 GiB  109 MiB/s  ETA 0:13`."""

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        parts = [str(task.fields["figures"])]
        speed, left = task.speed, task.time_remaining
        if speed:
            parts.append(format_rate(speed))
            if left is not None:
                minutes, seconds = divmod(int(left), 60)
                parts.append(f"ETA {minutes}:{seconds:02d}")
        return Text("  ".join(parts), no_wrap=True)


def _blob_figures(event: BlobDone) -> str:
    if event.how not in {"pushed", "pulled"} or event.seconds <= 0:
        return format_size(event.size)
    return f"{format_size(event.size)}  {format_rate(event.size / event.seconds)}"
