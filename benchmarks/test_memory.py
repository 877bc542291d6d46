"""Peak memory on what would show that it grows with the layer: 20 GB, and a million entries. Long form only."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from conftest import Pack
from peers import Fastoci
from records import Records
from rounds import CPUS, SHORT, chosen
from trees import Tree

pytestmark = pytest.mark.timeout(3600)


@pytest.mark.parametrize("threads", [CPUS, 8])
@pytest.mark.parametrize("name", chosen("sparse", "million"))
def test_memory(
    name: str, threads: int, tree_of: Callable[[str], Tree], records: Records, request: pytest.FixtureRequest
) -> None:
    if SHORT:
        # Not a failure of a check: the short form has no such trees, and its table says so.
        records.left_out.append(f"peak memory on {name}, {threads} threads: in the long form only")
        return
    tree = tree_of(name)
    pack: Pack = request.getfixturevalue("pack")
    run = pack(Fastoci(threads), tree, before=os.sync)
    (facts,) = run.result.metadata["fastoci.layers"]
    records.memory.append((tree, threads, facts["entries"], run.usage.memory))
