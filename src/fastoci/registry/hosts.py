"""What is known of a registry before it is asked: by what uploads to it have taught, else by its name.

A name is a shortcut and no more: what it says spares the first upload a question or a refusal, and what the registry
then does counts. What was learnt is forgotten after a month, for registries change.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from fastoci.registry.session import LARGEST_MINIMUM, SMALLEST_CHUNK, HostProfile, Mode
from fastoci.registry.statedir import StateDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MEMORY_LIFE", "recall_profile"]

MEMORY_LIFE = 30 * 86400.0

_MIB = 1 << 20
_LARGEST_CHUNK = 1 << 40

_HINTS: tuple[tuple[re.Pattern[str], Callable[[], HostProfile]], ...] = (
    # The Range of its answers to PATCH stands still although the bytes are stored. Chunks are parts of an S3 upload.
    (
        re.compile(r"([0-9]+\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.amazonaws\.com(\.cn)?|public\.ecr\.aws)"),
        lambda: HostProfile(chunk=20 * _MIB, minimum=5 * _MIB, patch_range="ignored"),
    ),
    # More in one ranged PATCH is refused with 416.
    (re.compile(r"ghcr\.io"), lambda: HostProfile(chunk=4 * _MIB)),
    # One PATCH for a whole blob, no second one.
    (re.compile(r"([a-z0-9-]+\.)?gcr\.io|[a-z0-9-]+\.pkg\.dev"), lambda: HostProfile(mode=Mode.STREAMED)),
)


def recall_profile(host: str, directory: StateDirectory) -> HostProfile:
    """Return what is known of a host; what uploads teach about it from now on is kept for the next run.

    Args:
        host: The registry, as references name it.
        directory: Where that is kept.
    """
    name = hashlib.sha256(host.encode()).hexdigest()
    profile = _remembered(name, host, directory) or _hinted(host)

    def keep(learnt: HostProfile) -> None:
        directory.write(
            name,
            {
                "host": host,
                "mode": None if learnt.mode is None else learnt.mode.value,
                "chunk": learnt.chunk,
                "minimum": learnt.minimum,
                "patch_range": learnt.patch_range,
            },
        )

    profile.keep = keep
    return profile


def _remembered(name: str, host: str, directory: StateDirectory) -> HostProfile | None:
    document = directory.read(name)
    if document is None or document.get("host") != host:
        return None
    mode, chunk, patch_range = document.get("mode"), document.get("chunk"), document.get("patch_range")
    minimum = document.get("minimum")
    if chunk is not None and (type(chunk) is not int or not SMALLEST_CHUNK <= chunk <= _LARGEST_CHUNK):
        return None
    if type(minimum) is not int or not 1 <= minimum <= LARGEST_MINIMUM:
        return None
    if patch_range not in {"unknown", "ignored"}:
        return None
    try:
        return HostProfile(None if mode is None else Mode(mode), chunk, minimum, patch_range)
    except ValueError:
        return None


def _hinted(host: str) -> HostProfile:
    for pattern, make in _HINTS:
        if pattern.fullmatch(host):
            return make()
    return HostProfile()
