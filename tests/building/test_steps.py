"""How a layer came to be: what a history says of it, read out of it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.building.steps import Step
from fastoci.layer.options import Split

DESTS = st.text(st.characters(codec="utf-8"), max_size=30).map(lambda text: f"/{text}")
SPLITS = st.one_of(
    st.integers(1, 10**15 - 1).map(lambda size: Split(size=size)),
    st.integers(1, 1000).map(lambda count: Split(count=count)),
)


def parts(dest, split, one, other):
    return Step(dest, split=split, number=min(one, other), count=max(one, other))


NUMBERS = st.integers(1, 1000)
STEPS = st.one_of(st.builds(Step, DESTS, st.booleans()), st.builds(parts, DESTS, SPLITS, NUMBERS, NUMBERS))


@given(STEPS)
def test_what_is_written_is_read(step):
    assert Step.parse(str(step)) == step


def test_how_it_is_written():
    assert str(Step("/")) == "COPY . / # fastoci"
    assert str(Step("/opt", diff=True)) == "COPY . /opt # fastoci --diff"
    assert str(Step("/", split=Split(count=20), number=3, count=17)) == "COPY . / # fastoci --split 20 3/17"
    assert str(Step("/", split=Split(size=512), number=1, count=2)) == "COPY . / # fastoci --split 512B 1/2"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RUN true",
        "COPY . opt # fastoci",
        "COPY . / # fastoci ",
        "COPY . / # fastoci --split 20",
        "COPY . / # fastoci --split 0 1/1",
        "COPY . / # fastoci --split 20 0/3",
        "COPY . / # fastoci --split 20 4/3",
        "COPY . / # fastoci --split ² 1/1",
        "COPY . / # fastoci --split 9999999999999999 1/1",
        "COPY . / # fastoci --diff --split 2 1/2",
    ],
)
def test_what_no_build_writes(text):
    assert Step.parse(text) is None
