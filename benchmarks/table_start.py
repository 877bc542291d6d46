"""The table of start-up."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from records import Records, met, spread

__all__ = ["BARE_TYPER", "EMPTY", "HELP", "PYTHON", "VERSION", "start_table"]

PYTHON = "python -c pass"
VERSION = "fastoci --version"
BARE_TYPER = "a bare Typer application with as many options, --help"
HELP = "fastoci build --help"
EMPTY = "fastoci build, an empty tree"


def start_table(records: Records) -> Iterator[str]:
    """Yield how long short commands take."""
    found = records.start_up
    if not found:
        return
    yield "start-up: CPU ms, median (least-most)"
    for what, seconds in found.items():
        yield f"  {what:<56}{len(seconds):>4} runs{spread([1000 * value for value in seconds], 1):>22}"
    middle = {what: statistics.median(seconds) for what, seconds in found.items()}
    if {PYTHON, VERSION} <= middle.keys():
        bound = 1.5 * middle[PYTHON] + 0.015
        yield f"  --version <= 1.5 x python + 15 ms = {1000 * bound:.1f} ms: {met(middle[VERSION] <= bound)}"
    if {BARE_TYPER, HELP} <= middle.keys():
        ratio = middle[HELP] / middle[BARE_TYPER]
        yield f"  build --help <= 1.3 x bare Typer: {ratio:.2f} x: {met(ratio <= 1.3)}"
    if EMPTY in middle:
        yield f"  an empty tree under 200 ms: {1000 * middle[EMPTY]:.0f} ms: {met(middle[EMPTY] < 0.2)}"
