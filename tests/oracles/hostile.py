"""Input that somebody made wrong on purpose: a corpus of tar archives and documents, and changes to good ones.

Each archive of the corpus is one idea, written here by code. The changes are made from a random number generator whose
seed names them.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable

from oracles.tarforms import BLOCK, END, record
from oracles.tarwriting import entry, folder, hardlink, symlink, whiteout, with_checksum

LONGEST = 1 << 16  # of what is not long itself, bytes


def field(header: bytes, start: int, value: bytes) -> bytes:
    """Return an entry whose header has other bytes from `start` on, and the checksum that belongs to them."""
    return with_checksum(header[:start] + value + header[start + len(value) : BLOCK]) + header[BLOCK:]


def base256(number: int, size: int = 12) -> bytes:
    """Return a field as GNU writes what octal digits have no room for."""
    return bytes([0x80 if number >= 0 else 0xFF]) + number.to_bytes(size - 1, "big", signed=True)


def sparse(map_: bytes, *, data: bytes = b"", size: int = 0) -> bytes:
    """Return a sparse entry of GNU's PAX version 1.0."""
    map_ += bytes(-len(map_) % BLOCK)
    return entry(
        "sparse",
        data=map_ + data,
        pax={
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.realsize": b"%d" % size,
            b"GNU.sparse.name": b"sparse",
        },
    )


def deep(depth: int) -> bytes:
    """Return a path that goes down so many directories of one letter."""
    return b"/".join([b"d"] * depth)


FILE = entry("f", data=b"data")

