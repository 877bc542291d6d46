"""Tar archives in the forms that there are, written by hand and from their descriptions alone; and members by chance.

v7 (Unix, 1979), ustar and pax (POSIX.1-2017), GNU (its manual, "Basic Tar Format" and "Storing Sparse Files").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st

BLOCK = 512
END = bytes(2 * BLOCK)

Form = Literal["v7", "ustar", "gnu", "pax"]
FORMS: tuple[Form, ...] = ("v7", "ustar", "gnu", "pax")
Sparse = Literal["", "gnu", "0.0", "0.1", "1.0"]
SPARSE: dict[Form, tuple[Sparse, ...]] = {"v7": (), "ustar": (), "gnu": ("gnu",), "pax": ("0.0", "0.1", "1.0")}

_KINDS = {"file": b"0", "hardlink": b"1", "symlink": b"2", "directory": b"5", "fifo": b"6"}


@dataclass(frozen=True)
class Member:
    """What an archive says of one name; `mtime` in nanoseconds, `regions` where a sparse file has something."""

    path: bytes
    kind: str
    data: bytes = b""
    target: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    sparse: Sparse = ""
    regions: tuple[tuple[int, int], ...] = ()

    @property
    def pieces(self) -> bytes:
        """The data of its regions alone."""
        return b"".join(self.data[offset : offset + size] for offset, size in self.regions)


def archive(form: Form, members: list[Member]) -> bytes:
    """Return a whole archive."""
    return b"".join(_member(form, member) for member in members) + END


def _member(form: Form, member: Member) -> bytes:
    path = member.path + b"/" if member.kind == "directory" else member.path
    data = member.data if member.kind == "file" else b""
    before = b""
    if form == "v7":
        kind = b"\0" if member.kind in ("file", "directory") else _KINDS[member.kind]
        return _header(path, kind, member, len(data), member.target, b"") + padded(data)
    kind = _KINDS[member.kind]
    if form == "ustar":
        name, prefix = _split(path)
        return _header(name, kind, member, len(data), member.target, b"ustar\x0000", prefix) + padded(data)
    if form == "gnu":
        if len(member.target) > 100:
            before += _extended(b"K", member.target + b"\0")
        if len(path) > 100:
            before += _extended(b"L", path + b"\0")
        magic, tail, size = b"ustar  \0", b"", len(data)
        if member.sparse:
            kind, data, size = b"S", member.pieces, len(member.pieces)
            tail, blocks = _gnu_map(member)
            data_blocks = blocks + padded(data)
        else:
            data_blocks = padded(data)
        return before + _header(path[:100], kind, member, size, member.target[:100], magic, tail=tail) + data_blocks
    return _pax(path, kind, member, data)


def _pax(path: bytes, kind: bytes, member: Member, data: bytes) -> bytes:
    records: list[tuple[bytes, bytes]] = []
    name = path
    size = len(data)
    if member.sparse:
        size, name = len(data), b"GNUSparseFile.0/file"
        data = member.pieces
        if member.sparse == "1.0":
            numbers = [len(member.regions), *(number for region in member.regions for number in region)]
            data = padded(b"".join(b"%d\n" % number for number in numbers)) + data
            records = [
                (b"GNU.sparse.major", b"1"),
                (b"GNU.sparse.minor", b"0"),
                (b"GNU.sparse.name", path),
                (b"GNU.sparse.realsize", b"%d" % size),
            ]
        else:
            records = [(b"GNU.sparse.size", b"%d" % size), (b"GNU.sparse.numblocks", b"%d" % len(member.regions))]
            if member.sparse == "0.0":
                name = path
                for offset, length in member.regions:
                    records += [(b"GNU.sparse.offset", b"%d" % offset), (b"GNU.sparse.numbytes", b"%d" % length)]
            else:
                numbers = [number for region in member.regions for number in region]
                records += [
                    (b"GNU.sparse.name", path),
                    (b"GNU.sparse.map", b",".join(b"%d" % number for number in numbers)),
                ]
        size = len(data)
    if len(name) > 100:
        records.append((b"path", name))
    if len(member.target) > 100:
        records.append((b"linkpath", member.target))
    if any(not _is_utf8(value) for _, value in records):
        records.insert(0, (b"hdrcharset", b"BINARY"))
    records += [(key, b"%d" % value) for key, value in ((b"uid", member.uid), (b"gid", member.gid)) if value >= 8**7]
    if member.mtime % 10**9 or not 0 <= member.mtime < 8**11 * 10**9:
        seconds, fraction = divmod(member.mtime, 10**9)
        records.append((b"mtime", b"%d.%09d" % (seconds, fraction) if fraction else b"%d" % seconds))
    before = _extended(b"x", b"".join(record(*one) for one in records)) if records else b""
    return before + _header(name[:100], kind, member, size, member.target[:100], b"ustar\x0000") + padded(data)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record: its length counts itself."""
    rest = len(key) + len(value) + 3
    size = rest + len(str(rest))
    return b"%d %s=%s\n" % (rest + len(str(size)), key, value)


