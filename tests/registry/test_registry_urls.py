"""URLs from strangers: kept byte for byte, or refused."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.registry.urls import InvalidUrlError, Origin, Url, host_and_port, is_loopback, is_private, literal_address

BASE = Url.parse("https://registry.example:8443/v2/a/b/uploads/1?_state=x%3d")


@pytest.mark.parametrize(
    "text",
    [
        "https://h/p?_state=%3d%2F;+~&x=/../y",
        "http://h:8080/v2/%2e%2e/x",
        "https://[2001:db8::1]:5000/",
    ],
)
def test_bytes_are_kept(text: str) -> None:
    assert Url.parse(text).full() == text


def test_what_is_normalised_is_the_origin_alone() -> None:
    assert Url.parse("HTTPS://Example.COM:443/A?B#frag").full() == "https://example.com/A?B"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/relative",
        "//host/x",
        "ftp://host/",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http://user@host/",
        "http://user:pw@host/",
        "http://host:0/",
        "http://host:65536/",
        "http://host:port/",
        "http://ho st/",
        "http://host/a b",
        "http://host/a\r\nX: y",
        "http://host/\x00",
        "http://host/\t",
        "http://höst/",
        "http://host/ü",
        "http://host\\@evil/",
        "http://%31/",
        "http://[::1/",
        "http://a,b/",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidUrlError) as caught:
        Url.parse(text)
    assert "pw" not in str(caught.value)


# What RFC 3986, 5.4 lists and what its neighbours ask, by urllib's word.
@pytest.mark.parametrize(
    "reference",
    [
        "g",
        "g/h",
        "./g",
        "../g",
        "../../g",
        "../../../../../g",
        "/g",
        "//other/g",
        "?y=1",
        "g?y",
        "",
        "#s",
        "g/../h",
        ".",
        "..",
        "./",
        "../",
        "http://other/x",
        "https://other:1/x?y#z",
        "/a/./b/../c",
    ],
)
def test_joined_as_the_standard_says(reference: str) -> None:
    assert BASE.join(reference).full() == urljoin(BASE.full(), reference).partition("#")[0]


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=40))
def test_a_query_comes_back_as_it_was(query: str) -> None:
    joined = BASE.join(f"/v2/x?{query}")
    assert joined.target == f"/v2/x?{query}"
    assert joined.with_query("digest=d").target.startswith(f"/v2/x?{query}")


@given(st.text(max_size=60))
def test_whatever_comes_in_cannot_end_a_line(text: str) -> None:
    try:
        url = BASE.join(text)
    except InvalidUrlError:
        return
    assert url.origin.scheme in {"http", "https"}
    assert url.target.startswith("/")
    assert all(0x21 <= ord(letter) <= 0x7E for letter in url.full())


@pytest.mark.parametrize(
    ("target", "expected"),
    [("/p", "/p?digest=d"), ("/p?a=b", "/p?a=b&digest=d"), ("/p?", "/p?digest=d"), ("/p?a&", "/p?a&digest=d")],
)
def test_with_query(target: str, expected: str) -> None:
    assert Url(BASE.origin, target).with_query("digest=d").target == expected


def test_shown_without_its_query() -> None:
    assert "x%3d" not in f"{BASE} {BASE!r}"
    assert str(BASE) == "https://registry.example:8443/v2/a/b/uploads/1?…"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ghcr.io", ("ghcr.io", None)),
        ("LocalHost:5000", ("localhost", 5000)),
        ("[::1]:5000", ("::1", 5000)),
        ("[::1]", ("::1", None)),
    ],
)
def test_host_and_port(text: str, expected: tuple[str, int | None]) -> None:
    assert host_and_port(text) == expected


@pytest.mark.parametrize("text", ["", "a/b", "a:b", "a:0", "a:70000", "::1", "a b", "a@b"])
def test_no_host(text: str) -> None:
    with pytest.raises(InvalidUrlError):
        host_and_port(text)


def test_an_origin_with_an_ipv6_address() -> None:
    assert str(Origin("https", "::1", 5000)) == "https://[::1]:5000"
    assert str(Origin("https", "::1", 443)) == "https://[::1]"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "a.localhost",
        "127.0.0.1",
        "127.9.9.9",
        "127.1",
        "0x7f.1",
        "2130706433",
        "::1",
        "::ffff:127.0.0.1",
        "127.0.0.1.",
        "localhost.",
        "017700000001",
    ],
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "0.0.0.0",
        "100.64.0.1",
        "fd00::1",
        "fe80::1",
        "::",
        "::ffff:10.0.0.1",
        "224.0.0.1",
        "10.1",
    ],
)
def test_private_but_not_loopback(host: str) -> None:
    assert is_private(host)
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["ghcr.io", "8.8.8.8", "2606:4700::1111", "10.example.com", "cafe", "1.2.3.4.5"])
def test_not_private(host: str) -> None:
    assert not is_private(host)


def test_names_are_not_addresses() -> None:
    assert literal_address("ghcr.io") is None
    assert literal_address("999.1.1.1") is None
