"""Tar archives written by hand, so that they may hold what no writer writes."""

from __future__ import annotations

import os
import tarfile

from oracles.tarforms import BLOCK, record

TIME = 1_600_000_000


def entry(
    name: str | bytes,
    kind: bytes = b"0",
    data: bytes = b"",
    *,
    link: str | bytes = b"",
    mode: int = 0o644,
    uid: int | None = None,
    gid: int | None = None,
    mtime: int = TIME,
    device: tuple[int, int] = (0, 0),
    size: int | None = None,
    pax: dict[bytes, bytes] | None = None,
) -> bytes:
    """Return one entry: its PAX header if it has one, its header, its data."""
    info = tarfile.TarInfo()
    info.mode, info.mtime, info.type = mode, mtime, kind
    info.uid = os.geteuid() if uid is None else uid
    info.gid = os.getegid() if gid is None else gid
    info.devmajor, info.devminor = device
    info.size = len(data) if size is None else size
    info.name = _text(name)
    info.linkname = _text(link)
    header = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    if info.isdir():
        # tarfile puts a slash there, and a size of 0.
        assert header
    before = b""
    if pax:
        records = b"".join(record(key, value) for key, value in pax.items())
        before = entry("pax", b"x", records)
    return before + header + data + bytes(-len(data) % BLOCK)


def folder(name: str | bytes, mode: int = 0o755, **options) -> bytes:
    return entry(name, b"5", mode=mode, **options)


def symlink(name: str | bytes, target: str | bytes, **options) -> bytes:
    return entry(name, b"2", link=target, mode=0o777, **options)


def hardlink(name: str | bytes, target: str | bytes, **options) -> bytes:
    return entry(name, b"1", link=target, **options)


def whiteout(name: str) -> bytes:
    directory, _, last = name.rpartition("/")
    return entry(f"{directory}/.wh.{last}" if directory else f".wh.{last}")


def opaque(name: str) -> bytes:
    return entry(f"{name}/.wh..wh..opq" if name else ".wh..wh..opq")


def with_checksum(header: bytes) -> bytes:
    """Return a header of 512 bytes with the checksum that belongs to it."""
    total = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
    return header[:148] + b"%06o\0 " % total + header[156:]


def _text(name: str | bytes) -> str:
    return os.fsdecode(name)
