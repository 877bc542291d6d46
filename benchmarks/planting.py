"""Puts files into a tree that is being made: names, sizes, modes and times come from the seed."""

from __future__ import annotations

import os
import random

from material import Pools

__all__ = ["Planter"]

_EPOCH = 1_600_000_000


class Planter:
    """Makes the entries of a tree.

    Args:
        root: An empty directory.
        pools: The contents.
        scale: 1 for the full form; how many files there are, and how large the large ones.
        seed: Where chance comes from.
    """

    def __init__(self, root: str, pools: Pools, scale: float, seed: str) -> None:
        self._root = root
        self._pools = pools
        self._scale = scale
        self._rng = random.Random(seed)
        self._made: set[str] = set()
        self._number = 0

    def _count(self, full: int) -> int:
        return max(1, round(full * self._scale))

    def _size(self, median: int, spread: float, most: int = 1 << 20) -> int:
        """Return a size from a lognormal distribution; `spread` is that of its logarithm."""
        return max(1, min(most, int(self._rng.lognormvariate(0, spread) * median)))

    def _name(self) -> str:
        start = self._rng.randrange(1 << 16)
        letters = "".join(c for c in self._pools.pool("py")[start : start + 60].decode() if c.isalpha())
        self._number += 1
        return f"{letters[: self._rng.randrange(3, 10)]}{self._number:x}"

    def _file(self, path: str, kind: str, size: int, mode: int = 0o644) -> None:
        data = self._pools.piece(self._rng, kind, size)
        if kind == "elf":
            data = (b"\x7fELF\x02\x01\x01" + bytes(9) + data[16:])[:size]
        self._bytes(path, data, mode)

    def _bytes(self, path: str, data: bytes, mode: int = 0o644) -> None:
        full = self._place(path)
        with open(full, "xb") as file:
            file.write(data)
        os.chmod(full, mode)
        self._stamp(full)

    def _link(self, path: str, target: str) -> None:
        full = self._place(path)
        os.symlink(target, full)
        self._stamp(full)

    def _place(self, path: str) -> str:
        full = os.path.join(self._root, path)
        parent = os.path.dirname(full)
        if parent not in self._made:
            os.makedirs(parent, mode=0o755, exist_ok=True)
            self._made.add(parent)
        return full

    def _stamp(self, path: str) -> None:
        moment = (_EPOCH + self._rng.randrange(100_000_000)) * 1_000_000_000 + self._rng.randrange(1_000_000_000)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)

    def _times_of_directories(self) -> None:
        directories = sorted((found for found, _, _ in os.walk(self._root)), reverse=True)
        for directory in directories:
            os.chmod(directory, 0o755)
            self._stamp(directory)
