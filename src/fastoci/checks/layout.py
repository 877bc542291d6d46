"""Checks a layout as a directory: its marker, its index, and that every blob is named after its digest.

Image-spec image-layout.md is the rule. Blobs that no manifest names are fine; whatever else lies about is told.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from fastoci.errors import InvalidImageError
from fastoci.spec import canonical
from fastoci.spec.annotations import REF_NAME
from fastoci.spec.digest import Digest
from fastoci.spec.imagename import is_ref_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastoci.checks.findings import Findings
    from fastoci.spec.index import Index

__all__ = ["check_marker", "check_names", "list_blobs"]

_MARKER = "oci-layout"
_VERSION = "1.0.0"  # image-layout.md, "oci-layout file": the one there is
_LIMIT = 64 << 10


def check_marker(path: str, findings: Findings) -> bool:
    """Check the file that makes a directory a layout.

    Args:
        path: Of the layout.
        findings: Told what is wrong.

    Returns:
        Whether the layout can be read further; True too where there is no such file, since then it is no layout at
        all, which whoever opens it says.
    """
    try:
        with open(os.path.join(path, _MARKER), "rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError:
        return True
    try:
        version = canonical.loads(data, "the marker", limit=_LIMIT).get("imageLayoutVersion")
    except InvalidImageError as error:
        findings.add("error", _MARKER, str(error))
        return False
    if version != _VERSION:
        findings.add("error", _MARKER, f"imageLayoutVersion is {version!r:.100}, not {_VERSION!r}")
        return isinstance(version, str) and version.startswith("1.")
    return True


def check_names(index: Index, findings: Findings) -> None:
    """Check what the entries of a layout's or archive's index are called."""
    named: dict[str, Digest] = {}
    for number, entry in enumerate(index.manifests):
        name = entry.annotation(REF_NAME)
        if name is None:
            continue
        path = f"index.json/manifests/{number}"
        if not is_ref_name(name):
            findings.add("warning", path, f"{REF_NAME} does not fit the grammar of names: {name!r:.200}")
        if named.setdefault(name, entry.digest) != entry.digest:
            findings.add("error", path, f"another image has the name {name!r} already")


def list_blobs(path: str, findings: Findings) -> Iterator[tuple[str, Digest, int]]:
    """Yield the path in the layout, the digest and the size of every blob, and tell of whatever is none.

    Args:
        path: Of the layout.
        findings: Told what is wrong.
    """
    root = os.path.join(path, "blobs")
    for algorithm in _names(root):
        directory = os.path.join(root, algorithm)
        if not os.path.isdir(directory):
            findings.add("warning", f"blobs/{algorithm}", "it is no directory, and nothing of a layout")
            continue
        for name in _names(directory):
            place = f"blobs/{algorithm}/{name}"
            if name.startswith("."):
                findings.add("warning", place, "it was left behind by a program that was killed, and can be removed")
                continue
            try:
                digest = Digest(algorithm, name)
            except InvalidImageError as error:
                findings.add("warning", place, f"it is no blob: {error}")
                continue
            found = os.lstat(os.path.join(directory, name))
            if not stat.S_ISREG(found.st_mode):
                findings.add("error", place, "it is not a regular file", digest)
            else:
                yield place, digest, found.st_size


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
