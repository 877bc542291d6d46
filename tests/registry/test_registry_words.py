"""What servers say, in any form that it may have: read within bounds, shown without harm, and never a traceback."""

from __future__ import annotations

import io
import json

import urllib3
from hypothesis import example, given
from hypothesis import strategies as st

from fastoci.registry.patience import LONGEST_RETRY_AFTER, retry_after
from fastoci.registry.ranges import held_by
from fastoci.registry.response import Response
from fastoci.registry.urls import Url

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=400)
ENTRY = st.fixed_dictionaries({"code": WORDS | ANY_JSON, "message": WORDS | ANY_JSON, "detail": ANY_JSON})


def answer(body: bytes, kind: str = "application/json") -> Response:
    raw = urllib3.HTTPResponse(io.BytesIO(body), {"Content-Type": kind}, 400, preload_content=False)
    return Response(raw, "GET", Url.parse("https://registry.example/v2/"))


def check(response: Response) -> None:
    said = response.diagnostics()
    assert said.isprintable()
    assert len(said) <= 300
    assert all(isinstance(code, str) and len(code) <= 80 * 3 for code in response.codes())


@given(st.fixed_dictionaries({"errors": st.lists(ENTRY, max_size=12) | ANY_JSON}) | ANY_JSON)
@example({"errors": [{"code": "\x1b[2J" * 99, "message": "\u202e" * 999}]})
@example({"error": "x" * 9999, "error_description": "\r\n" * 9999})
def test_errors_as_json(document: object) -> None:
    check(answer(json.dumps(document).encode()))


@given(st.binary(max_size=2000), st.sampled_from(["application/json", "text/plain", "text/html", ""]))
def test_errors_as_bytes(body: bytes, kind: str) -> None:
    check(answer(body, kind))


@given(st.text(max_size=40) | st.from_regex(r"(bytes=)?0-(-)?[0-9]{1,25}", fullmatch=True))
@example("0-" + "9" * 400)
@example("0-\u0663")
def test_ranges(text: str) -> None:
    held = held_by(text)
    if held is not None:
        assert 0 <= held.size <= 10**19
        assert held.ambiguous == (held.size == 1)


@given(st.integers(0, 10**15))
def test_a_range_says_where_its_last_byte_is(last: int) -> None:
    held = held_by(f"0-{last}")
    assert held is not None
    assert held.size == last + 1


@given(st.text(max_size=40) | st.floats().map(str) | st.integers().map(str), st.floats(0, 4e9))
@example("1" * 400, 0.0)
@example("Thu, 31 Dec 9999 23:59:59 GMT", 0.0)
@example("Thu, 01 Jan 0001 00:00:00 GMT", 0.0)
@example("Thu, 99 Jan 2026 99:00:00 +9999", 0.0)
@example("\u0663", 0.0)
def test_retry_after(text: str, now: float) -> None:
    seconds = retry_after(text, now)
    assert seconds is None or 0 < seconds <= LONGEST_RETRY_AFTER
