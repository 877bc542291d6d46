"""How much of a test is run: `FASTOCI_TESTS=long` asks for the long forms, which `.ci/run full` runs."""

from __future__ import annotations

import os

LONG = os.environ.get("FASTOCI_TESTS") == "long"


def times(short: int, long: int) -> int:
    """Return how often to do something: the long form is the same with another number."""
    return long if LONG else short
