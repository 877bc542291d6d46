"""Numbers as people read them."""

from __future__ import annotations

import pytest

from fastoci.cli.options import parse_size
from fastoci.errors import UsageError
from fastoci.units import format_eta, format_part, format_position, format_rate, format_size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1126, "1.1 KiB"),
        (4 << 20, "4 MiB"),
        ((1 << 20) - 1, "1 MiB"),
        (2684354560, "2.5 GiB"),
        (1 << 70, "1024 EiB"),
    ],
)
def test_sizes(size, text):
    assert format_size(size) == text


def test_positions():
    assert format_position(0, 2684354560) == "0.0/2.5 GiB"
    assert format_position(1181116006, 2684354560) == "1.1/2.5 GiB"
    assert format_position(3, 700) == "3/700 B"
    assert format_position(0, 0) == "0/0 B"
    assert format_part(1503238554, 2684354560) == "1.4 of 2.5 GiB"


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0 B/s"), (12.3, "12 B/s"), (1536, "1.5 KiB/s"), (109.4 * 2**20, "109 MiB/s"), (9.97 * 2**20, "10 MiB/s")],
)
def test_rates(rate, text):
    assert format_rate(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (14, "14s"), (59.7, "1m00s"), (125, "2m05s"), (3720, "1h02m")]
)
def test_times(seconds, text):
    assert format_eta(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("32MiB", 32 << 20), ("32m", 32 << 20), ("32 MB", 32 << 20), ("1G", 1 << 30), ("4k", 4096), ("10B", 10)],
)
def test_sizes_from_the_user(text, size):
    assert parse_size(text, "--chunk-size") == size


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1.5M", "1TB", "MiB", "1ib", "1bb", "1mm"])
def test_no_sizes_from_the_user(text):
    with pytest.raises(UsageError, match="--chunk-size"):
        parse_size(text, "--chunk-size")
