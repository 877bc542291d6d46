"""`mixed`: the image of an application with a Debian beneath it, made from a seed.

It holds node_modules of some hundred packages, Python packages with their byte code, shared libraries, programs,
headers, documents, pictures, jars and wheels, a database, three large binaries. Names, sizes (lognormal, medians and
means as found in real trees) and contents (`material.py`) come from the seed; so do modes and times.

    full form: 1,631 MB, 57,443 files, 12,727 directories, 1,200 symbolic links; 44,680 files are of 8 KiB or less
      51 %  machine code (elf): 26 % in 1,378 libraries, programs and modules, 26 % in three of 96, 118 and 205 MB
      21 %  compressed already: jars, wheels, pictures, documents; 6 % in one archive
      24 %  text and byte code: py 7, js 6, pyc 6, c 3, text 1, json 0.5
       4 %  one database
      its tar: 1,683 MB; igzip -1 makes it 1.93 times smaller, gzip -1 1.94 times, gzip -6 2.08 times
    short form: a thirtieth of the files, the large ones a thirtieth of their size

A whole /usr with compilers, beside it: 5.9 GB, 150,000 entries, 53 % machine code, 9 % compressed already, a third in
text, byte code and static libraries; igzip -1 makes it about 2.5 times smaller.
"""

from __future__ import annotations

import os
import struct
import zlib

from material import Pools
from planting import Planter

__all__ = ["MixedTree"]


