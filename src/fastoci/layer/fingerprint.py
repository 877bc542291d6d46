"""What a layer is known by before it is made: its place from the start, its fingerprint once all of it is planned.

Equal fingerprints mean the same scan, options, format version and compressor on the same machine, and so the same
bytes, as far as a scan can tell: files are known by device, inode, size and both times in nanoseconds, as everywhere.

A place says where a layer comes from and how it is made, and nothing of what is found there. So it is known before
anything is scanned, and it stays the same when the tree changes: what is remembered under it has to be compared.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import isal

from fastoci._engine.fingerprint import facts
from fastoci._engine.plan import Plan
from fastoci.layer.options import BLOCK_SIZE, FORMAT_VERSION, LayerOptions
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from fastoci.version import __version__

__all__ = ["Fingerprint", "fingerprint_of_file", "fingerprint_of_tree", "place_of"]

# A file that is written to within the same tick of the kernel's clock as it was scanned keeps its times. Git calls
# such an entry racy; a tick is 10 ms at most, and file systems that count whole or even seconds are seen to as well.
_SETTLED = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a layer is known by before it is made.

    Args:
        value: In hexadecimal.
        settled: Whether all that it was made from is so old that no later change can have the same times. Only then
            does the same fingerprint at another time mean the same bytes without looking at them.
    """

    value: str
    settled: bool


def fingerprint_of_tree(plan: Plan, policy: TreePolicy, options: LayerOptions, scanned: int) -> Fingerprint:
    """Return the fingerprint of a planned tree, or of a selection of one.

    Args:
        plan: A complete one.
        policy: What becomes of its entries.
        options: How the layer is made.
        scanned: When the scan began, nanoseconds since the epoch.
    """
    hasher = _begun("tree", options, (policy.uid, policy.gid, policy.mtime_limit, policy.mtime, policy.chmod))
    newest = None
    number, count = 0, len(plan)
    while number < count:
        data, number, changed = facts(plan, number)
        hasher.update(data)
        newest = changed if newest is None else max(newest, changed or newest)
    return Fingerprint(hasher.hexdigest(), newest is not None and newest < scanned - _SETTLED)


def fingerprint_of_file(fd: int, options: LayerOptions, opened: int) -> Fingerprint:
    """Return the fingerprint of a tar archive.

    Args:
        fd: A descriptor of its file.
        options: How the layer is made.
        opened: When it was opened, nanoseconds since the epoch.
    """
    found = os.fstat(fd)
    identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return Fingerprint(_begun("tar", options, identity).hexdigest(), found.st_ctime_ns < opened - _SETTLED)


def place_of(source: TreeSource, policy: TreePolicy | None, options: LayerOptions, base: tuple[str, ...] = ()) -> str:
    """Return where a layer comes from and how it is made, as one word; no path can be read out of it.

    Args:
        source: The directory, the file or the archive.
        policy: What becomes of its entries; None where they are kept as they are.
        options: How the layer is made.
        base: What it is compared with, where it is what differs from that; or which part of the source it is.
    """
    details = (os.path.realpath(source.path), source.dest, source.into, policy, *base)
    return _begun("place", options, details).hexdigest()


def _begun(kind: str, options: LayerOptions, details: tuple[object, ...]) -> hashlib._Hash:
    """Return a hasher that has taken all that decides a layer's bytes besides what is found."""
    words = (
        kind,
        __version__,
        FORMAT_VERSION,
        BLOCK_SIZE,
        options.compression,
        options.level,
        _compressor_version(options),
        os.uname().machine,
        *details,
    )
    return hashlib.sha256(repr(words).encode())


def _compressor_version(options: LayerOptions) -> str:
    if options.compression == "zstd":
        from fastoci.layer.zstd import zstd_version

        return zstd_version()
    return isal.__version__
