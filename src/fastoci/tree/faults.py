"""From the engine's faults to errors in words: what failed, why, and what to do."""

from __future__ import annotations

import errno
import os
import shlex

from fastoci._engine import EngineFault
from fastoci.errors import TreeChangedError, TreeError, TreeNameError, reason
from fastoci.tree.patterns import pattern_of

__all__ = ["explain"]

_ACTIONS = {
    "open directory": "open the directory",
    "read directory": "list the directory",
    "stat": "ask for the status of",
    "read link": "read the symbolic link",
    "xattr": "read the extended attributes of",
    "open": "open",
    "read": "read",
}


def explain(fault: EngineFault, source: str) -> TreeError:
    """Return the error that a fault means.

    Args:
        fault: What the engine said.
        source: The path of the source as the user gave it.
    """
    relative = os.fsdecode(fault.path)
    if relative in ("", "."):
        relative, path = ".", source
    else:
        path = f"{source.rstrip('/')}/{relative}"
    if fault.kind == "changed":
        return _changed(fault, path, relative)
    if fault.kind == "whiteout name":
        return TreeNameError(
            f"{path} is named like a whiteout",
            path=path,
            cause="in a layer a name that begins with .wh. removes a file of the layers below",
            hint=f"rename it, or {exclusion(relative)}; if it is meant as a whiteout, --whiteouts keep",
        )
    if fault.kind == "xattr name":
        return TreeNameError(
            f"{path} has an extended attribute with '=' in its name",
            path=path,
            cause="a PAX record ends its key at the first '='",
            hint="remove the attribute (setfattr -x), or pack with --no-xattrs",
        )
    if fault.kind == "headers":
        return TreeNameError(
            f"{path} has a path and extended attributes too large for a layer",
            path=path,
            cause=f"its headers take {fault.found:,} bytes; there is room for {fault.expected:,}",
            hint="pack with --no-xattrs",
        )
    if fault.kind == "size":
        return TreeError(
            f"{path} is too large for the layer",
            path=path,
            cause=f"it has {fault.found:,} bytes, holes included; there is room for {fault.expected:,}",
            hint=None if relative == "." else exclusion(relative),
        )
    hint = None
    if fault.error in (errno.EACCES, errno.EPERM):
        hint = "run as its owner or as root" + ("" if relative == "." else f", or {exclusion(relative)}")
    return TreeError(
        f"cannot {_ACTIONS[fault.kind]} {path}",
        path=path,
        cause=reason(fault.error),
        hint=hint,
        errno=fault.error,
    )


def exclusion(relative: str) -> str:
    """Return the option that leaves a path out and nothing else, as a shell takes it.

    Args:
        relative: The path beneath the source, bytes that are not UTF-8 as the file system has them (surrogateescape).
    """
    return f"--exclude {shlex.quote(pattern_of(relative))}"


def _changed(fault: EngineFault, path: str, relative: str) -> TreeChangedError:
    if fault.found == -1:
        what, cause = "vanished", "it was there when the tree was scanned"
    elif fault.error:
        what, cause = "was replaced", "it is no longer what it was when the tree was scanned"
    elif fault.found != fault.expected:
        what, cause = "changed", f"size {fault.expected:,} → {fault.found:,}"
    else:
        what, cause = "changed", "its times are not those that were scanned"
    return TreeChangedError(
        f"{path} {what} while it was packed",
        path=path,
        cause=f"{cause}; nothing was tagged or kept",
        hint="stop its writer, or pack a snapshot"
        if relative == "."
        else f"stop its writer, pack a snapshot, or {exclusion(relative)}",
        errno=fault.error or None,
    )
