"""Golden digests: the bytes of a format version.

If one of these fails, the bytes of layers have changed: every image that anybody builds again gets another digest. That
is a new format version, never a fix. Raise FORMAT_VERSION in fastoci.layer.options, say in docs/layer-format.md and the
changelog what is different, and only then put the new digests into tests/oracles/golden.json, which `cd tests && python
-m oracles.golden` prints.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import oracles
from fastoci.layer import compression
from fastoci.layer.compression import differs_from_golden
from fastoci.layer.options import LayerOptions
from oracles import golden
from oracles.nasty import is_root
from oracles.packing import pack

WHAT_IT_MEANS = "the bytes of layers have changed: raise the format version (see this file's docstring)"
FROZEN = golden.frozen()
MACHINE = platform.machine()

of_this_architecture = pytest.mark.skipif(
    MACHINE not in FROZEN, reason=f"left out: there are no golden digests of {MACHINE}, where ISA-L has other kernels"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tree that is the same for everybody."""
    path = str(tmp_path_factory.mktemp("golden") / "tree")
    golden.build(path)
    return path


def test_the_tar_stream(tree: str) -> None:
    options = LayerOptions(compression="none")
    layer = pack(tree, policy=golden.POLICY, options=options).layer
    assert layer.diff_id.hex == FROZEN["everywhere"]["tree, diff_id"], WHAT_IT_MEANS


@of_this_architecture
@pytest.mark.parametrize("level", golden.LEVELS)
@pytest.mark.parametrize("threads", [1, 2, 3, 8, 64])
def test_the_gzip_stream(tree: str, level: int, threads: int) -> None:
    layer = pack(tree, policy=golden.POLICY, options=LayerOptions(threads=threads, level=level)).layer
    assert layer.diff_id.hex == FROZEN["everywhere"]["tree, diff_id"], WHAT_IT_MEANS
    assert layer.descriptor.digest.hex == FROZEN[MACHINE][f"tree, level {level}"], WHAT_IT_MEANS


@pytest.mark.skipif(not is_root(), reason="only root can make devices and owners")
@pytest.mark.parametrize("level", golden.LEVELS)
def test_the_tree_of_root(tmp_path: Path, level: int) -> None:
    golden.build_for_root(str(tmp_path / "tree"))
    options = LayerOptions(threads=2, level=level)
    layer = pack(tmp_path / "tree", golden.DEST, policy=golden.ROOT_POLICY, options=options).layer
    assert layer.diff_id.hex == FROZEN["everywhere"]["tree of root, diff_id"], WHAT_IT_MEANS
    if MACHINE in FROZEN:
        assert layer.descriptor.digest.hex == FROZEN[MACHINE][f"tree of root, level {level}"], WHAT_IT_MEANS


def test_it_is_the_tree_that_reaches_every_rule(tree: str) -> None:
    """What a later hand might take away from the tree without any digest being the wiser is held here."""
    packed = pack(tree, policy=golden.POLICY)
    with tarfile.open(fileobj=io.BytesIO(packed.tar), errors="surrogateescape") as archive:
        members = archive.getmembers()
    keys = {key for member in members for key in member.pax_headers}
    assert {"hdrcharset", "linkpath", "mtime", "path", "SCHILY.xattr.user.B"} <= keys
    assert {member.type for member in members} == {b"0", b"1", b"2", b"5", b"6"}
    assert any(len(member.name) > 100 and "path" not in member.pax_headers for member in members), "one splits"


@of_this_architecture
def test_this_isal_gives_the_bytes_of_the_format() -> None:
    assert not any(differs_from_golden(level) for level in golden.LEVELS), WHAT_IT_MEANS


def test_what_fastoci_compares_isal_with_is_what_is_frozen() -> None:
    known = {
        machine: {level: digests[f"text, level {level}"] for level in golden.LEVELS}
        for machine, digests in FROZEN.items()
        if machine != "everywhere"
    }
    assert known == compression._GOLDEN_DIGESTS, WHAT_IT_MEANS


PACK = """
import sys
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource

class Nowhere:
    def write(self, data):
        pass
    def commit(self, digest):
        pass

options = LayerOptions(threads=int(sys.argv[2]))
layer = pack_tree(TreeSource(sys.argv[1]), TreePolicy(uid=0, gid=0), options, Nowhere(), lambda event: None)
print(layer.descriptor.digest.hex, layer.diff_id.hex)
"""


def test_fifty_processes_give_one_digest(tree: str) -> None:
    def digests(number: int) -> str:
        # What steers Python's own hashing must not show either.
        environment = {**os.environ, "PYTHONHASHSEED": f"{number}"}
        command = [sys.executable, "-c", PACK, tree, f"{(1, 2, 3, 8, 64)[number % 5]}"]
        return subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout

    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) + 1) as processes:
        counted = Counter(processes.map(digests, range(50)))
    assert list(counted.values()) == [50]
    digest, diff_id = next(iter(counted)).split()
    assert diff_id == FROZEN["everywhere"]["tree, diff_id"], WHAT_IT_MEANS
    if MACHINE in FROZEN:
        assert digest == FROZEN[MACHINE]["tree, level 1"], WHAT_IT_MEANS


def test_the_script_that_prints_them_prints_what_is_frozen() -> None:
    """Whoever has to freeze a new version finds the tool in working order."""
    done = subprocess.run(
        [sys.executable, "-m", "oracles.golden"],
        cwd=Path(oracles.__file__).parent.parent,
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(done.stdout) == json.loads(golden.FROZEN.read_text()), WHAT_IT_MEANS
