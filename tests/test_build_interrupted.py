"""Ctrl-C at any moment of a build: it ends the build, every thread ends, and nothing half-written is left.

The moments are calls of fastoci's functions in the calling thread, chosen at random from a seed: 25 of each build, a
thousand in the long form. The command's own handling of signals is tests/cli/test_cli_signals.py's.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import random
import tarfile
import time
import traceback

import pytest

from fastoci.build import build
from fastoci.layer.options import LayerOptions
from oracles.interruption import interrupted_at
from oracles.longform import times
from oracles.nasty import make_tree
from oracles.threads import our_threads


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("interrupted") / "tree", 40)


def wait_for_threads(where):
    """Threads are joined, but where the interruption came in the midst of just that; then they end by themselves."""
    deadline = time.monotonic() + 20
    while our_threads():
        assert time.monotonic() < deadline, f"after an interruption at {where}: {our_threads()}"
        os.sched_yield()


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
                # The lock of a layout has nothing in it.
                assert data == b"", f"{path} after an interruption at {where}"
                assert not name.startswith(".fastoci-"), f"{path} after an interruption at {where}"


def run(tree, path, output, call):
    """Build, and return the calls it ran and whether it was interrupted."""
    interrupted = False
    with interrupted_at(call) as calls:
        try:
            build([tree], tags=["demo:1"], outputs=[output.format(path)], layer=LayerOptions(threads=2))
        except KeyboardInterrupt as error:
            interrupted = True
            caught = error
    if interrupted:
        traceback.clear_frames(caught.__traceback__)
        del caught
    return calls, interrupted


@pytest.mark.timeout(times(300, 7200))
@pytest.mark.parametrize("output", ["oci:{}/image.oci", "docker-archive:{}/image.tar"])
def test_at_any_moment(tree, tmp_path, output):
    (tmp_path / "whole").mkdir()
    calls, _ = run(tree, tmp_path / "whole", output, 0)
    assert calls.count > 100
    rng = random.Random(20261125)
    for number in range(times(25, 1000)):
        directory = tmp_path / f"{number}"
        directory.mkdir()
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        # How often the loops run depends on when blocks come: there may be a few fewer next time.
        found, interrupted = run(tree, directory, output, rng.randrange(1, int(calls.count * 0.97)))
        assert interrupted or found.where == "", f"{found.where} was passed over in silence"
        wait_for_threads(found.where)
        gc.collect()
        # The command ends here, and its descriptors with it.
        assert len(os.listdir("/proc/self/fd")) - before <= 2 * found.handles_descriptors, found.where
        assert_nothing_is_half_written(directory, found.where)
