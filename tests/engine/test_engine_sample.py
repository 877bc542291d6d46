"""The look at a block's bytes that decides whether compressing it is tried at all."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from fastoci._engine.sample import is_even

RUN = 4096
STRIDE = 8 * RUN


def slowly(data):
    """Return whether two of the sampled bytes are equal no more often than in even data, and 2 % on top of it."""
    sample = b"".join(data[start : start + RUN] for start in range(0, len(data) - RUN + 1, STRIDE))
    pairs = sum(count * (count - 1) for count in Counter(sample).values())
    return len(sample) >= 2 * RUN and pairs * 256 * 100 <= len(sample) * (len(sample) - 1) * 102


def biased(size, seed, share):
    """Return random bytes, of which a share is one and the same."""
    rng = random.Random(seed)
    return bytes(0 if rng.random() < share else rng.randrange(256) for _ in range(size))


def test_random_bytes_are_even_and_text_is_not():
    assert is_even(random.Random(1).randbytes(512 * 1024))
    assert not is_even(b"".join(b"%d bottles\n" % number for number in range(50000)))
    assert not is_even(bytes(512 * 1024))
    # It sees no repetition, only how often each value occurs.
    assert is_even(bytes(range(256)) * 2048)


@pytest.mark.parametrize("size", [0, 1, RUN - 1, RUN, STRIDE, STRIDE + RUN - 1, STRIDE + RUN, 10 * STRIDE])
def test_a_small_sample_says_nothing(size):
    data = random.Random(2).randbytes(size)
    assert is_even(data) == slowly(data) == (size >= STRIDE + RUN)


@pytest.mark.parametrize("share", [0, 0.002, 0.004, 0.006, 0.008, 0.01, 0.02, 0.1])
def test_the_boundary_is_that_of_the_slow_sum(share):
    data = biased(4 * STRIDE + RUN, int(share * 1000), share)
    assert is_even(data) == slowly(data)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind):
    assert is_even(kind(random.Random(3).randbytes(2 * STRIDE)))
