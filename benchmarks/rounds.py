"""How often what is run, on which trees.

FASTOCI_BENCH=short         trees of 60 MB at most, few rounds: for CI; nothing is judged by them
FASTOCI_BENCH_DIR=DIR       where the trees and the outputs are; by default below the system's temporary directory
FASTOCI_BENCH_ROUNDS=N      how many rounds; by default 7, and 1 in the short form
FASTOCI_BENCH_TREES=A,B     only these trees
"""

from __future__ import annotations

import os

import trees
from peers import Peer

__all__ = ["CPUS", "ROUNDS", "chosen", "rounds_of"]

SHORT = trees.form() == "short"

ROUNDS = int(os.environ.get("FASTOCI_BENCH_ROUNDS") or (1 if SHORT else 7))

CPUS = len(os.sched_getaffinity(0))

_SLOW_ROUNDS = 3


def chosen(*names: str) -> list[str]:
    """Return those of the trees that are asked for."""
    wanted = os.environ.get("FASTOCI_BENCH_TREES")
    return [name for name in names if not wanted or name in wanted.split(",")]


def rounds_of(peer: Peer, tree: str) -> int:
    """Return how many rounds a peer runs on a tree; those that take minutes run fewer, and one short tree is enough."""
    if peer.left_out(tree) is not None:
        return 0
    if not peer.slow:
        return ROUNDS
    if SHORT:
        return 1 if tree == "weights" else 0
    return min(ROUNDS, _SLOW_ROUNDS)
