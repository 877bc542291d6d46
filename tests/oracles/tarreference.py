"""A slow writer of a layer's tar stream, after docs/layer-format.md alone: what the engine must equal to the bit.

Format version 1: entries in the byte order of their paths, directories with their slash; ustar with raw names; PAX
records, sorted by key, only for what ustar cannot say, and 0 in the ustar field of a number that overflows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from oracles.snapshot import Entry, Tree, kept_xattrs

TYPES = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "character": b"3",
    "block": b"4",
    "directory": b"5",
    "fifo": b"6",
}
TRAILER = bytes(1024)


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands in the stream for one entry. `path` is as in the archive, directories with their slash."""

    path: bytes
    headers: bytes
    data: bytes = b""

    @property
    def padded(self) -> bytes:
        """The data, filled up to a whole record."""
        return self.data + bytes(-len(self.data) % 512)


@dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of what is found.

    `prefix` is the destination without slashes at its ends. `above` are the directories on the way to it that are not
    the tree's own, by their paths, as they are to stand in the layer. `modes` makes one mode of another, by the kind of
    the entry.
    """

    uid: int | None = None
    gid: int | None = None
    mtime_limit: int | None = None
    mtime: int | None = None
    modes: Callable[[str, int], int] | None = None
    xattrs: bool = True
    prefix: bytes = b""
    above: Mapping[bytes, Entry] = field(default_factory=dict)


def write_pieces(tree: Tree, rules: Rules = Rules()) -> list[Piece]:
    """Return every entry of a tree (no sockets), in order."""
    prefix = rules.prefix + b"/" if rules.prefix else b""
    placed = {prefix + path: entry for path, entry in tree.items()}
    ordered = sorted(
        (path + b"/" if entry.kind == "directory" else path, entry)
        for path, entry in [*rules.above.items(), *placed.items()]
    )
    pieces: list[Piece] = []
    first: dict[tuple[int, int], bytes] = {}
    for path, found in ordered:
        made_up = path.rstrip(b"/") in rules.above
        entry = found if made_up else _under_policy(found, rules)
        if entry.kind != "directory" and entry.links > 1:
            origin = first.setdefault(entry.inode, path)
            if origin != path:
                pieces.append(Piece(path, _headers(path, entry, "hardlink", origin, {}, rules)))
                continue
        link = entry.content if entry.kind == "symlink" else b""
        xattrs = kept_xattrs(entry) if rules.xattrs else {}
        headers = _headers(path, entry, entry.kind, link, xattrs, rules)
        pieces.append(Piece(path, headers, entry.content if entry.kind == "file" else b""))
    return pieces


def write_tar(pieces: Sequence[Piece]) -> bytes:
    """Return the whole stream."""
    return b"".join(part for piece in pieces for part in (piece.headers, piece.padded)) + TRAILER


def _under_policy(entry: Entry, rules: Rules) -> Entry:
    return replace(
        entry,
        uid=entry.uid if rules.uid is None else rules.uid,
        gid=entry.gid if rules.gid is None else rules.gid,
        mtime_ns=entry.mtime_ns if rules.mtime is None else rules.mtime * 10**9,
        mode=entry.mode if rules.modes is None or entry.kind == "symlink" else rules.modes(entry.kind, entry.mode),
    )


def _headers(path: bytes, entry: Entry, kind: str, link: bytes, xattrs: Mapping[bytes, bytes], rules: Rules) -> bytes:
    mtime = entry.mtime if rules.mtime_limit is None else min(entry.mtime, rules.mtime_limit)
    size = len(entry.content) if kind == "file" else 0
    return header(
        path,
        kind,
        entry.mode,
        entry.uid,
        entry.gid,
        size,
        mtime,
        link=link,
        device=entry.device if kind in ("character", "block") else (0, 0),
        xattrs=xattrs,
    )


def header(
    path: bytes,
    kind: str,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    *,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Return the ustar header of one entry, a PAX header before it where there must be one."""
    pax: dict[bytes, bytes] = {b"SCHILY.xattr." + key: value for key, value in (xattrs or {}).items()}
    texts = list(xattrs or ())
    name, prefix = path, b""
    if len(path) > 100:
        # The last slash at which the first part fits the prefix field; what ends the path is not one to split at.
        at = path[:156].rfind(b"/", 0, len(path) - 1)
        if at > 0 and len(path) - at - 1 <= 100:
            prefix, name = path[:at], path[at + 1 :]
        else:
            pax[b"path"] = path
            texts.append(path)
            name = path[:100]
    if len(link) > 100:
        pax[b"linkpath"] = link
        texts.append(link)
    for key, owner in ((b"uid", uid), (b"gid", gid)):
        if owner > 0o7777777:
            pax[key] = b"%d" % owner
    if not 0 <= mtime < 8**11:
        pax[b"mtime"] = b"%d" % mtime
    if size >= 8**11:
        pax[b"size"] = b"%d" % size
    if not all(_is_utf8(text) for text in texts):
        pax[b"hdrcharset"] = b"BINARY"
    own = _ustar(
        name,
        TYPES[kind],
        mode,
        uid if b"uid" not in pax else 0,
        gid if b"gid" not in pax else 0,
        size if b"size" not in pax else 0,
        mtime if b"mtime" not in pax else 0,
        link[:100],
        prefix,
        device,
    )
    if not pax:
        return own
    records = b"".join(_record(key, value) for key, value in sorted(pax.items()))
    extended = _ustar(b"././@PaxHeader", b"x", 0o644, 0, 0, len(records), 0, b"", b"", (0, 0))
    return extended + records + bytes(-len(records) % 512) + own


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest)
    while size != len(b"%d" % size) + len(rest):
        size = len(b"%d" % size) + len(rest)
    return b"%d" % size + rest


def _ustar(
    name: bytes,
    kind: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    prefix: bytes,
    device: tuple[int, int],
) -> bytes:
    """Return one record (POSIX.1-1988, ustar Interchange Format)."""
    fields = [
        name.ljust(100, b"\0"),
        b"%07o\0" % mode,
        b"%07o\0" % uid,
        b"%07o\0" % gid,
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b" " * 8,
        kind,
        link.ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(32),
        bytes(32),
        b"%07o\0" % device[0],
        b"%07o\0" % device[1],
        prefix.ljust(155, b"\0"),
        bytes(12),
    ]
    record = b"".join(fields)
    assert len(record) == 512
    return record[:148] + b"%06o\0 " % sum(record) + record[156:]


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
