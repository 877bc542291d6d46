"""The native engine: scanning a tree, planning a layer's tar stream, rendering any block of it, and writing its files.

What is in here knows no policy; it is Cython, from `ext/`. The scanner and the table are for `fastoci.tree`, the
planner and the renderer for `fastoci.layer`, the writer for `fastoci.rootfs`; nobody else imports them. Beside them
stands `ending`, which is no part of the engine but must be native as well, for `fastoci.ending`.
"""

from __future__ import annotations

from typing import Any, Literal

__all__ = ["EngineFault", "FaultKind"]

FaultKind = Literal[
    "open directory",
    "read directory",
    "stat",
    "read link",
    "xattr",
    "xattr name",
    "whiteout name",
    "open",
    "read",
    "changed",
    "headers",
    "write",
    "size",
]


class EngineFault(Exception):  # noqa: N818 - the engine's word, not one for users: it becomes an error one floor up
    """Something the engine could not do, as facts; whoever called it says it in words (`fastoci.tree.faults`).

    Args:
        kind: What was being done, or what was found.
        path: The path concerned, relative to the source, empty for the source itself; for "write" the archive's.
        error: The kernel's error number, 0 where it said nothing.
        expected: For "changed" the size as scanned; for "headers" and "size" the bytes there is room for.
        found: For "changed" the size now, -1 where it is gone; for "headers" and "size" those wanted.
    """

    def __init__(self, kind: FaultKind, path: bytes, error: int, expected: int, found: int) -> None:
        super().__init__(kind, path, error, expected, found)
        self.kind = kind
        self.path = path
        self.error = error
        self.expected = expected
        self.found = found

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, self.path, self.error, self.expected, self.found)