def padded(data: bytes) -> bytes:
    """Return data in whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def _extended(kind: bytes, data: bytes) -> bytes:
    name = b"././@LongLink" if kind in b"LK" else b"PaxHeaders/x"
    magic = b"ustar  \0" if kind in b"LK" else b"ustar\x0000"
    return _header(name, kind, Member(name, "file"), len(data), b"", magic) + padded(data)


def _gnu_map(member: Member) -> tuple[bytes, bytes]:
    """Return the last 167 bytes of a header of type `S`, from byte 345 on, and the blocks that continue its map."""
    entries = [_number(offset, 12) + _number(size, 12) for offset, size in member.regions]
    blocks = []
    rest = entries[4:]
    while rest:
        blocks.append(
            (b"".join(rest[:21]).ljust(504, b"\0") + (b"\1" if len(rest) > 21 else b"\0")).ljust(BLOCK, b"\0")
        )
        rest = rest[21:]
    tail = bytes(41) + b"".join(entries[:4]).ljust(96, b"\0") + bytes([bool(blocks)])
    return (tail + _number(len(member.data), 12)).ljust(167, b"\0"), b"".join(blocks)


def _header(
    name: bytes,
    kind: bytes,
    member: Member,
    size: int,
    target: bytes,
    magic: bytes,
    prefix: bytes = b"",
    *,
    tail: bytes = b"",
) -> bytes:
    # PAX says in records what its header has no room for.
    is_posix = magic.startswith(b"ustar\0")
    uid, gid = (0 if is_posix and value >= 8**7 else value for value in (member.uid, member.gid))
    seconds = member.mtime // 10**9
    if is_posix and not 0 <= seconds < 8**11:
        seconds = 0
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            _number(member.mode, 8),
            _number(uid, 8),
            _number(gid, 8),
            _number(size, 12),
            _number(seconds, 12),
            b" " * 8,
            kind,
            target.ljust(100, b"\0"),
            magic.ljust(8, b"\0"),
            bytes(64),  # uname and gname
            _number(0, 8) * 2 if magic else bytes(16),
            tail or prefix.ljust(167, b"\0"),
        )
    )
    assert len(block) == BLOCK, len(block)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _number(value: int, size: int) -> bytes:
    if 0 <= value < 8 ** (size - 1):
        return b"%0*o\0" % (size - 1, value)
    # GNU's base 256: the first bit says so, the rest is two's complement.
    return (value % 256**size | 1 << (8 * size - 1)).to_bytes(size, "big")


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Return name and prefix of a ustar header."""
    if len(path) <= 100:
        return path, b""
    at = path.rindex(b"/", 0, 156)
    return path[at + 1 :], path[:at]


# --- by chance

_ALPHABET = st.sampled_from([b"a", b"b", b"-", b".x", b"\xc3\xa4", b"\xff", b" ", b"=", b"long" * 8])
_NAMES = st.lists(_ALPHABET, min_size=1, max_size=4).map(b"".join)


@st.composite
def trees(draw: st.DrawFn, form: Form) -> list[Member]:
    """Return the members of an archive: a name once, every directory before what is in it, links to what is there."""
    members: list[Member] = []
    directories = [b""]
    files: list[bytes] = []
    names: set[bytes] = set()
    for _ in range(draw(st.integers(1, 12))):
        path = b"/".join(filter(None, (draw(st.sampled_from(directories)), draw(_NAMES))))
        kind = draw(st.sampled_from(["file", "file", "file", "directory", "symlink", "hardlink", "fifo"]))
        if path in names or (kind == "hardlink" and not files) or (kind == "fifo" and form == "v7"):
            continue
        if not _fits(form, path + b"/"):
            continue
        names.add(path)
        member = _facts(draw, form, path, kind)
        if kind == "directory":
            directories.append(path)
        elif kind == "file":
            files.append(path)
            member = _filled(draw, form, member)
        elif kind == "hardlink":
            target = draw(st.sampled_from(files))
            member = Member(path, kind, target=target, mtime=member.mtime)
        elif kind == "symlink":
            member = Member(path, kind, b"", draw(_NAMES), 0o777, member.uid, member.gid, member.mtime)
        members.append(member)
    return members


def _fits(form: Form, path: bytes) -> bool:
    if form == "v7":
        return len(path) <= 99
    if form == "ustar":
        return len(path) <= 100 or any(
            byte == 0x2F and 0 < at <= 155 and 1 <= len(path) - at - 1 <= 100 for at, byte in enumerate(path[:-1])
        )
    return True


def _facts(draw: st.DrawFn, form: Form, path: bytes, kind: str) -> Member:
    owner = st.integers(0, 8**7 - 1)
    seconds = st.integers(0, 8**11 - 1)
    if form in ("gnu", "pax"):
        owner = st.one_of(owner, st.integers(8**7, 2**31))
        seconds = st.one_of(seconds, st.integers(-(2**31) + 1, -1))
    mtime = draw(seconds) * 10**9
    if form == "pax" and mtime >= 0:
        mtime += draw(st.sampled_from([0, 1, 5 * 10**8, 999_999_999]))
    return Member(path, kind, mode=draw(st.integers(0, 0o7777)), uid=draw(owner), gid=draw(owner), mtime=mtime)


def _filled(draw: st.DrawFn, form: Form, member: Member) -> Member:
    sparse: Sparse = draw(st.sampled_from(["", "", *SPARSE[form]]))
    if not sparse:
        size = draw(st.sampled_from([0, 1, 511, 512, 513, 5000, 70_000]))
        return _with(member, draw(st.binary(min_size=1, max_size=9)) * size, "", ())
    # Whole blocks, as file systems have them, and perhaps a piece at the end.
    regions: list[tuple[int, int]] = []
    at = 0
    for hole, size in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), max_size=30)):
        regions.append((at + hole * BLOCK, size * BLOCK))
        at += (hole + size) * BLOCK
    end = at + draw(st.integers(0, 20)) * BLOCK
    # A file whose end is a hole has an empty region there.
    regions.append((end, 0))
    data = bytearray(end)
    for number, (offset, size) in enumerate(regions):
        data[offset : offset + size] = bytes([number + 1]) * size
    return _with(member, bytes(data), sparse, tuple(regions))


def _with(member: Member, data: bytes, sparse: Sparse, regions: tuple[tuple[int, int], ...]) -> Member:
    return Member(
        member.path, member.kind, data, b"", member.mode, member.uid, member.gid, member.mtime, sparse, regions
    )
