"""How a tree is divided over layers, slowly: docs/layer-format.md, "Split trees", read a second time."""

from __future__ import annotations

from oracles.snapshot import Tree

RECORD = 512
FINENESS = 32
LEAST_PART = 128
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
    total = sum(own.values())
    if count:
        limit = RECORD
        while limit <= total // count // 2:
            limit *= 2
    cuts = _places(tree, paths, own, whole, limit)
    cuts = _joined(
        cuts, own, paths, limit // max(1, min(count * count // 8, LEAST_PART)) if count else limit, count or 1
    )
    if count:
        cuts = _joined(cuts, own, paths, 1 << 62, count)
    return _parts(tree, paths, firsts, sorted(place for _, place in cuts))


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
    """Return (rank, place) of every place to cut, the first to go first."""
    records = max(limit // RECORD, 1)
    threshold = _BITS if records <= FINENESS else _BITS // records * FINENESS
    cuts = []
    for place, path in enumerate(paths):
        if place == 0 or path.rpartition(b"/")[0] == paths[place - 1]:
            continue
        rank = path_hash(path) >> min(_power(whole[path]), _power(limit))
        if rank < threshold or own[paths[place - 1]] >= limit // 4:
            cuts.append((rank, place))
    return sorted(cuts, reverse=True)


def _joined(
    cuts: list[tuple[int, int]], own: dict[bytes, int], paths: list[bytes], limit: int, wanted: int
) -> list[tuple[int, int]]:
    left = list(cuts)
    for cut in cuts:
        if len(left) < wanted:
            break
        places = [place for _, place in left]
        before = max((place for place in places if place < cut[1]), default=0)
        after = min((place for place in places if place > cut[1]), default=len(paths))
        if sum(own[path] for path in paths[before:after]) <= limit:
            left.remove(cut)
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
