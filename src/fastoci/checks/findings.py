"""What a validation found, as values: where, what, and how bad."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastoci.errors import BlobMismatchError, ImageNotFoundError, InvalidImageError, ManifestNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastoci.spec.digest import Digest

__all__ = ["Finding", "Findings", "Severity"]

Severity = Literal["error", "warning", "unchecked"]

_RANKS = ("error", "unchecked", "warning")
_MOST = 1000  # findings that are kept: a hostile image could have millions

# What an image can do wrong. Other errors are the disk's or the network's, and say nothing about the image.
_OF_THE_IMAGE = (InvalidImageError, ImageNotFoundError, BlobMismatchError, ManifestNotFoundError)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or that could not be looked at.

    Attributes:
        severity: `error` breaks a rule; `warning` is legal and yet means trouble to some reader; `unchecked` says that
            something could not be checked here, and so is not known to be right.
        path: Where: a file of the layout, or the digest of a document, and the way in it (`sha256:…/layers/2`).
        message: What.
        digest: Of the blob concerned, as text; None where it is none.
    """

    severity: Severity
    path: str
    message: str
    digest: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON object."""
        return {"severity": self.severity, "path": self.path, "message": self.message, "digest": self.digest}

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message}"


class Findings:
    """Findings as they come, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[Finding] = []
        self._left_out: dict[Severity, int] = {}

    def add(self, severity: Severity, path: str, message: str, digest: Digest | None = None) -> None:
        """Note a finding; beyond a thousand only their number is kept."""
        finding = Finding(severity, path, message, None if digest is None else str(digest))
        with self._lock:
            if len(self._found) < _MOST:
                self._found.append(finding)
            else:
                self._left_out[severity] = self._left_out.get(severity, 0) + 1

    @contextmanager
    def noting(self, *paths: str, digest: Digest | None = None) -> Iterator[None]:
        """Take what an image does wrong within for an error at each of the paths; other exceptions pass."""
        try:
            yield
        except _OF_THE_IMAGE as error:
            for path in paths:
                self.add("error", path, str(error), digest)

    def all(self) -> tuple[Finding, ...]:
        """Return what was found so far, errors first, each kind in the order of its places."""
        with self._lock:
            found = sorted(self._found, key=_order)
            rest = [Finding(severity, "", f"{count:,} more are left out") for severity, count in self._left_out.items()]
        return (*found, *rest)


def _order(finding: Finding) -> tuple[int, list[str]]:
    """Return what to sort by: `layers/10` comes after `layers/9`, whichever thread was first."""
    return _RANKS.index(finding.severity), [part.zfill(6) for part in finding.path.split("/")]