# Each is tried whole, with the end of an archive behind it.
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no header": lambda: b"\1" * BLOCK,
    "cut in a header": lambda: FILE[:300],
    "cut in data": lambda: entry("f", size=5000),
    "a size of 8 GiB and no data": lambda: entry("f", size=(1 << 33) - 1),
    "a size in base 256": lambda: field(FILE, 124, base256(1 << 62)),
    "a size beyond 64 bits": lambda: field(FILE, 124, base256(1 << 80)),
    "a negative size": lambda: field(FILE, 124, base256(-1)),
    "a size that is no number": lambda: field(FILE, 124, b"zzzzzzzzzzz\0"),
    "a size with an eight": lambda: field(FILE, 124, b"00000000008\0"),
    "a negative size in PAX": lambda: entry("f", pax={b"size": b"-1"}),
    "a size without end in PAX": lambda: entry("f", pax={b"size": b"9" * 5000}),
    "a size in PAX that is no digit": lambda: entry("f", pax={b"size": "²".encode()}),
    "a time without end": lambda: entry("f", pax={b"mtime": b"9" * 5000}),
    "a time that is not finite": lambda: entry("f", pax={b"mtime": b"inf"}),
    "a time long ago": lambda: entry("f", pax={b"mtime": b"-99999999999"}),
    "a time with a long fraction": lambda: entry("f", pax={b"mtime": b"1." + b"3" * 5000}),
    "a wrong checksum": lambda: FILE[:148] + b"000000\0 " + FILE[156:],
    "a checksum without digits": lambda: FILE[:148] + b"        " + FILE[156:],
    "a PAX record without a length": lambda: entry("x", b"x", b" path=a\n") + FILE,
    "a PAX record of length 0": lambda: entry("x", b"x", b"0 path=a\n") + FILE,
    "a PAX record longer than its header": lambda: entry("x", b"x", b"999 path=a\n") + FILE,
    "a PAX record with a long length": lambda: entry("x", b"x", b"9" * 5000 + b" path=a\n") + FILE,
    "a PAX record without a key": lambda: entry("x", b"x", record(b"", b"a")) + FILE,
    "a PAX key that is not UTF-8": lambda: entry("f", pax={b"\xff\xfe": b"\xff"}),
    "PAX after PAX": lambda: entry("x", b"x", record(b"path", b"a")) * 300 + FILE,
    "PAX that belongs to PAX": lambda: entry("x", b"x", record(b"size", b"5000"), pax={b"size": b"99999"}) + FILE,
    "PAX for nothing": lambda: entry("x", b"x", record(b"path", b"a")),
    "global PAX": lambda: entry("g", b"g", record(b"path", b"a") + record(b"size", b"7")) + FILE,
    "a megabyte of PAX": lambda: entry("f", pax={b"comment": b"x" * (1 << 20)}),
    "two thousand records": lambda: entry("f", pax={b"k%d" % number: b"" for number in range(2000)}),
    "a GNU long name": lambda: entry("L", b"L", b"n" * 5000 + b"\0") + FILE,
    "a GNU long name after another": lambda: entry("L", b"L", b"n\0") * 300 + FILE,
    "a GNU long name of nothing": lambda: entry("L", b"L", b"\0") + FILE,
    "a GNU long link": lambda: entry("K", b"K", b"n" * 70_000) + symlink("l", "x"),
    "a name of nothing": lambda: entry(""),
    "a name with a NUL": lambda: entry("f", pax={b"path": b"a\0b"}),
    "a name that is not UTF-8": lambda: entry(b"\xff\xfe/\x80", data=b"x"),
    "a name of control characters": lambda: entry(b"\x1b[2J\r\n\x07"),
    "a name that leads up": lambda: entry("../../f", data=b"x"),
    "an absolute name": lambda: entry("/etc/passwd", data=b"x"),
    "a path of 100,000 directories": lambda: entry("f", pax={b"path": deep(100_000)}),
    # No deeper: Python 3.11 removes a tree by a call for each level, and pytest removes what tests leave that way.
    "a path of 700 directories": lambda: entry("f", pax={b"path": deep(700)}),
    "directories deeper and deeper": lambda: b"".join(
        folder("d", pax={b"path": deep(depth)}) for depth in range(1, 150)
    ),
    "a link to itself": lambda: symlink("l", "l") + entry("l/f"),
    "links in a circle": lambda: symlink("a", "b") + symlink("b", "a") + entry("a/f"),
    "links that double": lambda: (
        b"".join(symlink(f"l{number}", f"l{number + 1}/l{number + 1}") for number in range(60)) + entry("l0/f")
    ),
    "a long chain of links": lambda: (
        b"".join(symlink(f"l{number}", f"l{number + 1}") for number in range(300)) + entry("l0/f")
    ),
    "a hard link to itself": lambda: hardlink("h", "h"),
    "hard links in a circle": lambda: hardlink("a", "b") + hardlink("b", "a"),
    "a hard link out": lambda: hardlink("h", "../../../etc/passwd"),
    "a hard link through a link": lambda: symlink("l", "/etc") + hardlink("h", "l/passwd"),
    "a link to nowhere": lambda: symlink("l", ""),
    "a file in a file": lambda: FILE + entry("f/f"),
    "a directory that becomes a link": lambda: folder("d") + entry("d/f") + symlink("d", "/etc") + entry("d/passwd"),
    "the root as a file": lambda: entry("./", data=b"x"),
    "the root as a link": lambda: symlink(".", "/etc"),
    "an unknown kind": lambda: entry("f", b"Q"),
    "a kind that is no letter": lambda: entry("f", b"\xff"),
    "a device of large numbers": lambda: field(entry("dev", b"3"), 329, base256(1 << 40, 8)),
    "an owner of large number": lambda: field(FILE, 108, base256(1 << 50, 8)),
    "an owner below nothing": lambda: field(FILE, 108, base256(-5, 8)),
    "a mode of large number": lambda: field(FILE, 100, base256(1 << 40, 8)),
    "an old sparse map without an end": lambda: (
        with_checksum(entry("f", b"S")[:482] + b"\1" + entry("f", b"S")[483:BLOCK])
        + (b"\1" * 504 + b"\1" + b"\1" * 7) * 100
    ),
    "a sparse map of 99,999,999 regions": lambda: sparse(b"99999999\n"),
    "a sparse map of a megabyte": lambda: sparse(b"40000\n" + b"0\n" * 80_000, size=5),
    "a sparse map without lines": lambda: sparse(b"1" * (1 << 20)),
    "a sparse map that runs backwards": lambda: sparse(b"2\n9\n1\n0\n1\n", data=b"xx", size=20),
    "a sparse file of an exabyte": lambda: sparse(b"1\n0\n1\n", data=b"x", size=1 << 60),
    "a sparse file of 8 EiB": lambda: sparse(b"1\n0\n1\n", data=b"x", size=(1 << 63) - 1),
    "a sparse file of no number": lambda: entry(
        "f", pax={b"GNU.sparse.map": b"0,1", b"GNU.sparse.size": b"9" * 5000}, data=b"x"
    ),
    "an attribute without a name": lambda: entry("f", pax={b"SCHILY.xattr.": b"x"}),
    "an attribute with a NUL": lambda: entry("f", pax={b"SCHILY.xattr.user.a\0b": b"x"}),
    "an attribute with a long name": lambda: entry("f", pax={b"SCHILY.xattr.user." + b"n" * 5000: b"x"}),
    "an attribute of half a megabyte": lambda: entry("f", pax={b"SCHILY.xattr.user.a": b"x" * (1 << 19)}),
    "a broken capability": lambda: entry("f", pax={b"SCHILY.xattr.security.capability": b"\xff" * 7}),
    "a broken ACL": lambda: entry("f", pax={b"SCHILY.xattr.system.posix_acl_access": b"\xff" * 7}),
    "an attribute that is no base 64": lambda: entry("f", pax={b"LIBARCHIVE.xattr.user.a": b"\xff!"}),
    "a whiteout of nothing": lambda: entry(".wh."),
    "a whiteout that leads up": lambda: entry(".wh..."),
    "a whiteout of a whiteout": lambda: entry(".wh..wh.f"),
    "a whiteout through a link": lambda: symlink("l", "/etc") + whiteout("l/passwd"),
    "an opaque link": lambda: symlink("l", "/etc") + entry("l/.wh..wh..opq"),
    "zeros and then more": lambda: FILE + bytes(BLOCK) + FILE,
    "nothing but zeros": lambda: bytes(1 << 20),
    "2,000 files of one name": lambda: FILE * 2000,
}


