"""Sizes as people read them."""

from __future__ import annotations

__all__ = ["UNITS", "format_position", "format_share", "format_size", "power_of"]

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_size(size: float) -> str:
    """Return bytes as `612 B`, `2.5 GiB`, `4 MiB`; nothing is `0`."""
    if size == 0:
        return "0"
    power = power_of(size)
    return f"{_scaled(size, power)} {UNITS[power]}"


def format_position(done: int, total: int) -> str:
    """Return how far a transfer is, as `1.1/2.5 GiB`: both in the unit of the total."""
    power = power_of(total)
    return f"{_scaled(done, power, strip=False)}/{_scaled(total, power, strip=False)} {UNITS[power]}"


def format_share(done: int, total: int) -> str:
    """Return how much of something there is, as `1.1 of 2.5 GiB`."""
    return format_position(done, total).replace("/", " of ")


def power_of(size: float) -> int:
    """Return which of `UNITS` a size is told in."""
    power = 0
    # 1023.97 KiB would be printed as 1024.0 KiB.
    while round(size / 1024**power, 1) >= 1024 and power < len(UNITS) - 1:
        power += 1
    return power


def _scaled(size: float, power: int, *, strip: bool = True) -> str:
    if power == 0:
        return f"{size:.0f}"
    text = f"{size / 1024**power:.1f}"
    return text.removesuffix(".0") if strip else text
