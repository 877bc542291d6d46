from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.errors import InvalidImageError
from fastoci.spec import canonical

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXTS, below, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=5)


@given(OBJECTS)
def test_what_is_written_is_read_again(obj):
    data = canonical.dumps(obj)
    assert canonical.loads(data, "it") == obj
    assert json.loads(data) == obj
    assert canonical.dumps(canonical.loads(data, "it")) == data


@given(OBJECTS)
def test_agrees_with_json(obj):
    expected = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical.dumps(obj) == expected.encode()


def test_the_bytes():
    assert (
        canonical.dumps({"b": [1, None, True], "a": "é<\n", "B": {}})
        == '{"B":{},"a":"é<\\n","b":[1,null,true]}'.encode()
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_not_written(number):
    with pytest.raises(ValueError, match="JSON"):
        canonical.dumps({"a": number})


def test_half_a_character_is_not_written():
    with pytest.raises(InvalidImageError, match="UTF-8"):
        canonical.dumps({"a": "name-\udcff"})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":"\xff"}', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b'{"a":1,"a":1}', "'a' comes twice"),
        (b'{"x":{"a":1,"b":2,"\\u0061":1}}', "'a' comes twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":' + b"9" * 21 + b"}", "too large"),
        (b'{"a":' + b"9" * 5000 + b"}", "too large"),
        (b'{"a":-' + b"9" * 5000 + b"}", "too large"),
        (b'{"a":"\\ud800"}', "half a character"),
        (b'{"\\uDfff":1}', "half a character"),
        (b'{"a":"\x01"}', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", "nested too deeply"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_refused(data, why):
    with pytest.raises(InvalidImageError, match=why) as caught:
        canonical.loads(data, "the thing")
    assert "the thing" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_nesting_up_to_the_limit_is_read():
    data = b'{"a":' + b"[" * 62 + b"]" * 62 + b"}"
    assert canonical.dumps(canonical.loads(data, "it")) == data


def test_size_is_bounded():
    data = b'{"a":"' + b"x" * 100 + b'"}'
    assert canonical.loads(data, "it", limit=len(data))
    with pytest.raises(InvalidImageError, match="too large"):
        canonical.loads(data, "it", limit=len(data) - 1)


@given(st.binary(max_size=200) | TEXTS.map(str.encode) | OBJECTS.map(lambda obj: json.dumps(obj).encode()))
def test_anything_is_read_or_refused(data):
    try:
        value = canonical.loads(data, "it")
    except InvalidImageError:
        return
    assert value == json.loads(data)
