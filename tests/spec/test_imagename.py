from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.errors import UsageError
from fastoci.spec.digest import Digest
from fastoci.spec.imagename import ImageName, is_ref_name
from fastoci.spec.reference import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci:dir", ("oci", "dir", None, None)),
        ("oci:dir:1", ("oci", "dir", "1", None)),
        ("oci:/a/b.oci:1.0_x", ("oci", "/a/b.oci", "1.0_x", None)),
        ("oci:dir:docker.io/library/busybox:latest", ("oci", "dir", "docker.io/library/busybox:latest", None)),
        (f"oci:./x.oci:1@{DIGEST}", ("oci", "./x.oci", "1", DIGEST)),
        (f"oci:./x.oci@{DIGEST}", ("oci", "./x.oci", None, DIGEST)),
        ("oci:me@home/x:1", ("oci", "me@home/x", "1", None)),
        ("oci-archive:x.tar:1", ("oci-archive", "x.tar", "1", None)),
        ("docker-archive:x.tar", ("docker-archive", "x.tar", None, None)),
        ("docker-archive:x.tar:me/image:1", ("docker-archive", "x.tar", "me/image:1", None)),
        ("docker://ghcr.io/me/x:1", ("docker", "ghcr.io/me/x", "1", None)),
        ("docker://localhost:5000/x", ("docker", "localhost:5000/x", None, None)),
        (f"docker://x@{DIGEST}", ("docker", "x", None, DIGEST)),
        ("./x", ("oci", "./x", None, None)),
        ("../x:1", ("oci", "../x", "1", None)),
        ("/a:b/c", ("oci", "/a:b/c", None, None)),
        (".", ("oci", ".", None, None)),
        ("x.oci", (None, "x.oci", None, None)),
        ("x.oci:1", (None, "x.oci", "1", None)),
        ("localhost:5000/x:1", (None, "localhost:5000/x", "1", None)),
        ("docker:27-dind", (None, "docker", "27-dind", None)),
        ("[::1]:5000/x", (None, "[::1]:5000/x", None, None)),
        (f"ghcr.io/me/x:1@{DIGEST}", (None, "ghcr.io/me/x", "1", DIGEST)),
    ],
)
def test_parse(text, expected):
    transport, location, tag, digest = expected
    name = ImageName.parse(text)
    assert name == ImageName(transport, location, tag, None if digest is None else Digest.parse(digest))
    if transport != "docker":
        assert ImageName.parse(str(name)).located({location}.__contains__) == name
    assert ImageName.parse(str(name)).target == name.target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "oci:",
        "oci::1",
        "oci:dir:",
        "oci:dir:-x",
        "oci:dir: x",
        "docker://",
        "oci:x\0y",
        "oci:x@sha256:12",
        "docker-daemon:x:1",
        "containers-storage:x",
        "https://ghcr.io/me/x",
        "oci://dir",
        "dir:/tmp/x",
        ":1",
        f"@{DIGEST}",
    ],
)
def test_refused(text):
    with pytest.raises(UsageError, match="not the name of an image"):
        ImageName.parse(text)


def test_target_is_what_a_reference_is_parsed_from():
    for text in ("localhost:5000/x:1", f"ghcr.io/me/x:1@{DIGEST}", "debian"):
        assert ImageName.parse(text).target == ImageName.parse(f"docker://{text}").target == text
        assert Reference.parse(ImageName.parse(text).target) == Reference.parse(text)


@pytest.mark.parametrize(
    ("text", "there", "expected"),
    [
        ("oci:x:1", {"x"}, ("x", "1")),
        ("oci:a:b:1", {"a:b"}, ("a:b", "1")),
        ("oci:a:b:1", {"a", "a:b"}, ("a", "b:1")),
        ("oci:a:b:1", {"a:b:1"}, ("a:b:1", None)),
        ("oci:a:b:1", set(), None),
        ("x:1", {"x"}, ("x", "1")),
        ("x:1", {"x:1"}, ("x:1", None)),
        ("./x:1", {"./x:1"}, ("./x:1", None)),
        ("docker://x:1", {"x"}, None),
    ],
)
def test_located_asks_for_each_reading(text, there, expected):
    found = ImageName.parse(text).located(there.__contains__)
    assert (None if found is None else (found.location, found.tag)) == expected


LOCATIONS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(LOCATIONS, st.none() | TAGS, st.booleans())
def test_result_lines_parse_again(location, tag, pinned):
    """Whatever the path of a layout, the line that a build prints leads back to it."""
    path = f"./{location}"
    digest = Digest.parse(DIGEST) if pinned else None
    line = str(ImageName("oci", path, tag, digest))
    try:
        name = ImageName.parse(line)
    except UsageError:
        # A colon, and behind it what cannot be a tag, or something like a digest.
        assert ":" in location or "@" in location
        return
    found = name.located({path}.__contains__)
    if "@" not in location:
        assert found == ImageName("oci", path, tag, digest)


@given(st.text(max_size=40))
def test_anything_parses_or_is_refused(text):
    try:
        name = ImageName.parse(text)
    except UsageError:
        return
    assert ImageName.parse(str(name)).target == name.target


@pytest.mark.parametrize("text", ["1", "latest", "a/b:c", "v1+2", "x_", "docker.io/library/debian:12"])
def test_names_for_an_index(text):
    assert is_ref_name(text)


@pytest.mark.parametrize("text", ["", "-a", "a b", "a//b", "é", "x" * 600, "a\n", "1\n"])
def test_no_names_for_an_index(text):
    assert not is_ref_name(text)
