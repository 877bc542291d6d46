"""`node`: node_modules of a large application, made from a seed.

full form: 100,000 files of 1 to 8 KB in 1,600 packages, and links from .bin and between packages
short form: a tenth of it
"""

from __future__ import annotations

from material import Pools
from planting import Planter

__all__ = ["NodeTree"]

_FILES = 100_000
_PACKAGES = 1_600
_DIRECTORIES = ("lib", "dist", "dist/cjs", "dist/esm/internal", "src", "types")
_KINDS = {".js": ("js", 62), ".d.ts": ("c", 14), ".mjs": ("js", 10), ".json": ("json", 6), ".md": ("text", 8)}


class NodeTree(Planter):
    """Makes the tree.

    Args:
        root: An empty directory.
        pools: The contents.
        scale: 1 for the full form.
    """

    def __init__(self, root: str, pools: Pools, scale: float) -> None:
        super().__init__(root, pools, scale, "fastoci/node")

    def make(self) -> None:
        """Make everything."""
        left = self._count(_FILES)
        packages = self._count(_PACKAGES)
        earlier: list[str] = []
        for number in range(packages):
            # The last package takes what the others left.
            share = max(4, left // (packages - number))
            wanted = left if number == packages - 1 else min(left, self._size(share, 0.8, 4 * share))
            name = self._package(number, wanted)
            if earlier and number % 2:
                target = earlier[self._rng.randrange(len(earlier))]
                self._link(f"node_modules/{name}/node_modules/{target.replace('/', '-')}", f"../../{target}")
            if number % 3 == 0:
                self._link(f"node_modules/.bin/{name.replace('/', '-')}", f"../{name}/lib/cli.js")
            earlier.append(name)
            left -= wanted
        self._times_of_directories()

    def _package(self, number: int, files: int) -> str:
        name = f"@{self._name()}/{self._name()}" if number % 9 == 0 else self._name()
        package = f"node_modules/{name}"
        for file, kind in (("package.json", "json"), ("README.md", "text"), ("LICENSE", "text"))[:files]:
            self._file(f"{package}/{file}", kind, self._file_size())
        suffixes = list(_KINDS)
        weights = [weight for _, weight in _KINDS.values()]
        for _ in range(files - 3):
            (suffix,) = self._rng.choices(suffixes, weights)
            path = f"{package}/{self._rng.choice(_DIRECTORIES)}/{self._name()}{suffix}"
            self._file(path, _KINDS[suffix][0], self._file_size())
        return name

    def _file_size(self) -> int:
        return max(1000, self._size(2400, 0.7, 8000))
