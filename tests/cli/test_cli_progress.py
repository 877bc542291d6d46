"""Progress in lines: plain, JSON, none; and the console that chooses."""

from __future__ import annotations

import json
import sys
import threading

import pytest

from fastoci import events
from fastoci.cli.console import Console, printable, write_stdout
from fastoci.cli.progress import JsonProgress, NoProgress, PlainProgress, open_progress
from fastoci.cli.tally import Tally

GIB = 1 << 30
LAYER = f"sha256:{'9f2c41aa' * 8}"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# The pictures of the command's contract, as events.
BUILD_AND_PUSH = [
    (0.3, events.PushAllowed("ghcr.io/me/base"), " 0.3s ghcr.io/me/base: push allowed"),
    (0.4, events.LayerScanned("rootfs", 184213, 6657199309, 0.4), " 0.4s scanned rootfs: 184,213 entries, 6.2 GiB"),
    (0.5, events.LayerProgress("rootfs", 0, 6657199309, 0), " 0.5s packing rootfs"),
    (0.6, events.LayerProgress("rootfs", 1 << 20, 6657199309, 1 << 19), None),
    (
        5.3,
        events.LayerPacked("rootfs", "sha256:1", LAYER, 6657199309, 2684354560, 4.8),
        f" 5.3s packed rootfs: 6.2 GiB → 2.5 GiB, {LAYER}",
    ),
    (5.4, events.BlobProgress(LAYER, "rootfs", 0, 2684354560), " 5.4s pushing rootfs: 2.5 GiB"),
    (5.5, events.BlobProgress(LAYER, "rootfs", 1 << 20, 2684354560), None),
    (5.6, events.BlobProgress("place:1", "other", 0, None), " 5.6s pushing other"),
    (5.7, events.BlobProgress("place:1", "other", 1 << 20, None), None),
    (
        5.8,
        events.Resumed("other", 1503238554, None),
        " 5.8s resumed other at 1.4 GiB (first 1.4 GiB packed again, identical)",
    ),
    (5.9, events.Resumed("rootfs", 1503238554, 2684354560), " 5.9s resumed rootfs at 1.4 of 2.5 GiB"),
    (
        14.2,
        events.Retry("rootfs", "connection reset", 0.0, 1503238554),
        "14.2s retry rootfs: connection reset; the registry holds 1.4 GiB, going on",
    ),
    (14.3, events.Retry("rootfs", "503", 1.5), "14.3s retry rootfs: 503; again in 1.5s"),
    (24.1, events.BlobDone(LAYER, "rootfs", 2684354560, "pushed", 18.6), f"24.1s pushed {LAYER} (rootfs)"),
    (24.2, events.BlobDone("sha256:2", "config", 7, "skipped", 0.1), "24.2s skipped sha256:2 (config)"),
    # Alone on its way a blob need not be named.
    (24.3, events.Retry("other", "503", 1.5), "24.3s retry: 503; again in 1.5s"),
    (24.3, events.Retry("a", "503", 0.0, 1 << 20, pulling=True), "24.3s retry: 503; going on at 1 MiB"),
    (24.6, events.Tagged("ghcr.io/me/base:1", "sha256:3", "linux/amd64"), "24.6s tagged ghcr.io/me/base:1"),
    (
        24.6,
        events.PushSummary(2684354560, 0, 0, 1, 4 << 20),
        "24.6s total: sent 2.5 GiB, skipped 0, resumed 1, repeated 4 MiB",
    ),
    (30.0, events.CheckProgress("oci:x", 1 << 20, 2684354560), "30.0s checking oci:x: 2.5 GiB"),
    (31.0, events.CheckProgress("oci:x", 2684354560, 2684354560), None),
    (124.6, events.ImageLoaded("docker", "x:1"), "124.6s loaded x:1 into docker"),
    (125.0, events.Notice("a detail"), None),
    (125.0, events.Warned("all of it", "--chown"), "warning: all of it; --chown"),
    (125.0, events.Warned("all of it"), "warning: all of it"),
]


def test_plain_lines(capsys):
    clock = Clock()
    progress = PlainProgress(verbose=False, clock=clock)
    progress.headline("fastoci 1.0.0 linux/amd64 gzip:1 threads=4")
    assert capsys.readouterr().err == " 0.0s fastoci 1.0.0 linux/amd64 gzip:1 threads=4\n"
    for at, event, line in BUILD_AND_PUSH:
        clock.now = 100.0 + at
        progress.event(event)
        assert capsys.readouterr().err == ("" if line is None else f"{line}\n")


def test_plain_lines_are_escaped(capsys):
    progress = PlainProgress(verbose=True, clock=Clock())
    progress.event(events.Notice("a\x1b[2J\nb"))
    progress.event(events.LayerScanned("\udcff\r", 1, 2, 0.0))
    assert capsys.readouterr().err == " 0.0s a\\x1b[2J\\x0ab\n 0.0s scanned \\xff\\x0d: 1 entries, 2 B\n"


def test_plain_progress_tells_the_whole_every_interval(capsys):
    said = threading.Event()
    real = sys.stderr.write

    class Stream:
        def write(self, text):
            real(text)
            said.set()

        def flush(self):
            pass

    progress = PlainProgress(verbose=False, clock=Clock(), interval=0.01)
    progress.event(events.LayerProgress("rootfs", 1 << 30, 2 << 30, 1 << 29))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", Stream())
        progress.start()
        assert said.wait(10)
        progress.stop()
    assert " 0.0s packed 1.0/2.0 GiB → 512 MiB\n" in capsys.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name == "fastoci-progress"]


