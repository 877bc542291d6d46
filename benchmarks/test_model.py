"""The arithmetic behind the verdicts, on numbers that were worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from model import STAGES, Layer, limit, predict, work
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


def test_the_prediction_ends_at_the_chain_of_hashing() -> None:
    stages = {"scan": 2.0, "plan": 1.0, "render": 10.0, "compress": 30.0, "hash_tar": 8.0, "hash_blob": 4.0}
    stages |= {"write": 2.0, "commit": 0.5, "total": 40.0}
    few, many = predict(stages, threads=2, cpu=59.0, start=0.25, cores=(2, 64))
    assert few.seconds == pytest.approx(0.25 + 1.5 + 2.0 + 27.0)
    assert few.bottleneck == "all the cores"
    assert many.seconds == pytest.approx(0.25 + 1.5 + 0.5 + 8.0)
    assert many.bottleneck == "SHA-256 of the tar"


def test_clocks_that_ran_while_threads_waited_count_as_the_cpu_time_there_was() -> None:
    stages = {"scan": 0.0, "plan": 0.0, "render": 10.0, "compress": 30.0, "hash_tar": 10.0}
    (halved,) = predict(stages, threads=8, cpu=25.0, start=0.0, cores=(1,))
    assert halved.seconds == pytest.approx(25)


def test_the_stages_are_those_that_the_prediction_knows() -> None:
    assert {"scan", "plan", "render", "compress", "hash_tar", "hash_blob", "write", "commit"} == STAGES
