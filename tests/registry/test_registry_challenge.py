"""`WWW-Authenticate` in the forms that servers write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.registry.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            [
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'
            ],
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (['BEARER Realm = "x" , Service=y'], [("bearer", {"realm": "x", "service": "y"})]),
        (['Basic realm="a, b"'], [("basic", {"realm": "a, b"})]),
        (["Basic"], [("basic", {})]),
        (
            ['Basic realm="r", Bearer realm="t",scope="a b,c"'],
            [("basic", {"realm": "r"}), ("bearer", {"realm": "t", "scope": "a b,c"})],
        ),
        (['Basic realm="r"', 'Bearer realm="t"'], [("basic", {"realm": "r"}), ("bearer", {"realm": "t"})]),
        (["Negotiate", 'Basic realm="r"'], [("negotiate", {}), ("basic", {"realm": "r"})]),
        (["Negotiate abc==, Basic realm=r"], [("negotiate", {}), ("basic", {"realm": "r"})]),
        (["NTLM, Negotiate, Basic"], [("ntlm", {}), ("negotiate", {}), ("basic", {})]),
        ([r'Bearer realm="a\"b\\c"'], [("bearer", {"realm": 'a"b\\c'})]),
        (
            ["Bearer realm=https://h/token?x=1,service=s"],
            [("bearer", {"realm": "https://h/token?x=1", "service": "s"})],
        ),
        ([", ,Basic realm=r,,"], [("basic", {"realm": "r"})]),
        (['Bearer realm="first",realm="second"'], [("bearer", {"realm": "first"})]),
        ([""], []),
        ([], []),
    ],
)
def test_parsed(headers: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(headers) == tuple(Challenge(scheme, parameters) for scheme, parameters in expected)


def test_an_open_quote_ends_the_reading() -> None:
    assert parse_challenges(['Basic realm="r", Bearer realm="open'])[0] == Challenge("basic", {"realm": "r"})


@given(st.lists(st.text(max_size=80), max_size=3))
def test_anything_can_be_read(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower()


WORD = st.text(alphabet="abcdefghijklmnop-_", min_size=1, max_size=8)
VALUE = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@given(st.lists(st.tuples(WORD, st.dictionaries(WORD, VALUE, min_size=1, max_size=4)), min_size=1, max_size=4))
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    line = ", ".join(
        f"{scheme} " + ",".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert parse_challenges([line]) == tuple(Challenge(scheme, parameters) for scheme, parameters in challenges)


def test_a_long_line_takes_no_long_time() -> None:
    parse_challenges(["Bearer " + "a=" * 50_000, 'Bearer realm="' + "\\" * 60_000, "a " * 40_000, ',="' * 20_000])
