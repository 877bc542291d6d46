"""Golden digests: the bytes of format version 1.

If one of these fails, the bytes of layers have changed: every image that anybody builds again gets another digest. That
is a new format version, never a fix. Raise FORMAT_VERSION in fastoci.layer.options, say in docs/architecture.md and the
changelog what is different, and only then put the new digests here.
"""

from __future__ import annotations

import os
import platform
import random
from pathlib import Path

import pytest

from fastoci.layer.compression import differs_from_golden
from fastoci.layer.options import FORMAT_VERSION, LayerOptions
from fastoci.tree.policy import TreePolicy
from oracles.packing import pack

WHAT_IT_MEANS = "the bytes of layers have changed: raise the format version (see this file's docstring)"

DIFF_ID = "sha256:9fa107cb0974b48ab067e47427e10c7ab032c53c4912fc1b9ae7fcad5c648c0b"
DIGESTS = {
    1: "sha256:f688c0f8b6642dca3667b7820659fa210926fb7395f1ac078e13f30fe82a6feb",
    2: "sha256:e2a1795626dc0c916224160c82960e5368e25a4e2d81bb17f02e133d03e3cfa6",
}
GOLDEN_MACHINES = ("x86_64",)
ROOTS = TreePolicy(uid=0, gid=0)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that is the same for every user, on every file system."""
    root = tmp_path_factory.mktemp("golden") / "tree"
    rng = random.Random(20261123)
    words = [bytes(rng.choices(b"etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(3000)]
    base = os.fsencode(root)

    def write(name: bytes, data: bytes) -> None:
        path = base + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    for number in range(400):
        write(b"lib/%d/words-%03d.txt" % (number % 17, number), b" ".join(rng.choices(words, k=rng.randint(0, 900))))
    write(b"bin/large", b"\n".join(rng.choices(words, k=300_000)))
    write(b"bin/even", rng.randbytes(1_300_000))
    write(b"bin/zeros", bytes(1_000_000))
    write(b"names/\xff not utf-8", b"x")
    write(b"names/" + b"n" * 200 + b"/" + b"m" * 120, b"a path for a PAX header")
    write(b"names/" + b"p" * 100 + b"/" + b"q" * 90, b"a path that splits")
    os.symlink(b"t" * 150, base + b"/names/to-nowhere")
    os.link(base + b"/bin/large", base + b"/lib/large-too")
    for directory, names, files in os.walk(base, topdown=False):
        for name in names + files:
            path = directory + b"/" + name
            os.utime(path, ns=(0, 1_700_000_000_123_456_789), follow_symlinks=False)
            if not os.path.islink(path):
                os.chmod(path, 0o755 if name in names else 0o4755 if b"large" in name else 0o644)
    os.utime(base + b"/names/to-nowhere", ns=(0, -1), follow_symlinks=False)
    return root


def test_the_tar_stream(tree: Path) -> None:
    assert FORMAT_VERSION == 1, "put the digests of the new format version here"
    options = LayerOptions(compression="none")
    assert str(pack(tree, policy=ROOTS, options=options).layer.diff_id) == DIFF_ID, WHAT_IT_MEANS


@pytest.mark.skipif(
    platform.machine() not in GOLDEN_MACHINES, reason="left out: the digests are those of x86-64, ISA-L has others here"
)
@pytest.mark.parametrize("level", sorted(DIGESTS))
def test_the_gzip_stream(tree: Path, level: int) -> None:
    packed = pack(tree, policy=ROOTS, options=LayerOptions(threads=2, level=level))
    assert str(packed.layer.descriptor.digest) == DIGESTS[level], WHAT_IT_MEANS


@pytest.mark.skipif(
    platform.machine() not in GOLDEN_MACHINES, reason="left out: the digests are those of x86-64, ISA-L has others here"
)
def test_this_isal_gives_the_bytes_of_the_format() -> None:
    assert not differs_from_golden(1), WHAT_IT_MEANS