def test_the_whole():
    clock = Clock()
    tally = Tally(clock)
    assert tally.status() == "working"
    tally.add(events.LayerScanned("rootfs", 1, 6657199309, 0.1))
    tally.add(events.LayerPacked("rootfs", "x", LAYER, 6657199309, 2684354560, 5.0))
    tally.add(events.BlobProgress(LAYER, "rootfs", 0, 2684354560))
    clock.now += 10
    tally.add(events.BlobProgress(LAYER, "rootfs", 1090519040, 2684354560))
    assert tally.status() == "packed 6.2 GiB → 2.5 GiB; sent 1.0/2.5 GiB, 104 MiB/s, ETA 15s"
    tally.add(events.BlobDone("sha256:other", "other", 5 * GIB, "skipped", 0.0))
    tally.add(events.BlobDone(LAYER, "rootfs", 2684354560, "pushed", 20.0))
    assert tally.status().startswith("packed 6.2 GiB → 2.5 GiB; sent 2.5/2.5 GiB, ")
    assert "ETA" not in tally.status()


def test_the_whole_while_nobody_knows_how_much_it_is():
    clock = Clock()
    tally = Tally(clock)
    tally.add(events.LayerProgress("rootfs", 1 << 30, 2 << 30, 1 << 29))
    assert tally.add(events.BlobProgress("place:1", "rootfs", 0, None))
    clock.now += 10
    tally.add(events.BlobProgress(LAYER, "config", 1 << 20, 1 << 20))
    tally.add(events.BlobProgress("place:1", "rootfs", 95 << 20, None))
    assert tally.status() == "packed 1.0/2.0 GiB → 512 MiB; sent 96 MiB, 9.6 MiB/s"
    tally.add(events.BlobProgress("place:1", "rootfs", 95 << 20, 191 << 20))
    assert tally.status() == "packed 1.0/2.0 GiB → 512 MiB; sent 96.0/192.0 MiB, 9.6 MiB/s, ETA 10s"
    tally.add(events.BlobDone("sha256:1", "rootfs", 191 << 20, "pushed", 20.0, "place:1"))
    assert tally.status() == "packed 1.0/2.0 GiB → 512 MiB; sent 192.0/192.0 MiB, 19 MiB/s"


def test_the_rate_forgets():
    clock = Clock()
    tally = Tally(clock)
    for second in range(100):
        clock.now = 100.0 + second
        tally.add(events.BlobProgress(LAYER, "rootfs", second << 20 if second < 50 else 50 << 20, GIB))
    assert tally.status() == "sent 0.0/1.0 GiB"


def test_json_lines(capsys):
    clock = Clock()
    progress = JsonProgress(verbose=False, clock=clock)
    progress.headline("fastoci 1")
    clock.now += 0.25
    progress.event(events.BlobDone(LAYER, "\x1b", 7, "pushed", 0.1))
    progress.event(events.Notice("hidden"))
    progress.event(events.Warned("look"))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        {"elapsed": 0.0, "event": "start", "message": "fastoci 1"},
        {
            "elapsed": 0.25,
            "event": "blob-done",
            "digest": LAYER,
            "title": "\x1b",
            "size": 7,
            "how": "pushed",
            "seconds": 0.1,
            "key": None,
        },
        {"elapsed": 0.25, "event": "warned", "message": "look", "hint": None},
    ]


@pytest.mark.parametrize(("mode", "err"), [("none", "warning: look\n"), ("silent", "")])
def test_no_progress_is_not_no_warnings(capsys, mode, err):
    progress = open_progress(mode, verbose=True)
    assert isinstance(progress, NoProgress)
    progress.start()
    for event in (events.PushAllowed("x"), events.Notice("x"), events.Warned("look")):
        progress.event(event)
    progress.stop()
    assert capsys.readouterr().err == err


def test_auto_is_plain_where_there_is_no_terminal():
    assert isinstance(open_progress("auto", verbose=False), PlainProgress)


def test_auto_is_plain_on_a_dumb_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(open_progress("auto", verbose=False), PlainProgress)


def test_a_reader_of_stderr_that_has_gone_stops_nothing(monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    PlainProgress(verbose=False).event(events.PushAllowed("x"))


def test_results_are_lines_or_a_document(capsys):
    for json_wanted, expected in ((False, "a\nb\n"), (True, '{\n  "x": "\\udcff"\n}\n')):
        with Console(json=json_wanted, progress="none") as console:
            console.result(["a", "b"], {"x": "\udcff"})
        assert capsys.readouterr() == (expected, "")
    with Console(json=True, quiet=True) as console:
        console.result(["a"])
    assert json.loads(capsys.readouterr().out) == ["a"]


def test_results_are_exact_bytes(capfdbinary):
    write_stdout(["oci:\udcff\x1b:1"])
    assert capfdbinary.readouterr().out == b"oci:\xff\x1b:1\n"


def test_results_are_escaped_on_a_terminal(capfdbinary, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    write_stdout(["oci:\udcff\x1b:1", '{\n  "a": "→"\n}'])
    assert capfdbinary.readouterr().out == b'oci:\\xff\\x1b:1\n{\n  "a": "\xe2\x86\x92"\n}\n'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text ünïcode 漢字 → ok", "plain text ünïcode 漢字 → ok"),
        ("\x00\x1b\x7f\x85\x9b\n\t", "\\x00\\x1b\\x7f\\x85\\x9b\\x0a\\x09"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("\U000e0041", "\\U000e0041"),
        ("\udc80\udcff\ud800", "\\x80\\xff\\ud800"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_the_whole_of_a_check():
    clock = Clock()
    tally = Tally(clock)
    assert tally.add(events.CheckProgress("oci:x", 0, 2 * GIB))
    clock.now += 10
    assert not tally.add(events.CheckProgress("oci:x", GIB, 2 * GIB))
    assert tally.status() == "checked 1.0/2.0 GiB, 102 MiB/s, ETA 10s"
