"""How a tree is divided over layers, slowly: docs/layer-format.md, "Split trees", read a second time."""

from __future__ import annotations

from collections.abc import Collection

from oracles.snapshot import Tree

RECORD = 512
FINENESS = 32
LEAST_PART = 4
_BITS = (1 << 64) - 1

Part = dict[bytes, bool]
"""The paths in a layer, and of each whether it is a directory that the layer only passes through."""


def path_hash(path: bytes) -> int:
    """Return the hash of a path, its names each followed by a slash: FNV-1a of 64 bits, MurmurHash3's finalizer."""
    value = 0xCBF29CE484222325
    for byte in path + b"/":
        value = (value ^ byte) * 0x100000001B3 & _BITS
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * factor & _BITS
    return value ^ value >> 33


def divide(tree: Tree, *, limit: int = 0, count: int = 0) -> list[Part]:
    """Return what is in each layer, lowest first."""
    paths = sorted(tree, key=lambda path: path + b"/" if tree[path].kind == "directory" else path)
    firsts = _firsts(tree, paths)
    own = {path: RECORD + (_data(tree, path) if firsts[path] == path else 0) for path in paths}
    whole = dict(own)
    for path in reversed(paths):
        if b"/" in path:
            whole[path.rpartition(b"/")[0]] += whole[path]
    if count == 1:
        limit = 1 << 62
    elif count:
        limit = _limit(own.values(), count)
    cuts = _made(_places(tree, paths, own, whole, limit), own, paths, limit)
    if count:
        cuts = _joined(cuts, own, paths, count)
    return _parts(tree, paths, firsts, cuts)


def _limit(sizes: Collection[int], count: int) -> int:
    """Return the limit for a number of layers: what it is for the sizes as they are, if none is over it."""
    limit = _scale(sum(sizes), count)
    while (smaller := _scale(sum(min(size, limit) for size in sizes), count)) < limit:
        limit = smaller
    return limit


def _scale(total: int, count: int) -> int:
    share = total // count
    share += share // 16 * min(count, 12)
    steps = (step for power in range(60) for step in (RECORD << power, (RECORD << power) * 3 // 2))
    return next(step for step in steps if step > share)


def _data(tree: Tree, path: bytes) -> int:
    size = len(tree[path].content) if tree[path].kind == "file" else 0
    return -(-size // RECORD) * RECORD


def _firsts(tree: Tree, paths: list[bytes]) -> dict[bytes, bytes]:
    seen: dict[tuple[int, int], bytes] = {}
    return {path: path if tree[path].kind == "directory" else seen.setdefault(tree[path].inode, path) for path in paths}


def _power(size: int) -> int:
    return max((size // RECORD).bit_length() - 1, 0)


def _places(
    tree: Tree, paths: list[bytes], own: dict[bytes, int], whole: dict[bytes, int], limit: int
) -> list[tuple[int, int]]:
    """Return (rank, place) of every place to cut, the first to be tried first."""
    records = max(limit // RECORD, 1)
    threshold = _BITS if records <= FINENESS else _BITS // records * FINENESS
    cuts = []
    for place, path in enumerate(paths):
        if place == 0 or path.rpartition(b"/")[0] == paths[place - 1]:
            continue
        rank = path_hash(path) >> min(_power(whole[path]), _power(limit))
        if rank < threshold or own[paths[place - 1]] >= limit // LEAST_PART:
            cuts.append((rank, place))
    return sorted(cuts)


def _made(places: list[tuple[int, int]], own: dict[bytes, int], paths: list[bytes], limit: int) -> list[int]:
    """Return the places where it is cut, in order."""
    cuts: list[int] = []
    for _, place in places:
        before = max((cut for cut in cuts if cut < place), default=0)
        behind = min((cut for cut in cuts if cut > place), default=len(paths))
        one = sum(own[path] for path in paths[before:place])
        other = sum(own[path] for path in paths[place:behind])
        if one + other > limit and min(one, other) >= limit // LEAST_PART:
            cuts.append(place)
    return sorted(cuts)


def _joined(cuts: list[int], own: dict[bytes, int], paths: list[bytes], wanted: int) -> list[int]:
    left = list(cuts)
    while len(left) >= wanted:
        ends = [0, *left, len(paths)]
        together = [sum(own[path] for path in paths[ends[at] : ends[at + 2]]) for at in range(len(left))]
        del left[max(at for at, size in enumerate(together) if size == min(together))]
    return left


def _parts(tree: Tree, paths: list[bytes], firsts: dict[bytes, bytes], cuts: list[int]) -> list[Part]:
    number = {}
    for place, path in enumerate(paths):
        number[path] = sum(cut <= place for cut in cuts)
        if path.rpartition(b"/")[2].startswith(b".wh."):
            number[path] = 0
        elif firsts[path] != path:
            number[path] = number[firsts[path]]
    members: dict[int, list[bytes]] = {}
    for path in paths:
        members.setdefault(number[path], []).append(path)
    layers: list[set[bytes]] = []
    for key in sorted(members):
        held = set(members[key])
        for path in members[key]:
            while b"/" in path:
                path = path.rpartition(b"/")[0]
                held.add(path)
        layers.append(held)
    return [
        {
            path: tree[path].kind == "directory" and any(path in later for later in layers[at + 1 :])
            for path in sorted(held)
        }
        for at, held in enumerate(layers)
    ] or [{}]
