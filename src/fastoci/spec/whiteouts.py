"""The names by which a layer removes what layers below it have (image-spec layer.md, "Whiteouts")."""

from __future__ import annotations

__all__ = ["OPAQUE", "PREFIX"]

PREFIX = b".wh."
"""Before a name: what layers below have of that name in the directory is gone."""

OPAQUE = PREFIX + PREFIX + b".opq"
"""In a directory: all that layers below have in it is gone."""
