"""Signals end a command cleanly: what is open is closed, and the exit code says which it was."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from fastoci.cli import allocator

# A command that says when it has begun, waits, and says that it has cleaned up. `slow` makes its cleaning long. It
# waits in short pieces: a signal between Python's last look for one and the system call does not end that.
SCRIPT = """
import sys, time, types
from fastoci.cli import app

def wait() -> None:
    for _ in range(600):
        time.sleep(0.1)

def run() -> None:
    "Wait."
    try:
        print("begun", flush=True)
        wait()
    finally:
        if "slow" in sys.argv:
            print("cleaning", flush=True)
            wait()
        print("cleaned", flush=True)

app.COMMANDS["try"] = "Wait."
sys.modules["fastoci.cli.try"] = types.SimpleNamespace(run=run)
sys.exit(app.run(["try"]))
"""


@pytest.fixture
def start():
    started = []

    def start(*arguments, **kwargs):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **kwargs,
        )
        started.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "terminated"),
    ],
)
def test_a_signal_cleans_up(start, number, code, word):
    process = start()
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("cleaned\n", f"error: {word}\n")
    assert process.returncode == code


def test_a_second_signal_does_not_cut_the_cleaning_short(start):
    process = start("slow")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)


def test_an_insistent_signal_ends_it(start):
    process = start("slow")
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "cleaning\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


def test_nohup_is_respected(start):
    process = start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_the_allocator_is_told_where_there_is_one_to_tell():
    script = "from fastoci.cli.allocator import tune_allocator; print(tune_allocator())"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out in ("True\n", "False\n")


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert allocator.tune_allocator() is False
