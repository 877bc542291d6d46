"""One digest on every x86-64 CPU: a tree packed under qemu-user's models of CPUs with other vector units.

qemu-user has no AVX-512; there the golden digests of tests/layer hold where a machine has it.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from realparts.processes import require

from oracles.golden import GOLDEN_TEXT
from oracles.nasty import BLOCK, mixed_data

PACK = """
import sys
from fastoci.events import Warned
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource

class Nowhere:
    def write(self, data):
        pass
    def commit(self, digest):
        pass

def warned(event):
    if isinstance(event, Warned):
        print("warned", event.message)

for level in (1, 2):
    options = LayerOptions(threads=2, level=level)
    layer = pack_tree(TreeSource(sys.argv[1]), TreePolicy(), options, Nowhere(), warned)
    print(layer.descriptor.digest, layer.diff_id)
"""

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="left out: the digests of other architectures are promised to nobody"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of all kinds, in blocks whole and short."""
    root = tmp_path_factory.mktemp("cpus")
    for number in range(3):
        (root / f"mixed-{number}").write_bytes(mixed_data(BLOCK + 100_000, number))
    (root / "text").write_bytes(GOLDEN_TEXT * 30)
    (root / "zeros").write_bytes(bytes(300_000))
    for number in range(60):
        (root / f"small-{number}").write_bytes(GOLDEN_TEXT[number : number * 50])
    return root


def pack(tree: Path, *emulator: str) -> list[str]:
    """Pack in a process of its own, and return what it said."""
    done = subprocess.run(
        [*emulator, sys.executable, "-c", PACK, str(tree)], capture_output=True, check=False, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def here(tree: Path) -> list[str]:
    """What this machine's own CPU gives."""
    said = pack(tree)
    assert len(said) == 2
    return said


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("Nehalem", id="SSE4.2 alone"),
        pytest.param("Westmere", id="with PCLMULQDQ"),
        pytest.param("SandyBridge", id="AVX"),
        pytest.param("Haswell", id="AVX2"),
    ],
)
def test_a_cpu_with_other_vector_units(model: str, tree: Path, here: list[str]) -> None:
    assert pack(tree, require("qemu-x86_64", "qemu-user"), "-cpu", model) == here


def test_a_cpu_that_is_too_old_draws_a_warning(tree: Path, here: list[str]) -> None:
    """Without SSE4.2 ISA-L has another matcher: the layer is the same, its blob is not, and the user hears of it."""
    said = pack(tree, require("qemu-x86_64", "qemu-user"), "-cpu", "qemu64")
    warnings, layers = said[::2], said[1::2]
    assert all(line.startswith("warned isal compresses to other bytes here") for line in warnings)
    for layer, wanted in zip(layers, here, strict=True):
        (digest, diff_id), (other_digest, same_diff_id) = layer.split(), wanted.split()
        assert diff_id == same_diff_id
        assert digest != other_digest
