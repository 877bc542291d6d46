"""Seeded contents for files: made up, but of the texture of what stands in a container image.

A benchmark of compressors is only as honest as its data. Random bytes, zeros, and one phrase repeated say nothing; so
each kind of content is made of tokens as frequent as real ones (Zipf), of lines and idioms that come back a little
changed, and of the records that an ELF file's sections have. Each kind was held against real files, those of a Debian
12 with compilers, Go, Python and documents: the ratio that igzip -1, zlib -1 and zlib -6 reach in blocks of 512 KiB.

    kind        made up: igzip -1   zlib -1   zlib -6     real: igzip -1   zlib -1   zlib -6
    py                       4.17      4.09      5.48              4.24      4.11      5.14
    js                       3.38      3.29      4.15              3.32      3.24      3.91
    json                     5.17      4.96      6.88              5.97      5.73      7.85
    c                        4.11      4.00      5.19              4.34      4.14      5.05
    text                     3.56      3.43      4.21              3.59      3.25      3.80
    pyc                      2.89      2.87      3.34              3.12      2.85      3.24
    elf                      2.30      2.33      2.55              2.52      2.97      3.20
    db                       2.03      2.06      2.18                 -         -         -
    deflated                 1.00      1.00      1.00              1.08      1.06      1.06

What is compressed already is no random noise either: deflate streams of the other kinds, in the containers in which
such data comes (PNG, zip, gzip). The real files of that kind were pictures, manuals and archives, some of them small
or only half compressed.

A kind is a pool of some megabytes; a file is a piece of a pool, or several. That two files share a piece is known to
none of the tools measured: deflate looks back 32 KiB.
"""

from __future__ import annotations

import itertools
import random
import struct
import zlib
from collections.abc import Callable, Iterator

from prose import JAVASCRIPT, JSON, PROSE, PYTHON, C, Words, text, zipf

__all__ = ["Pools"]

# --- machine code: the sections of an ELF file, in their usual shares ------------------------------------------------


def _fill(size: int, pieces: Iterator[bytes]) -> bytes:
    out: list[bytes] = []
    written = 0
    while written < size:
        out.append(next(pieces))
        written += len(out[-1])
    return b"".join(out)[:size]


