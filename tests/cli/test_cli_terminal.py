"""The live picture, drawn onto a terminal that is a string."""

from __future__ import annotations

import io
import re
import threading

from rich.console import Console

from fastoci import events
from fastoci.cli.terminal import TerminalProgress

LAYER = f"sha256:{'9f2c41aa' * 8}"
DONE = [
    events.Warned("all 184,213 entries belong to 1001:127", "--chown 0:0 makes them root's"),
    events.LayerScanned("rootfs", 184213, 6657199309, 0.4),
    events.LayerPacked("rootfs", "sha256:1", LAYER, 6657199309, 2684354560, 5.3),
    events.PushAllowed("ghcr.io/me/base"),
    events.BlobDone(LAYER, "9f2c41aa", 2684354560, "pushed", 23.5),
    events.BlobDone("sha256:2", "config", 1126, "skipped", 0.1),
    events.Tagged("ghcr.io/me/base:1", "sha256:3", "linux/amd64"),
    events.PushSummary(2684354560, 0, 0, 0, 0),
    events.ImageLoaded("docker", "[bold]x[/]"),
    events.Retry("9f2c41aa", "connection \x1b[2Jreset", 1.0, 1503238554),
    events.Notice("a detail"),
]
# Figures right, seconds ending in one column: the picture of the command's contract.
PICTURE = """\
warning: all 184,213 entries belong to 1001:127; --chown 0:0 makes them root's
scanned  rootfs     184,213 entries  6.2 GiB            0.4s
packed   rootfs     ━━━━━━━━━━━━━━━━ 6.2 GiB → 2.5 GiB  5.3s
pushed   9f2c41aa   2.5 GiB  109 MiB/s                 23.5s
skipped  config     1.1 KiB                             0.1s
tagged   ghcr.io/me/base:1  linux/amd64                24.6s
total    sent 2.5 GiB, skipped 0, resumed 0, repeated 0
loaded   [bold]x[/]  into docker                       24.6s
retry    9f2c41aa   connection \\x1b[2Jreset; going on at 1.4 GiB; again in 1.0s
"""


def terminal(*, verbose=False):
    clock = [100.0]
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=False, color_system=None)
    progress = TerminalProgress(verbose=verbose, console=console, clock=lambda: clock[0])
    clock[0] += 24.6
    return progress, stream


def test_finished_lines():
    progress, stream = terminal()
    progress.start()
    for event in DONE:
        progress.event(event)
    progress.stop()
    assert stream.getvalue().strip("\n") == PICTURE.strip("\n")


def test_verbose_lines():
    progress, stream = terminal(verbose=True)
    progress.event(events.PushAllowed("ghcr.io/me/base"))
    progress.event(events.Notice("a \x07 detail"))
    assert "allowed  push to ghcr.io/me/base" in stream.getvalue()
    assert "a \\x07 detail" in stream.getvalue()


def live(*sent):
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=True, color_system=None, legacy_windows=False)
    progress = TerminalProgress(verbose=False, console=console)
    progress.start()
    for event in sent:
        progress.event(event)
    progress._bars.refresh()
    drawn = stream.getvalue()
    progress.stop()
    return drawn, stream.getvalue()[len(drawn) :]


def test_bars():
    drawn, after = live(
        events.LayerProgress("rootfs", 0, 2 << 30, 0),
        events.LayerProgress("rootfs", 1 << 30, 2 << 30, 1 << 29),
        events.BlobProgress(LAYER, "[bold]9f2c\x1b41aa", 1181116006, 2684354560),
        events.CheckProgress("oci:x", 1 << 30, 2 << 30),
    )
    assert "checking oci:x" in drawn
    assert "1.0/2.0 GiB" in drawn
    assert re.search(r"packing  rootfs +━━━━━━━━ ", drawn)
    assert "1 GiB → 512 MiB" in drawn
    assert "pushing  [bold]9f2c\\x1b41aa" in drawn
    assert "1.1/2.5 GiB" in drawn
    # Nothing stays of what was not finished, and the cursor comes back.
    assert "packing" not in after
    assert "\x1b[?25h" in after


def test_a_bar_of_nobody_knows_how_much():
    drawn, _ = live(
        events.BlobProgress("place:1", "rootfs", 0, None),
        events.BlobProgress("place:1", "rootfs", 9961472, None),
        events.Resumed("rootfs", 1503238554, None),
    )
    assert "9.5 MiB sent" in drawn
    assert "resumed  rootfs" in drawn
    assert "at 1.4 GiB (first 1.4 GiB packed again, identical)" in drawn


def test_a_bar_that_is_done_is_not_drawn_again():
    drawn, _ = live(
        events.LayerProgress("rootfs", 0, 100, 0),
        events.LayerPacked("rootfs", "sha256:1", LAYER, 100, 50, 0.1),
        events.BlobProgress(LAYER, "x" * 100, 0, 50),
    )
    _, _, after = drawn.rpartition("packed   rootfs")
    assert "packing" not in after
    assert "pushing  " + "x" * 23 + "… " in after


def test_no_thread_is_left():
    before = threading.active_count()
    live(events.LayerProgress("rootfs", 0, 1, 0))
    assert threading.active_count() == before


def test_colours_and_none(monkeypatch, capsys):
    """https://no-color.org: set to anything but nothing it means none."""
    for value, coloured in ((None, True), ("", True), ("1", False)):
        monkeypatch.setenv("COLORTERM", "truecolor")
        monkeypatch.delenv("NO_COLOR", raising=False) if value is None else monkeypatch.setenv("NO_COLOR", value)
        progress = TerminalProgress(verbose=False)
        progress.start()
        progress.event(events.Warned("careful"))
        progress.stop()
        assert ("\x1b[33m" in capsys.readouterr().err) is coloured
