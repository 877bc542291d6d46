"""Ctrl-C and SIGTERM while a big tree is packed or pushed: over within a second, and nothing is left."""

from __future__ import annotations

import os
import random
import re
import selectors
import shutil
import signal
import time
from typing import TYPE_CHECKING

import pytest
from realparts.processes import until
from realparts.program import Fastoci, program

from oracles.longform import times

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from realparts.registries import Registry

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(scope="module")
def big_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that takes many seconds to pack and no room on the disk: 64 GiB of holes, among many small files."""
    tree = tmp_path_factory.mktemp("big")
    for number in range(3000):
        directory = tree / f"{number % 60:02}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number:04}").write_bytes(b"x" * (number % 5000))
    for number in range(4):
        with (tree / f"zzz-holes-{number}").open("wb") as file:
            file.truncate(16 << 30)
    return tree


def read_until(process: subprocess.Popen[bytes], pattern: str, *, seconds: float = 30) -> str:
    """Read stderr until a line matches, and return what was read."""
    assert process.stderr is not None
    said = b""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while not re.search(pattern, said.decode(errors="replace")):
            assert time.monotonic() < deadline, f"no {pattern!r} in {said!r}"
            if selector.select(0.1):
                piece = os.read(process.stderr.fileno(), 65536)
                assert piece, f"ended without {pattern!r}: {said!r}"
                said += piece
    return said.decode(errors="replace")


def interrupt(process: subprocess.Popen[bytes], number: signal.Signals) -> tuple[float, str]:
    """Send a signal to the whole process group, as a terminal does; return the seconds to its end, and its words."""
    started = time.monotonic()
    os.killpg(process.pid, number)
    stdout, stderr = process.communicate(timeout=30)
    seconds = time.monotonic() - started
    assert stdout == b""
    return seconds, stderr.decode(errors="replace")


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("output", ["oci:{}/image.oci", "docker-archive:{}/image.tar", "-"])
def test_while_packing(output: str, number: signal.Signals, fastoci: Fastoci, big_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    process = fastoci.start("build", big_tree, "-t", "demo:1", "-o", output.format(out), "--progress", "plain")
    if output == "-":
        # A reader that never reads: the writer is stuck in its write when the signal comes.
        read_until(process, "scanned|packing")
        os.killpg(process.pid, number)
        started = time.monotonic()
        until("fastoci", lambda: process.poll() is not None, seconds=10)
        seconds = time.monotonic() - started
        process.communicate()
    else:
        read_until(process, "scanned|packing")
        seconds, said = interrupt(process, number)
        assert "Traceback" not in said
    assert process.returncode == CODES[number]
    assert seconds < 1.0
    files = [path.name for path in out.rglob("*") if path.is_file()]
    assert set(files) <= {"oci-layout", "index.json"}, "nothing half-written is left"
    assert fastoci.leftovers() == []


# The long form: a thousand moments, all from one seed.
MOMENTS = [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
MOMENTS += [round(random.Random(number).uniform(0, 2), 4) for number in range(times(0, 1000))]


@pytest.mark.parametrize("delay", MOMENTS)
def test_at_any_moment(delay: float, fastoci: Fastoci, big_tree: Path, tmp_path: Path) -> None:
    process = fastoci.start(
        "build", big_tree, "-t", "demo:1", "-o", f"oci:{tmp_path}/image.oci", "--threads", "3", "--progress", "plain"
    )
    read_until(process, "fastoci")  # its first line, which is where a user can first see it
    time.sleep(delay)
    seconds, said = interrupt(process, signal.SIGINT)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert seconds < 1.0
    assert [path for path in (tmp_path / "image.oci").rglob("*") if path.parent.name == "sha256"] == []
    assert fastoci.leftovers() == []


@pytest.fixture(scope="module")
def large_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A layout with a layer of 256 MiB that does not compress."""
    top = tmp_path_factory.mktemp("large")
    (top / "tree").mkdir()
    with (top / "tree/random").open("wb") as file:
        for _ in range(16):
            file.write(os.urandom(16 << 20))
    Fastoci(program(), top / "home").ok("build", top / "tree", "-o", f"oci:{top}/image.oci:1")
    yield f"oci:{top}/image.oci:1"
    shutil.rmtree(top)


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_while_pushing(number: signal.Signals, fastoci: Fastoci, debian_registry: Registry, large_image: str) -> None:
    """The upload is under way when the signal comes; the same command afterwards delivers the image."""
    repository = f"interrupted/{number.name.lower()}"
    uploads = debian_registry.storage / "docker/registry/v2/repositories" / repository / "_uploads"
    push = ("push", large_image, f"{debian_registry.host}/{repository}:1", "--progress", "plain")

    process = fastoci.start(*push)
    until(
        "the upload",
        lambda: any(path.stat().st_size > 1 << 20 for path in uploads.glob("*/data")),
        alive=lambda: process.poll() is None,
    )
    seconds, said = interrupt(process, number)
    assert process.returncode == CODES[number], said
    assert "Traceback" not in said
    assert seconds < 1.0
    assert fastoci.leftovers() == []

    fastoci.ok(*push)
    fastoci.ok("validate", f"{debian_registry.host}/{repository}:1")


def test_while_building_straight_into_a_registry(fastoci: Fastoci, debian_registry: Registry, big_tree: Path) -> None:
    process = fastoci.start(
        "build", big_tree, "-t", f"{debian_registry.host}/interrupted/build:1", "--push", "--progress", "plain"
    )
    read_until(process, "scanned")
    time.sleep(0.5)
    seconds, said = interrupt(process, signal.SIGINT)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert seconds < 1.0
    assert fastoci.leftovers() == []