class _MachineCode:
    """Instructions and the tables around them."""

    _BYTES = bytes.fromhex("48 48 89 8b 4c 24 0f e8 41 83 c0 85 74 75 8d 44 00 00 00 00")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._words = Words(rng, 6000)
        lengths = (1, 2, 2, 3, 3, 3, 4, 4, 5, 7)
        self._instructions = [
            bytes(
                rng.choice(self._BYTES) if rng.random() < 0.85 else rng.randrange(256)
                for _ in range(rng.choice(lengths))
            )
            for _ in range(3500)
        ]
        self._weights = zipf(3500, 6)

    def make(self, size: int) -> bytes:
        """Return sections, one after another."""
        sections: tuple[tuple[int, Callable[[], Iterator[bytes]]], ...] = (
            (51, self._code),
            (14, self._constants),
            (10, self._strings),
            (8, self._frames),
            (6, self._relocations),
            (4, self._symbols),
            (3, self._hashes),
            (4, self._zeros),
        )
        weights = [share for share, _ in sections]

        def section() -> Iterator[bytes]:
            while True:
                _, pieces = self._rng.choices(sections, weights)[0]
                yield _fill(self._rng.randrange(8_000, 64_000), pieces())

        return _fill(size, section())

    def _code(self) -> Iterator[bytes]:
        rng, chance = self._rng, self._rng.random
        idioms: list[bytes] = []
        while True:
            if len(idioms) > 20 and chance() < 0.3:
                piece = idioms[-1 - int(chance() * chance() * len(idioms))]
                if chance() < 0.5:
                    at = rng.randrange(len(piece))
                    piece = piece[:at] + bytes((rng.randrange(256),)) + piece[at + 1 :]
            else:
                tokens = rng.choices(self._instructions, cum_weights=self._weights, k=rng.randrange(3, 9))
                if chance() < 0.6:
                    tokens.append(b"\xe8" + struct.pack("<i", int(rng.gauss(0, 60_000))))
                piece = b"".join(tokens)
                idioms.append(piece)
                if len(idioms) > 1200:
                    del idioms[:400]
            yield piece

    def _constants(self) -> Iterator[bytes]:
        rng = self._rng
        earlier: list[bytes] = []
        while True:
            kind = rng.randrange(6)
            if kind < 3 and earlier:
                yield earlier[-1 - rng.randrange(len(earlier[-60:]))]
                continue
            if kind == 3:
                piece = struct.pack("<d", round(rng.random() * 8 - 4, 2))
            elif kind == 4:
                piece = struct.pack("<III", rng.randrange(64), rng.randrange(4096), 0)
            else:
                piece = struct.pack("<hhhh", *(int(rng.gauss(0, 90)) for _ in range(4)))
            earlier.append(piece)
            yield piece

    def _strings(self) -> Iterator[bytes]:
        """Names, many of which differ from an earlier one in their last part alone, and messages."""
        rng = self._rng
        earlier: list[str] = []
        while True:
            if earlier and rng.random() < 0.75:
                text = earlier[-1 - rng.randrange(len(earlier[-200:]))]
                text = text[: text.rfind("_") + 1] + self._words()
            else:
                text = "_".join(self._words() for _ in range(rng.randrange(2, 6)))
            earlier.append(text)
            yield (text + ("\0" if rng.random() < 0.8 else ": %s\0")).encode()

    def _frames(self) -> Iterator[bytes]:
        rng = self._rng
        prologues = tuple(
            bytes.fromhex(text)
            for text in (
                "00410e108302",
                "00410e108602410e188303",
                "00000000",
                ("00420e108f02420e188e03420e208d04420e288c05410e308606410e388307"),
            )
        )
        epilogue = bytes.fromhex("0a0e38410e30410e28420e20420e18420e10420e08")
        counter, at = rng.randrange(1 << 20), 0
        while True:
            step = rng.randrange(1, 60) * 16 + (rng.randrange(16) if rng.random() < 0.3 else 0)
            piece = struct.pack("<iiiI", 20 + 8 * rng.randrange(4), at, -counter & 0x7FFFFFFF, step)
            piece += rng.choice(prologues)
            if rng.random() < 0.6:
                piece += b"D\x0e" + bytes((rng.randrange(4, 20) * 8,))
            if rng.random() < 0.6:
                piece += b"\x02" + bytes((rng.randrange(256),)) + epilogue[: rng.randrange(4, len(epilogue))]
            piece += bytes(-len(piece) % 8)
            at += len(piece)
            counter += step
            yield piece

    def _relocations(self) -> Iterator[bytes]:
        rng = self._rng
        at, target = rng.randrange(1 << 19) * 8, rng.randrange(1 << 18) * 16
        while True:
            at += 8 * (1 + (rng.random() < 0.1) * rng.randrange(6))
            target += 16 * rng.randrange(1, 40)
            yield struct.pack("<QQQ", at, 8, target)

    def _symbols(self) -> Iterator[bytes]:
        rng, name = self._rng, 0
        while True:
            name += rng.randrange(8, 40)
            value = rng.randrange(1 << 18) * 16 if rng.random() < 0.7 else 0
            size = int(rng.random() * rng.random() * 60) * 8
            yield struct.pack("<IBBHQQ", name, 18 - (rng.random() < 0.1), 0, rng.randrange(12, 15), value, size)

    def _hashes(self) -> Iterator[bytes]:
        while True:
            yield self._rng.randbytes(3) + b"\0"

    def _zeros(self) -> Iterator[bytes]:
        while True:
            yield bytes(self._rng.randrange(32, 256))
            yield struct.pack("<Q", self._rng.randrange(1 << 20) * 8)


# --- byte code and tables ---------------------------------------------------------------------------------------------