def archive(name: str) -> bytes:
    """Return an archive of the corpus."""
    return ARCHIVES[name]() + END


def good_archive(rng: random.Random) -> bytes:
    """Return an archive that some writer could have written."""
    out = io.BytesIO()
    form = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for number in range(rng.randrange(1, 6)):
            info = tarfile.TarInfo(f"d{number}/" + rng.choice(("f", "x" * 90, "long/" * 30 + "f", ".wh.f", "é")))
            if form == tarfile.USTAR_FORMAT:
                info.name = info.name[:90]
            info.type = rng.choice(
                (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)
            )
            info.linkname = rng.choice(("d0/f", "../x", "f" * 80)) if info.issym() or info.islnk() else ""
            info.mtime, info.uid = rng.choice((0, 1, 1 << 31)), rng.choice((0, 1000))
            data = rng.randbytes(rng.choice((0, 1, 511, 512, 513, 3000))) if info.isreg() else b""
            info.size = len(data)
            if form == tarfile.PAX_FORMAT and rng.random() < 0.4:
                info.pax_headers = {rng.choice(("SCHILY.xattr.user.a", "comment", "GNU.sparse.map", "mtime")): "1.5"}
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def changed_archive(rng: random.Random) -> bytes:
    """Return a good archive, or one of the corpus, with a few things changed; of headers the checksum often fits."""
    data = bytearray(good_archive(rng) if rng.random() < 0.7 else archive(rng.choice(list(ARCHIVES)))[:LONGEST])
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = bytearray(_changed(rng, bytes(data)))
    return bytes(data)


