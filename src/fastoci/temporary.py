"""Where temporary files go that may be as large as a layer."""

from __future__ import annotations

import os

__all__ = ["large_tmp"]

_LARGE_TMP = "/var/tmp"  # noqa: S108 - what is made there has names that cannot be guessed, or none


def large_tmp() -> str:
    """Return the directory for them: `$TMPDIR`, else `/var/tmp`, since `/tmp` is often memory."""
    if path := os.environ.get("TMPDIR"):
        return path
    if os.path.isdir(_LARGE_TMP):
        return _LARGE_TMP
    import tempfile  # which few builds need

    return tempfile.gettempdir()
