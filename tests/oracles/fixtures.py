"""Fixtures that the tests of the engine, the tree and the layer share."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from oracles.nasty import build
from oracles.snapshot import Tree, packable, snapshot


@dataclass(frozen=True)
class NastyTree:
    """The nasty tree: where it stands, and what is in it for a layer to hold."""

    path: str
    entries: Tree
    sockets: tuple[bytes, ...]

    def without(self, *tops: str) -> Tree:
        """Return its entries but for those beneath some of its top directories."""
        left_out = [top.encode() for top in tops]
        return {path: entry for path, entry in self.entries.items() if path.split(b"/")[0] not in left_out}


@pytest.fixture(scope="session")
def nasty_tree(tmp_path_factory: pytest.TempPathFactory) -> NastyTree:
    """One of everything, built once; nobody may change it."""
    nasty = build(str(tmp_path_factory.mktemp("nasty") / "tree"))
    return NastyTree(nasty.path, packable(snapshot(nasty.path)), nasty.sockets)