_FIELDS = ((0, 100), (100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
_VALUES = (b"\0", b" ", b"7", b"8", b"\xff", b"\x80", b"-", b"/", b"..", b"9" * 12, b"7" * 11, b"\xff" * 12)


def _changed(rng: random.Random, data: bytes) -> bytes:
    blocks = max(1, len(data) // BLOCK)
    at = BLOCK * rng.randrange(blocks)
    match rng.randrange(6):
        case 0:  # a bit
            place = rng.randrange(max(1, len(data)))
            return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :] if data else data
        case 1:  # a cut
            return data[: rng.randrange(len(data) + 1)]
        case 2:  # a record twice, or away
            times = rng.choice((0, 2, 3))
            return data[:at] + data[at : at + BLOCK] * times + data[at + BLOCK :]
        case 3:  # two archives in one
            return data[:at] + changed_tail(rng) + data[at:]
        case _:  # a field of a header, with the checksum that belongs to it
            start, size = rng.choice(_FIELDS)
            value = rng.choice((*_VALUES, rng.randbytes(size), base256(rng.choice((-1, 1 << 40, 1 << 70)))))[:size]
            header = bytearray(data[at : at + BLOCK].ljust(BLOCK, b"\0"))
            header[start : start + len(value)] = value
            return data[:at] + with_checksum(bytes(header)) + data[at + BLOCK :]


def changed_tail(rng: random.Random) -> bytes:
    """Return the beginning of an archive of the corpus, to be put anywhere."""
    return archive(rng.choice(list(ARCHIVES)))[: rng.choice((BLOCK, 2 * BLOCK, 4 * BLOCK))]


_STRANGE: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    1 << 63,
    -(1 << 70),
    1e308,
    "",
    "x" * 5000,
    "sha256:" + "0" * 64,
    "sha256:../../etc/passwd",
    "SHA512:x",
    "\x1b[2J\r\n",
    "\ud800",
    "2026-13-45T99:00:00Z",
    "../..",
    "http://[::1",
    "docker://@/:",
    "bG9uZw",
    [],
    {},
    [None],
    {"": None},
    [[[[]]]],
)

_TEXTS = (
    b"null",
    b"[]",
    b"{}",
    b"",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"NaN",
    b'{"a": 1, "a": 2}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 100_000,
    b'{"size": 1' + b"0" * 5000 + b"}",
    b'{"a": "\\ud800"}',
    b"{" + b" " * 100_000,
    b"1e999",
    b"-",
    b'"' + b"\\" * 1001,
)


def changed_document(rng: random.Random, document: object) -> bytes:
    """Return a document as JSON with something in it changed, or its text, or another one altogether."""
    if rng.random() < 0.1:
        return rng.choice(_TEXTS)
    changed = json.loads(json.dumps(document))
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change_value(rng, changed)
    text = json.dumps(changed).encode()
    return changed_text(rng, text) if rng.random() < 0.2 else text


def changed_text(rng: random.Random, text: bytes) -> bytes:
    """Return a text with a few bytes changed, put in or taken away."""
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(text) + 1)
        piece = rng.choice((b"", b"\0", b"\xff", b'"', b"{", b"]", b",", b"=", b"\n", b"9" * 30, rng.randbytes(3)))
        text = text[:at] + piece + text[at + rng.choice((0, 1, 7)) :]
    return text


def _change_value(rng: random.Random, value: object) -> None:
    """Change one thing somewhere in a document."""
    while isinstance(value, dict | list) and value:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = rng.choice(keys)
        inner = value[key]
        if not isinstance(inner, dict | list) or rng.random() < 0.3:
            if rng.random() < 0.3:
                del value[key]
            else:
                value[key] = rng.choice((rng.choice(_STRANGE), json.loads(json.dumps(value))))
            return
        value = inner