class MixedTree(Planter):
    """Makes the tree.

    Args:
        root: An empty directory.
        pools: The contents.
        scale: 1 for the full form.
    """

    def __init__(self, root: str, pools: Pools, scale: float) -> None:
        super().__init__(root, pools, scale, "fastoci/tree")

    def make(self) -> None:
        """Make everything."""
        for number in range(self._count(900)):
            self._node_package(number)
        for number in range(self._count(280)):
            self._python_package(number)
        for number in range(self._count(600)):
            self._library(number)
        for number in range(self._count(600)):
            self._debian_package(number)
        self._headers()
        self._application()
        self._times_of_directories()

    # --- the parts ---------------------------------------------------------------------------------------------------

    def _node_package(self, number: int) -> None:
        rng = self._rng
        package = f"opt/app/node_modules/{self._name()}"
        if number % 9 == 0:
            package = f"opt/app/node_modules/@{self._name()}/core"
        parents = [package]
        if number % 12 == 0:
            parents.append(f"{package}/node_modules/{self._name()}")
        for parent in parents:
            self._file(f"{parent}/package.json", "json", self._size(1500, 0.5))
            self._file(f"{parent}/README.md", "text", self._size(3000, 1.0))
            self._file(f"{parent}/LICENSE", "text", 1080)
            directories = [f"{parent}/{name}" for name in ("lib", "dist", "dist/cjs", "src/internal", "types")]
            for _ in range(self._size(16, 0.9, 300)):
                kind = rng.choices(("js", "js", "c", "json"), (70, 10, 15, 5))[0]
                suffix = {"js": ".js", "c": ".d.ts", "json": ".json"}[kind]
                self._file(f"{rng.choice(directories)}/{self._name()}{suffix}", kind, self._size(2000, 1.4))
        if number % 3 == 0:
            self._link(f"opt/app/node_modules/.bin/{self._name()}", f"../{os.path.basename(package)}/lib/cli.js")

    def _python_package(self, number: int) -> None:
        rng = self._rng
        name = self._name()
        package = f"usr/lib/python3/dist-packages/{name}"
        directories = [package, f"{package}/core", f"{package}/utils", f"{package}/tests"]
        for _ in range(self._size(24, 0.9, 300)):
            directory, module = rng.choice(directories), self._name()
            size = self._size(3600, 1.5)
            self._file(f"{directory}/{module}.py", "py", size)
            self._file(f"{directory}/__pycache__/{module}.cpython-311.pyc", "pyc", max(200, size * 9 // 10))
        for directory in directories:
            self._file(f"{directory}/__init__.py", "py", rng.choice((0, 0, 300)))
        if number % 3 == 0:
            self._file(f"{package}/_speedups.cpython-311-x86_64-linux-gnu.so", "elf", self._size(90_000, 1.2, 16 << 20))
        self._file(f"{package}-1.{number}.dist-info/METADATA", "text", self._size(4000, 0.8))
        self._file(f"{package}-1.{number}.dist-info/RECORD", "json", self._size(3000, 0.9))

    def _library(self, number: int) -> None:
        stem = f"lib{self._name()}.so"
        directory = "usr/lib/x86_64-linux-gnu"
        self._file(f"{directory}/{stem}.1.{number}.0", "elf", self._size(110_000, 1.65, 24 << 20))
        self._link(f"{directory}/{stem}.1", f"{stem}.1.{number}.0")
        if number % 2 == 0:
            self._link(f"{directory}/{stem}", f"{stem}.1")
        program = f"usr/bin/{self._name()}"
        self._file(program, "elf", self._size(50_000, 1.5, 12 << 20), 0o755)
        if number % 10 == 0:
            os.link(os.path.join(self._root, program), os.path.join(self._root, f"{program}-1"))
        if number % 25 == 0:
            self._file(f"usr/bin/{self._name()}", "elf", 60_000, 0o4755)

    def _debian_package(self, number: int) -> None:
        name = self._name()
        self._file(f"usr/share/doc/{name}/copyright", "text", self._size(2500, 0.9))
        self._bytes(f"usr/share/doc/{name}/changelog.Debian.gz", self._gzip(self._size(1500, 1.1)))
        self._file(f"var/lib/dpkg/info/{name}.list", "json", self._size(700, 1.1))
        self._file(f"usr/share/{name}/data.xml", "text", self._size(5000, 1.4))
        if number % 3 == 0:
            self._file(f"etc/{name}.d/{name}.conf", "c", self._size(900, 1.0))
        for _ in range(4):
            icon = f"usr/share/icons/{name}/{self._rng.choice((16, 32, 48, 256))}/{self._name()}.png"
            self._bytes(icon, self._png(self._size(3500, 1.5)))

    def _headers(self) -> None:
        directories = [f"usr/include/{self._name()}" for _ in range(self._count(160))]
        for _ in range(self._count(3000)):
            self._file(f"{self._rng.choice(directories)}/{self._name()}.h", "c", self._size(4500, 1.4))

    def _application(self) -> None:
        scale = self._scale
        for _ in range(self._count(120)):
            self._bytes(f"opt/app/lib/{self._name()}.jar", self._zip(self._size(700_000, 1.0, 8 << 20)))
        for _ in range(self._count(60)):
            self._bytes(f"opt/app/wheels/{self._name()}.whl", self._zip(self._size(900_000, 1.0, 8 << 20)))
        self._bytes("opt/app/data/assets.tar.gz", self._gzip(int(95e6 * scale)))
        self._file("var/lib/app/index.db", "db", int(72e6 * scale))
        self._file("usr/bin/runtime", "elf", int(96e6 * scale), 0o755)
        self._file("usr/lib/x86_64-linux-gnu/libcompiler.so.17", "elf", int(118e6 * scale))
        self._file("opt/app/lib/libtensor_cpu.so", "elf", int(205e6 * scale))

    # --- containers of compressed data -------------------------------------------------------------------------------

    def _deflated(self, size: int) -> bytes:
        return self._pools.piece(self._rng, "deflated", size)

    def _gzip(self, size: int) -> bytes:
        return b"\x1f\x8b\x08\0\0\0\0\0\x02\x03" + self._deflated(size) + self._rng.randbytes(8)

    def _png(self, size: int) -> bytes:
        """Return a header and IDAT chunks of 8 KiB (PNG, 5.3)."""
        chunks = [b"\x89PNG\r\n\x1a\n", self._chunk(b"IHDR", struct.pack(">IIBBBBB", 256, 256, 8, 6, 0, 0, 0))]
        chunks += [self._chunk(b"IDAT", self._deflated(min(8192, size - at))) for at in range(0, size, 8192)]
        return b"".join((*chunks, self._chunk(b"IEND", b"")))

    @staticmethod
    def _chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def _zip(self, size: int) -> bytes:
        """Return members with their local headers, and the central directory (APPNOTE.TXT, 4.3)."""
        members: list[bytes] = []
        directory: list[bytes] = []
        offset = 0
        while offset < size:
            name = f"org/{self._name()}/{self._name()}.class".encode()
            data = self._deflated(min(self._size(2500, 1.2), size))
            facts = struct.pack(
                "<HHHHHIIIHH",
                20,
                8,
                8,
                0x5A00,
                0x5921,
                self._rng.getrandbits(32),
                len(data),
                len(data) * 2,
                len(name),
                0,
            )
            members.append(b"PK\3\4" + facts + name + data)
            directory.append(b"PK\1\2\x14\x03" + facts + struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, offset) + name)
            offset += len(members[-1])
        return b"".join((*members, *directory, b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0, 0, 0, offset, 0)))
