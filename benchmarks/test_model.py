"""The arithmetic behind the verdicts, on numbers that were worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from model import STAGES, Layer, alone, limit, predict, work
from primitives import Rates

# 1000 bytes of tar, 400 of blob, 10 entries.
LAYER = Layer(1000, 400, 10)
RATES = Rates(
    sha=100,
    deflate=50,
    deflate_shrinking=80,
    read=200,
    write=400,
    file=0.25,
    scan=0.25,
    crc=1000,
    disk=100,
    flush=0.5,
)


def test_work_is_the_sum_of_what_has_to_be_done() -> None:
    # 5 read, 10 and 4 hashed, 20 deflated, 1 written, 5 for the entries.
    assert work(LAYER, RATES, RATES.deflate) == pytest.approx(45)
    assert work(LAYER, RATES, float("inf")) == pytest.approx(25)


@pytest.mark.parametrize(("cores", "seconds"), [(1, 45.5), (2, 23.0), (4, 11.75), (8, 10.5), (64, 10.5)])
def test_the_limit_is_shared_work_until_one_chain_of_hashing_is_longer(cores: int, seconds: float) -> None:
    assert limit(LAYER, RATES, RATES.deflate, cores) == pytest.approx(seconds)


def test_a_slow_disk_adds_what_it_has_left_to_do() -> None:
    # 400 bytes take it 40 s, 22.5 of which pass while the layer is made.
    slow = dataclasses.replace(RATES, disk=10)
    assert limit(LAYER, slow, RATES.deflate, 2) == pytest.approx(22.5 + 0.5 + 17.5)


STAGES_OF_A_BUILD = {
    "scan": 2.0,
    "plan": 1.0,
    "head": 0.5,
    "render": 10.0,
    "compress": 30.0,
    "hash_tar": 8.0,
    "hash_blob": 4.0,
    "write": 2.0,
    "tail": 0.25,
    "commit": 0.75,
}


def test_the_prediction_ends_at_the_chain_of_hashing() -> None:
    few, many = predict(STAGES_OF_A_BUILD, cpu=50.0, start=0.25, cores=(2, 64))
    assert few.seconds == pytest.approx(0.25 + 1.5 + 57 / 2)
    assert few.bottleneck == "all the cores"
    assert many.seconds == pytest.approx(0.25 + 1.5 + 8)
    assert many.bottleneck == "SHA-256 of the tar"


def test_cpu_time_outside_of_all_stages_counts() -> None:
    (one,) = predict(STAGES_OF_A_BUILD, cpu=80.0, start=0.0, cores=(1,))
    assert one.seconds == pytest.approx(81.5)


def test_what_nothing_else_is_done_beside() -> None:
    assert alone(STAGES_OF_A_BUILD) == pytest.approx(1.5)
    assert STAGES_OF_A_BUILD.keys() == STAGES
