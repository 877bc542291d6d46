"""Sizes, rates and times as people read them: in errors, on screen and in logs."""

from __future__ import annotations

__all__ = ["format_eta", "format_part", "format_position", "format_rate", "format_size"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_size(size: float) -> str:
    """Return bytes as `612 B`, `2.5 GiB`, `4 MiB`; nothing is `0`."""
    if size == 0:
        return "0"
    power = _power(size)
    return f"{_scaled(size, power)} {_UNITS[power]}"


def format_position(done: int, total: int) -> str:
    """Return how far a transfer is, as `1.1/2.5 GiB`: both in the unit of the total."""
    return _of(done, total, "/")


def format_part(done: int, total: int) -> str:
    """Return how much of something there is, as `1.1 of 2.5 GiB`."""
    return _of(done, total, " of ")


def format_rate(rate: float) -> str:
    """Return bytes a second as `109 MiB/s`: no decimals from ten on."""
    power = _power(rate)
    number = rate / 1024**power
    return f"{number:.1f} {_UNITS[power]}/s" if number < 9.95 and power else f"{number:.0f} {_UNITS[power]}/s"


def format_eta(seconds: float) -> str:
    """Return a time to come as `14s`, `2m05s`, `1h02m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _of(done: int, total: int, separator: str) -> str:
    power = _power(total)
    return f"{_scaled(done, power, strip=False)}{separator}{_scaled(total, power, strip=False)} {_UNITS[power]}"


def _power(size: float) -> int:
    power = 0
    # 1023.97 KiB would be printed as 1024.0 KiB.
    while round(size / 1024**power, 1) >= 1024 and power < len(_UNITS) - 1:
        power += 1
    return power


def _scaled(size: float, power: int, *, strip: bool = True) -> str:
    if power == 0:
        return f"{size:.0f}"
    text = f"{size / 1024**power:.1f}"
    return text.removesuffix(".0") if strip else text
