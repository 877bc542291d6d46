"""What a layer has to hold that makes one tree of another: slowly, from what is in both, said without fastoci."""

from __future__ import annotations

from oracles.snapshot import Entry, Tree, kept_xattrs

WHITEOUT, OPAQUE = b".wh.", b".wh..wh..opq"


def changes(tree: Tree, base: Tree, *, may_hide: bool = True) -> Tree:
    """Return the entries of that layer, whiteouts included.

    Args:
        tree: What is to come out of it; without sockets.
        base: What is beneath; the same.
        may_hide: Whether a directory may be made opaque.
    """
    chosen = _changed(tree, base)
    gone = _gone(tree, base)
    whiteouts: Tree = {}
    for above, names in gone.items():
        if above:
            chosen.add(above)
        prefix = above + b"/" if above else b""
        survives = {name for name in _names_in(base, above) if prefix + name in tree}
        hides = may_hide and above and len(names) > 1 and not survives
        for name in [OPAQUE] if hides else [WHITEOUT + name for name in names]:
            whiteouts[prefix + name] = Entry("file", 0o644, 0, 0, 0)
    return {path: tree[path] for path in _with_directories_above(chosen)} | whiteouts


def same_facts(one: Entry, other: Entry) -> bool:
    """Return whether a layer says the same of two entries, the other names of their files aside."""
    return (
        (one.kind, one.uid, one.gid, one.mtime) == (other.kind, other.uid, other.gid, other.mtime)
        and (one.kind == "symlink" or one.mode == other.mode)
        and (one.content, one.device) == (other.content, other.device)
        and kept_xattrs(one) == kept_xattrs(other)
    )


def _changed(tree: Tree, base: Tree) -> set[bytes]:
    chosen = {
        path
        for path, entry in tree.items()
        if entry.kind == "directory" and not (path in base and same_facts(entry, base[path]))
    }
    files: dict[tuple[int, int], list[bytes]] = {}
    for path in sorted(tree):
        if tree[path].kind != "directory":
            files.setdefault(tree[path].inode, []).append(path)
    standing: set[tuple[int, int]] = set()
    # By their first names, as a layer orders them.
    for names in sorted(files.values()):
        beneath = {base[name].inode for name in names if name in base}
        stays = (
            all(name in base and same_facts(tree[name], base[name]) for name in names)
            and len(beneath) == 1
            and not beneath & standing
        )
        if stays:
            standing |= beneath
        else:
            chosen.update(names)
    return chosen


def _gone(tree: Tree, base: Tree) -> dict[bytes, list[bytes]]:
    """Return what is gone by the directory that it was in, which both have."""
    gone: dict[bytes, list[bytes]] = {}
    for path in base:
        above, _, name = path.rpartition(b"/")
        if path not in tree and (not above or (above in tree and tree[above].kind == "directory")):
            gone.setdefault(above, []).append(name)
    return gone


def _names_in(tree: Tree, directory: bytes) -> list[bytes]:
    return [path.rpartition(b"/")[2] for path in tree if path.rpartition(b"/")[0] == directory]


def _with_directories_above(paths: set[bytes]) -> set[bytes]:
    found = set(paths)
    for path in paths:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            found.add(path)
    return found
