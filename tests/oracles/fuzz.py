"""Headers and plans of made-up trees, against the slow writer: `python -m oracles.fuzz [--seconds N] [--seed S]`.

Each round is made from a number of its own: a chain of directories that no file system has to hold, and beneath it a
few files of any size, which are holes, and links. Names, sizes, numbers and values lie at the limits of the format more
often than not, and so does the size of a block. The plan, each header and each block must be what the slow writer says,
byte for byte; of what is too large to be written slowly, where it stands. What does not fit must be refused as the page
says. The sanitizers run this for as long as they are given (.ci/sanitize); a failure names the round to run again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from fastoci._engine import EngineFault
from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from oracles.packing import scan
from oracles.tarreference import header

LARGEST = 1 << 20  # of what is written slowly, bytes of data in all
MOST_BLOCKS = 20_000  # of one file
RECORD = 512
Xattrs = dict[bytes, bytes]


@dataclass(frozen=True)
class Facts:
    """One directory of the chain: its name, mode, uid, gid, mtime and extended attributes."""

    name: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    xattrs: Xattrs


@dataclass(frozen=True)
class Piece:
    """An entry as it must stand in the stream: its path, its headers, and how much data follows, of zeros alone."""

    path: bytes
    headers: bytes
    size: int = 0

    @property
    def padded(self) -> int:
        """The bytes of data with what fills them up to whole records."""
        return self.size + -self.size % RECORD


def near(rng: random.Random, limits: Sequence[int], most: int) -> int:
    """Return a number at or beside one of some limits, or any number up to the most."""
    if rng.random() < 0.7:
        return min(max(0, rng.choice(limits) + rng.choice((-2, -1, 0, 0, 1, 2))), most)
    return rng.randrange(most + 1)


def make_name(rng: random.Random) -> bytes:
    """Return a name of 1 to 255 bytes, that is not `.`, `..` or a whiteout's."""
    size = max(1, near(rng, (1, 2, 55, 98, 99, 100, 101, 154, 155, 156, 200, 254), 255))
    letters = rng.choice((b"n", b"ab-.0", "é☺".encode(), b"\xff", bytes(set(range(1, 256)) - {0x2F})))
    name = bytes(rng.choices(letters, k=size))
    return b"x" * size if name in (b".", b"..") or name.startswith(b".wh.") else name


