"""From a tree to a layer with its digests: fastoci's command line, and its peers beside it in the same run.

Each tool is started as a process of its own on a tree that was just read once, with nothing left to be written back
to the disk. The tools run in turn, round after round, so that what slows the machine down for a while slows all of
them. Nothing here fails for being slow: the tables at the end say what was reached. `rounds.py` says what can be set.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable

import pytest

import trees
from conftest import Pack
from peers import Fastoci, Peer, Pipeline
from peers_images import ALL
from records import Records
from rounds import CPUS, ROUNDS, SHORT, chosen, rounds_of
from trees import Tree

pytestmark = pytest.mark.timeout(3600)

THREADS = (1, 2, 3, 8)
TreeOf = Callable[[str], Tree]

LEVELS: tuple[Peer, ...] = (
    *(Fastoci(level=level) for level in (1, 2, 3)),
    *(Pipeline("igzip", f"-{level}", "-T", str(CPUS)) for level in (1, 2, 3)),
    *(Pipeline("zstd", f"-{level}", f"-T{CPUS}") for level in (1, 2, 3)),
    *(Pipeline("pigz", f"-{level}", "-p", str(CPUS)) for level in (1, 2, 4)),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.function is test_pack:
        tools: tuple[Peer, ...] = ALL
        names = chosen(*trees.NAMES)
    elif metafunc.function is test_levels:
        # What is measured in the short form is whether all of it runs.
        tools = LEVELS[::3] if SHORT else LEVELS
        names = chosen("mixed")
    else:
        return
    cases = [
        pytest.param(name, tool, id=f"{name}-{number}-{tool.name}")
        for name in names
        for number in range(ROUNDS)
        for tool in tools
        if number < rounds_of(tool, name)
    ]
    metafunc.parametrize(("name", "tool"), cases)


@pytest.fixture(scope="module")
def digests() -> dict[str, str]:
    """The digest that fastoci gave first, by the tree's name."""
    return {}


@pytest.mark.parametrize("threads", THREADS)
def test_every_number_of_threads_gives_the_same_digest(
    threads: int, tree_of: TreeOf, directory: str, pack: Pack, digests: dict[str, str]
) -> None:
    run = pack(Fastoci(threads), tree_of("mixed"))
    assert run.result.digest is not None
    assert run.result.digest == digests.setdefault("mixed", run.result.digest)


def test_the_layer_is_one_gzip_member_with_the_digests_it_names(tree_of: TreeOf, directory: str, pack: Pack) -> None:
    fastoci = Fastoci()
    pack(fastoci, tree_of("mixed"))
    manifest = fastoci.manifest(directory)
    with open(fastoci.blob(directory, manifest["config"]), "rb") as file:
        diff_ids = json.load(file)["rootfs"]["diff_ids"]
    inflater = zlib.decompressobj(wbits=31)
    digest, diff_id = hashlib.sha256(), hashlib.sha256()
    (layer,) = manifest["layers"]
    with open(fastoci.blob(directory, layer), "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
            diff_id.update(inflater.decompress(data))
    assert inflater.eof
    assert not inflater.unused_data
    assert layer["digest"] == f"sha256:{digest.hexdigest()}"
    assert diff_ids == [f"sha256:{diff_id.hexdigest()}"]


def test_pack(name: str, tool: Peer, tree_of: TreeOf, records: Records, pack: Pack, digests: dict[str, str]) -> None:
    tree = tree_of(name)
    run = pack(tool, tree)
    records.add(records.packing, tree, tool.name, run)
    if isinstance(tool, Fastoci):
        assert run.result.digest == digests.setdefault(name, run.result.digest or "")


def test_levels(name: str, tool: Peer, tree_of: TreeOf, records: Records, pack: Pack) -> None:
    """Level beside level: who gives as few bytes in what time."""
    tree = tree_of(name)
    records.add(records.levels, tree, tool.name, pack(tool, tree))
