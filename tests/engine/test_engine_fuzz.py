"""Rounds of the fuzzer over headers and plans; .ci/sanitize runs other ones, for longer, under the sanitizers."""

from __future__ import annotations

import pytest

from oracles import fuzz
from oracles.longform import times

FIRST = 20261125
PARTS = 10


@pytest.mark.timeout(times(300, 3600))
@pytest.mark.parametrize("part", range(PARTS))
def test_rounds_from_a_seed(part):
    for number in range(times(20, 2000)):
        fuzz.run_round(FIRST + part + number * PARTS)


def test_a_round_is_the_same_every_time(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = fuzz.Round(7, str(tmp_path / "one")), fuzz.Round(7, str(tmp_path / "two"))
    assert one.chain == two.chain
    assert one.expected() == two.expected()


def test_a_failure_names_its_round(monkeypatch):
    monkeypatch.setattr(fuzz, "cut", lambda pieces, limit: [])
    with pytest.raises(AssertionError) as caught:
        fuzz.run_round(2)
    assert "--seed" in caught.value.__notes__[0]
