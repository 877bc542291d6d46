"""What a planned tree has at a path, as its layer has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fastoci.tree.ancestors import Found
from fastoci.tree.policy import TreePolicy

__all__ = ["PlanLookup"]


class _Entries(Protocol):
    def find(self, path: bytes) -> tuple[str, dict[str, Any]] | None:
        """Return the kind and the facts of the entry at a path, or None."""


class PlanLookup:
    """A planned tree, or a selection of one, asked for one path: a `DirectoryLookup`.

    Args:
        plan: What was found, and is in the layer: a `Plan`, which is not this floor's to know.
        policy: What becomes of it.
    """

    def __init__(self, plan: _Entries, policy: TreePolicy) -> None:
        self._plan = plan
        self._policy = policy

    def find(self, path: bytes) -> Found | None:
        """Return what stands at `path`, as the layer has it."""
        answer = self._plan.find(path)
        if answer is None:
            return None
        kind, facts = answer
        if kind == "hardlink":
            # What the first of the file's names is: it may be a symbolic link.
            return self.find(facts["link"])
        return Found(
            kind,
            self._mode(kind, facts),
            self._owner(self._policy.uid, facts, "uid"),
            self._owner(self._policy.gid, facts, "gid"),
            self._mtime(facts),
            facts["xattrs"],
            facts["link"] if kind == "symlink" else b"",
        )

    def _mode(self, kind: str, facts: Mapping[str, Any]) -> int:
        mode: int = facts["mode"]
        if self._policy.chmod is None or facts["synthetic"] or kind == "symlink":
            return mode
        from fastoci.tree.chmod import parse_chmod  # not at the top: few builds change modes

        for change in parse_chmod(self._policy.chmod):
            mode = change.apply(mode, is_directory=kind == "directory")
        return mode

    def _mtime(self, facts: Mapping[str, Any]) -> int:
        mtime: int = facts["mtime"] if self._policy.mtime is None or facts["synthetic"] else self._policy.mtime
        return mtime if self._policy.mtime_limit is None else min(mtime, self._policy.mtime_limit)

    @staticmethod
    def _owner(wanted: int | None, facts: Mapping[str, Any], which: str) -> int:
        found: int = facts[which]
        return found if wanted is None or facts["synthetic"] else wanted
