"""What the tests here share with others."""

from __future__ import annotations

from oracles.fixtures import nasty_tree

__all__ = ["nasty_tree"]
