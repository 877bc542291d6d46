from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.errors import InvalidImageError
from fastoci.spec.digest import Digest

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.binary())
def test_of_bytes_is_what_hashlib_says(data):
    digest = Digest.of(data)
    assert str(digest) == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert Digest.parse(str(digest)) == digest
    assert digest.matches(data)
    assert not digest.matches(data + b"x")


def test_sha512():
    digest = Digest.parse("sha512:" + hashlib.sha512(b"x").hexdigest())
    assert digest.matches(b"x")
    assert digest.short == digest.hex[:8]


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY,
        "sha256:",
        f":{EMPTY}",
        f"sha256:{EMPTY[1:]}",
        f"sha256:{EMPTY}0",
        f"sha256:{EMPTY.upper()}",
        f"sha256:{EMPTY}\n",
        f"sha256:{EMPTY[:-1]}\n",
        f"SHA256:{EMPTY}",
        f"sha512:{EMPTY}",
        f"sha256::{EMPTY}",
        f"sha256:{'../' * 22}",
        "md5:../../etc/passwd",
        "..:abc",
        "a/b:abc",
        "sha256+b64:a/b",
        "x:é",
        f"x:{'a' * 300}",
    ],
)
def test_refused(text):
    with pytest.raises(InvalidImageError, match="not a digest"):
        Digest.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
    ],
)
def test_unknown_algorithms_parse_but_are_not_computed(text):
    """The examples of descriptor.md, "Digests"."""
    digest = Digest.parse(text)
    assert str(digest) == text
    assert not digest.is_supported
    with pytest.raises(InvalidImageError, match="cannot verify"):
        digest.matches(b"")


@given(st.text(max_size=20), st.text(max_size=90))
def test_what_parses_is_safe_in_a_path(algorithm, encoded):
    try:
        digest = Digest(algorithm, encoded)
    except InvalidImageError:
        return
    for part in (digest.algorithm, digest.hex):
        assert part.isascii()
        assert "/" not in part
        assert "\0" not in part
        assert part.strip(".")


def test_digests_are_values():
    assert len({Digest.of(b""), Digest.parse(f"sha256:{EMPTY}")}) == 1
    assert min(Digest("sha256", "f" * 64), Digest("sha256", "0" * 64)).hex == "0" * 64
