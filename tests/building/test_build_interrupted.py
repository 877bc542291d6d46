"""Ctrl-C at any line of a build: it ends the build, every thread has ended, and nothing half-written is left.

For a caller in a process that goes on, as in a REPL: when `build` has raised there is no thread of fastoci's, and when
the error is forgotten there is no descriptor either. The command's own handling of signals is
tests/cli/test_cli_signals.py's, and real signals to a command are tests/e2e/test_interruptions.py's.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import random
import signal
import tarfile
import threading
import time
import traceback

import pytest

from fastoci.build import build
from fastoci.layer.options import LayerOptions, Split
from fastoci.store import writeout
from oracles.interruption import interrupted_at
from oracles.longform import LONG, times
from oracles.nasty import make_tree
from oracles.threads import our_threads


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("interrupted") / "tree", 40)


def assert_nothing_is_half_written(layout, where):
    for above, _, files in os.walk(layout):
        for name in files:
            path = os.path.join(above, name)
            with open(path, "rb") as file:
                data = file.read()
            if name == "image.tar":
                # It appears whole, or not at all; its index is the last thing in it.
                with tarfile.open(path) as archive:
                    assert {"index.json", "manifest.json"} <= set(archive.getnames())
            elif os.path.basename(above) == "sha256":
                assert hashlib.sha256(data).hexdigest() == name, f"{path} after an interruption at {where}"
            elif name in ("index.json", "oci-layout"):
                json.loads(data)
            else:
                pytest.fail(f"{path} is left after an interruption at {where}")


def run(tree, path, outputs, moment=None, **options):
    """Build; return what lines it came to, and what it raised."""
    caught = None
    with interrupted_at(moment) as lines:
        try:
            build(
                [tree],
                tags=["demo:1"],
                outputs=[output.format(path) for output in outputs],
                layer=LayerOptions(threads=2),
                **options,
            )
        except BaseException as error:
            caught = error
    return lines, caught


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


OUTPUTS = {
    "a layout": ["oci:{}/image.oci"],
    "an archive": ["docker-archive:{}/image.tar"],
    "both": ["oci:{}/image.oci", "oci-archive:{}/image.tar"],
}


# A stream that was opened and has no name yet is closed when the error is forgotten, which Python warns of.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.timeout(times(300, 7200))
@pytest.mark.parametrize("outputs", OUTPUTS.values(), ids=OUTPUTS.keys())
def test_at_any_line(tree, tmp_path, outputs):
    check(tree, tmp_path, outputs, 150)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.timeout(times(300, 7200))
def test_at_any_line_of_a_comparison(tree, tmp_path):
    base = make_tree(tmp_path / "base", 40)
    # What is imported for the first time is no line of the next builds.
    build([tree], diff=str(base), outputs=[f"oci:{tmp_path}/first.oci"])
    check(tree, tmp_path, OUTPUTS["a layout"], 40, diff=str(base))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.timeout(times(300, 7200))
def test_at_any_line_of_a_split(tree, tmp_path):
    build([tree], split=Split(count=3), outputs=[f"oci:{tmp_path}/first.oci"])
    check(tree, tmp_path, OUTPUTS["a layout"], 40, split=Split(count=3))


def check(tree, tmp_path, outputs, samples, **options):
    """Interrupt a build at some moments, all of them in the long form."""
    (tmp_path / "whole").mkdir()
    lines, caught = run(tree, tmp_path / "whole", outputs, **options)
    assert caught is None
    assert len(lines.counts) > 500
    # The first time and the second, at which many a `with` is left.
    moments = [(place, time) for place, count in lines.counts.items() for time in (1, 2) if time <= count]
    if not LONG:
        moments = random.Random(20261125).sample(moments, samples)
    come_to = 0
    for number, moment in enumerate(moments):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        before = descriptors()
        lines, caught = run(tree, directory, outputs, moment, **options)
        left = our_threads()
        # What waits for another thread may be passed without waiting.
        assert isinstance(caught, KeyboardInterrupt) if lines.interrupted else caught is None, moment
        assert left == [], moment
        come_to += lines.interrupted
        if caught is not None:
            traceback.clear_frames(caught.__traceback__)
            del caught
        if descriptors() != before:
            gc.collect()
        assert descriptors() == before, moment
        assert_nothing_is_half_written(directory, moment)
    assert come_to > 0.9 * len(moments)


class Interrupter:
    """Sends this process a SIGINT after some time, and has it raise KeyboardInterrupt only where that is wanted."""

    def __init__(self, seconds):
        self.wanted = True
        self.sent = None
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        self._timer = threading.Timer(seconds, self._send)
        self._timer.start()

    def _send(self):
        self.sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    def _interrupt(self, number, frame):
        if self.wanted:
            raise KeyboardInterrupt

    def end(self):
        self._timer.cancel()
        self._timer.join()
        signal.signal(signal.SIGINT, self._before)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
# What comes within a weak reference's callback, Python itself drops and tells of.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(times(300, 7200))
def test_a_signal_at_any_moment(tree, tmp_path, monkeypatch):
    """In a process that goes on: a thousand times in the long form."""
    monkeypatch.setattr(writeout, "STEP", 20_000)  # what is written out beside the writing is interrupted, too
    rng = random.Random(20261125)
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        assert run(tree, tmp_path / "whole", OUTPUTS["a layout"])[1] is None
        seconds.append(time.monotonic() - started)
    interrupted = 0
    slowest = 0.0
    for number in range(times(50, 1000)):
        directory = tmp_path / f"{number}"
        before = descriptors()
        caught = None
        interrupter = Interrupter(rng.uniform(0, min(seconds)))
        try:
            build([tree], outputs=[f"oci:{directory}/image.oci"], layer=LayerOptions(threads=2))
            interrupter.wanted = False
        except KeyboardInterrupt as error:
            slowest = max(slowest, time.monotonic() - interrupter.sent)
            caught = error
        interrupter.wanted = False
        interrupter.end()
        # A thread whose start was interrupted before there was one stands in Python's list for good.
        assert [thread for thread in threading.enumerate() if "fastoci" in thread.name and thread.is_alive()] == []
        if caught is not None:
            interrupted += 1
            traceback.clear_frames(caught.__traceback__)
            del caught
        if descriptors() != before:
            gc.collect()
        assert descriptors() == before, number
        assert_nothing_is_half_written(directory, number)
    assert interrupted > times(50, 1000) // 4
    assert slowest < 5, "no more is waited for than a sync that is under way"