def make_xattrs(rng: random.Random, block_size: int) -> Xattrs:
    """Return extended attributes, whose records come near a change of the number of their digits, or of a block."""
    xattrs = {}
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 5))):
        key = b"user." + bytes(rng.choices(rng.choice((b"abc", b"\xfe\xff", "é".encode())), k=rng.randint(1, 20)))
        rest = len(b"SCHILY.xattr.=\n 123") + len(key)
        size = near(rng, [limit - rest for limit in (30, 99, 512, 999, 1024, 9999, block_size // 2)], 65536)
        xattrs[key] = bytes(rng.choices(range(256), k=size)) if size < 4096 else b"v" * size
    return xattrs


def make_facts(rng: random.Random, block_size: int) -> Facts:
    """Return one directory of the chain."""
    return Facts(
        make_name(rng),
        rng.randrange(0o10000),
        near(rng, (0, 0o7777777, 2**31), 2**32 - 2),
        near(rng, (0, 0o7777777, 2**31), 2**32 - 2),
        near(rng, (0, 8**11, 2**32, 2**62), 2**63 - 1) * rng.choice((1, 1, -1)),
        make_xattrs(rng, block_size),
    )


class Round:
    """One round, from its number.

    Args:
        seed: The number.
        root: An empty directory for the files.
    """

    def __init__(self, seed: int, root: str) -> None:
        self._rng = rng = random.Random(seed)
        self._root = root
        self.block_size = RECORD * max(2, near(rng, (2, 3, 4, 8, 16, 128, 1024), 2048))
        self.uid = rng.choice((-1, -1, 0, 0o7777777, 0o10000000, 2**32 - 2))
        self.gid = rng.choice((-1, -1, 0, 0o7777777, 0o10000000, 2**32 - 2))
        self.limit = rng.choice((None, None, 0, -1, 8**11, 1_700_000_000))
        self.chain = [make_facts(rng, self.block_size) for _ in range(rng.choice((1, 1, 2, 3, 8, 20)))]
        self._fill()

    def _fill(self) -> None:
        rng = self._rng
        for number in range(rng.choice((0, 1, 3, 8))):
            path = os.path.join(os.fsencode(self._root), make_name(rng))
            if os.path.lexists(path):
                continue
            if rng.random() < 0.3:
                os.symlink(b"t" * max(1, near(rng, (99, 100, 101, 155, 4000), 4000)), path)
            else:
                with open(path, "xb") as file:
                    sizes = (0, 1, 511, 512, 513, self.block_size, self.block_size - 1024, 8**11)
                    file.truncate(near(rng, sizes, MOST_BLOCKS * self.block_size))
            os.utime(path, (0, number), follow_symlinks=False)

    def _mtime(self, mtime: int) -> int:
        return mtime if self.limit is None else min(mtime, self.limit)

    def expected(self) -> list[Piece]:
        """Return what the slow writer says of it."""
        pieces, path = [], b""
        for facts in self.chain:
            path += facts.name + b"/"
            headers = header(
                path, "directory", facts.mode, facts.uid, facts.gid, 0, self._mtime(facts.mtime), xattrs=facts.xattrs
            )
            pieces.append(Piece(path, headers))
        for name in sorted(os.listdir(os.fsencode(self._root))):
            status = os.lstat(os.path.join(os.fsencode(self._root), name))
            is_link = os.path.islink(os.path.join(os.fsencode(self._root), name))
            link = os.readlink(os.path.join(os.fsencode(self._root), name)) if is_link else b""
            size = 0 if is_link else status.st_size
            headers = header(
                path + name,
                "symlink" if is_link else "file",
                status.st_mode & 0o7777,
                status.st_uid if self.uid < 0 else self.uid,
                status.st_gid if self.gid < 0 else self.gid,
                size,
                self._mtime(int(status.st_mtime)),
                link=link,
            )
            pieces.append(Piece(path + name, headers, size))
        return pieces

    def plan(self) -> Plan:
        """Return the engine's plan of it.

        Raises:
            EngineFault: Headers do not fit into a block.
        """
        table = scan(self._root, xattrs=False)
        for facts in self.chain[:-1]:
            table.adopt_ancestor(facts.name, facts.mode, facts.uid, facts.gid, facts.mtime, facts.xattrs)
        last = self.chain[-1]
        table.place_root(last.name)
        table.restate_root(last.mode, last.uid, last.gid, last.mtime, last.xattrs)
        return Plan(table, block_size=self.block_size, uid=self.uid, gid=self.gid, mtime_limit=self.limit)

    def run(self) -> None:
        """Compare.

        Raises:
            AssertionError: The engine and the slow writer differ.
        """
        pieces = self.expected()
        too_large = next((piece for piece in pieces if len(piece.headers) > self.block_size), None)
        if too_large is not None:
            try:
                self.plan()
            except EngineFault as fault:
                said = fault.kind, fault.found
            else:
                said = "planned", 0
            assert said == ("headers", len(too_large.headers))
            return
        planned = self.plan()
        blocks = cut(pieces, self.block_size)
        assert planned.tar_size == sum(len(piece.headers) + piece.padded for piece in pieces) + 1024
        assert planned.block_count == sum(count for _, count, _ in blocks)
        renderer = Renderer(planned)
        buffer = bytearray(self.block_size)
        number, left = 0, LARGEST
        for data, count, last in blocks:
            # Of too many blocks of zeros the last one, which may be short.
            tried = range(count) if count * self.block_size <= left else (count - 1,)
            for one in tried:
                size = last if one == count - 1 else self.block_size
                left -= size
                buffer[:] = b"\xaa" * self.block_size
                assert renderer.render(number + one, buffer) == size
                assert buffer[:size] == (data or bytes(size))
                assert not buffer[size:].strip(b"\xaa"), "it wrote beyond its end"
            number += count


def cut(pieces: Sequence[Piece], limit: int) -> list[tuple[bytes, int, int]]:
    """Return each block as (bytes, 1, size), and many that are nothing but zeros as (b"", count, size of the last)."""
    blocks: list[tuple[bytes, int, int]] = []
    fill = b""

    def close() -> None:
        nonlocal fill
        if fill:
            blocks.append((fill, 1, len(fill)))
        fill = b""

    for piece in pieces:
        apart = len(piece.headers) + piece.padded > limit
        placed = piece.headers if apart else piece.headers + bytes(piece.padded)
        if len(fill) + len(placed) > limit or zlib.crc32(piece.path) % 256 == 0:
            close()
        fill += placed
        if apart:
            close()
            if piece.padded:
                blocks.append((b"", -(-piece.padded // limit), piece.padded % limit or limit))
    if len(fill) + 1024 > limit:
        close()
    fill += bytes(1024)
    close()
    return blocks


def run_round(seed: int) -> None:
    """Run one round in a directory of its own."""
    root = tempfile.mkdtemp(prefix="fastoci-fuzz-")
    try:
        Round(seed, root).run()
    except BaseException as error:
        error.add_note(f"python -m oracles.fuzz --seed {seed} --rounds 1")
        raise
    finally:
        shutil.rmtree(root)


def main() -> None:
    """Run rounds from a seed on until the time or their number is over."""
    parser = argparse.ArgumentParser(prog="python -m oracles.fuzz")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=None, help="of the first round  [default: the time]")
    parser.add_argument("--rounds", type=int, default=sys.maxsize)
    asked = parser.parse_args()
    first = time.time_ns() // 1000 if asked.seed is None else asked.seed
    end = time.monotonic() + asked.seconds
    done = 0
    while done < asked.rounds and (done == 0 or time.monotonic() < end):
        run_round(first + done)
        done += 1
    sys.stdout.write(f"{done:,} rounds from {first} on: all as the slow writer has them\n")


if __name__ == "__main__":
    main()
