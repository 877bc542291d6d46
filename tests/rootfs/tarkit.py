"""Unpacking what `oracles.tarwriting` writes, without an image around it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from fastoci.rootfs.changeset import Rootfs
from fastoci.rootfs.limits import Limits, Usage
from fastoci.rootfs.owners import Owners
from oracles.tarforms import BLOCK, END, record
from oracles.tarwriting import (
    TIME,
    entry,
    folder,
    hardlink,
    opaque,
    symlink,
    whiteout,
    with_checksum,
)

__all__ = [
    "BLOCK",
    "END",
    "LAYER",
    "TIME",
    "entry",
    "folder",
    "hardlink",
    "opaque",
    "pieces",
    "record",
    "symlink",
    "unpack",
    "whiteout",
    "with_checksum",
]

LAYER = "the layer sha256:00 of TEST"


def unpack(
    target: str | os.PathLike[str],
    *layers: bytes,
    limits: Limits | None = None,
    occupied=False,
    step=1 << 20,
    threads=2,
):
    """Apply layers, and return what was left out."""
    target = os.fspath(target)
    os.makedirs(target, exist_ok=True)
    fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        keep = os.geteuid() == 0
        rootfs = Rootfs(fd, target, Owners(keep), Usage(limits or Limits()), occupied=occupied, threads=threads)
        try:
            for layer in layers:
                rootfs.apply(pieces(layer + END, step), LAYER)
            rootfs.finish()
            return rootfs.refused
        finally:
            rootfs.close()
    finally:
        os.close(fd)


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))