def _byte_code(rng: random.Random, size: int) -> bytes:
    """Return what CPython's compiler leaves: word code, names, constants, line tables."""
    chance, any_of = rng.random, rng.randrange
    words = Words(rng, 6000)
    codes = [bytes((any_of(80, 180), min(255, int(rng.expovariate(0.25))))) for _ in range(400)]
    weights = zipf(400, 3)
    idioms = [b"".join(rng.choices(codes, cum_weights=weights, k=any_of(4, 14))) for _ in range(600)]
    idiom_weights = zipf(600, 4)

    def functions() -> Iterator[bytes]:
        topic = [words() for _ in range(30)]
        while True:
            if chance() < 0.06:
                topic = [words() for _ in range(30)]
            parts = [b"\xe3" + struct.pack("<iiii", any_of(5), 0, any_of(8), any_of(3, 6)), b"\x03\0\0\0\xf3"]
            parts += rng.choices(idioms, cum_weights=idiom_weights, k=any_of(4, 30))
            for _ in range(any_of(5, 25)):
                if chance() < 0.6:
                    parts.append(b"r" + struct.pack("<i", any_of(120)))
                else:
                    name = (topic[int(chance() * 30)] if chance() < 0.7 else words()) + rng.choice(("", "", "_id", "s"))
                    parts.append(b"\xda" + bytes((len(name),)) + name.encode())
            if chance() < 0.35:
                text = " ".join(words() for _ in range(any_of(5, 40))).encode()
                parts.append(b"\xf5" + struct.pack("<i", len(text)) + text)
            parts.append(
                b"\xda\x08<module>"
                + b"".join(rng.choices((b"\x80\0", b"\xd8\x04", b"\xf1\x06\0\x05"), k=any_of(4, 16)))
            )
            yield b"".join(parts)

    return _fill(size, functions())


def _database(rng: random.Random, size: int) -> bytes:
    """Return pages of 4 KiB as a database has them: a head, free space, and records from the end."""
    words = Words(rng, 6000)

    def pages() -> Iterator[bytes]:
        row = 0
        while True:
            records: list[bytes] = []
            room = 4096 - 160
            while True:
                row += 1
                text = f"{words()}.{words()}@{words()}.org {words()} {words()} {rng.randrange(1 << 30)}".encode()
                record = bytes((len(text) + 12, 6, 0, 37)) + struct.pack(">IQ", row, 1_600_000_000 + row * 61) + text
                if len(record) + 2 > room:
                    break
                records.append(record)
                room -= len(record) + 2
            head = b"\x0d\0\0" + struct.pack(">HH", len(records), room)
            ends = itertools.accumulate(map(len, records))
            head += b"".join(struct.pack(">H", 4096 - end) for end in ends)
            data = b"".join(reversed(records))
            yield (head + bytes(4096))[: 4096 - len(data)] + data

    return _fill(size, pages())


class Pools:
    """Pools of each kind, and pieces of them.

    Args:
        seed: The same seed and size give the same bytes.
        size: Bytes of a text pool; that of machine code is twice as large.
    """

    def __init__(self, seed: str, size: int) -> None:
        self._seed = seed
        self._size = size
        self._pools: dict[str, bytes] = {}

    def pool(self, kind: str) -> bytes:
        """Return a whole pool; it is made when it is first asked for."""
        if kind not in self._pools:
            self._pools[kind] = self._make(kind, random.Random(f"{self._seed}/{kind}"), self._size)
        return self._pools[kind]

    def _make(self, kind: str, rng: random.Random, size: int) -> bytes:
        match kind:
            case "py":
                return text(rng, size, PYTHON, again=0.36, reach=150, local=0.6)
            case "js":
                return text(rng, size, JAVASCRIPT, again=0.21, reach=150, local=0.45)
            case "json":
                return text(rng, size, JSON, again=0.55, reach=60, local=0.6)
            case "c":
                return text(rng, size, C, again=0.37, reach=100, local=0.6)
            case "text":
                return text(rng, size, PROSE, again=0.28, reach=200, local=0.2)
            case "pyc":
                return _byte_code(rng, size)
            case "db":
                return _database(rng, size)
            case "elf":
                return _MachineCode(rng).make(2 * size)
            case "deflated":
                return b"".join(zlib.compress(self.pool(kind), 6)[2:-4] for kind in ("elf", "pyc", "js", "text", "py"))
        raise AssertionError(kind)

    def piece(self, rng: random.Random, kind: str, size: int) -> bytes:
        """Return `size` bytes of a kind, from anywhere in its pool, and from elsewhere in it where one is too short."""
        pool = self.pool(kind)
        longest = len(pool) // 2
        parts = []
        while size > 0:
            start = rng.randrange(longest)
            parts.append(pool[start : start + min(size, longest)])
            size -= len(parts[-1])
        return b"".join(parts)
