"""Sizes, rates and times as people read them."""

from __future__ import annotations

from fastoci.units import UNITS, format_position, format_size, power_of

__all__ = ["format_eta", "format_position", "format_rate", "format_size"]


def format_rate(rate: float) -> str:
    """Return bytes a second as `109 MiB/s`: no decimals from ten on."""
    power = power_of(rate)
    number = rate / 1024**power
    return f"{number:.1f} {UNITS[power]}/s" if number < 9.95 and power else f"{number:.0f} {UNITS[power]}/s"


def format_eta(seconds: float) -> str:
    """Return a time to come as `14s`, `2m05s`, `1h02m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
