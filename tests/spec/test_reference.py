from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.errors import UsageError
from fastoci.spec.digest import Digest
from fastoci.spec.reference import Reference, is_tag

HEX = "f" * 64
DIGEST = f"sha256:{HEX}"

# From the tests of the distribution/reference package: what docker makes of a name.
UNDERSTOOD = {
    "debian": ("docker.io", "library/debian", "latest", None),
    "debian:12": ("docker.io", "library/debian", "12", None),
    "library/debian": ("docker.io", "library/debian", "latest", None),
    "docker.io/debian": ("docker.io", "library/debian", "latest", None),
    "docker.io/library/debian:a": ("docker.io", "library/debian", "a", None),
    "index.docker.io/debian": ("docker.io", "library/debian", "latest", None),
    "me/image": ("docker.io", "me/image", "latest", None),
    "docker/docker": ("docker.io", "docker/docker", "latest", None),
    "127.0.0.1:5000/docker/docker": ("127.0.0.1:5000", "docker/docker", "latest", None),
    "localhost/image": ("localhost", "image", "latest", None),
    "localhost:5000/image:1": ("localhost:5000", "image", "1", None),
    "registry:5000/image": ("registry:5000", "image", "latest", None),
    "Registry/image": ("Registry", "image", "latest", None),
    "a.b/c/d/e__f--g.h_i": ("a.b", "c/d/e__f--g.h_i", "latest", None),
    "xn--n3h.com/myimage:xn--n3h.com": ("xn--n3h.com", "myimage", "xn--n3h.com", None),
    "[::1]:5000/image:1": ("[::1]:5000", "image", "1", None),
    "[2001:db8::1]/image": ("[2001:db8::1]", "image", "latest", None),
    f"debian@{DIGEST}": ("docker.io", "library/debian", None, DIGEST),
    f"ghcr.io/me/image:1@{DIGEST}": ("ghcr.io", "me/image", "1", DIGEST),
    "foo_bar.com:8080": ("docker.io", "library/foo_bar.com", "8080", None),
    f"{'a' * 128}:{'t' * 128}": ("docker.io", f"library/{'a' * 128}", "t" * 128, None),
    "b.gcr.io/test.example.com/my-app:x": ("b.gcr.io", "test.example.com/my-app", "x", None),
    f"{HEX}/image": ("docker.io", f"{HEX}/image", "latest", None),
}


@pytest.mark.parametrize(("text", "expected"), UNDERSTOOD.items())
def test_parse(text, expected):
    host, repository, tag, digest = expected
    reference = Reference.parse(text)
    assert (reference.host, reference.repository, reference.tag) == (host, repository, tag)
    assert reference.digest == (None if digest is None else Digest.parse(digest))
    assert reference.name == f"{host}/{repository}"
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        f"@{DIGEST}",
        "/image",
        "image/",
        "a//b",
        "image:",
        "image:-1",
        f"image:{'t' * 129}",
        "image@sha256:12",
        "image@",
        f"image@md5:{'f' * 32}",
        f"image@{DIGEST}@{DIGEST}",
        "Image",
        "ghcr.io/Me/Image:1",
        "a/b:1:2",
        "a_-b",
        "a..b/c/d",
        "-image",
        "image name",
        "imagé",
        "image\n",
        "image:1\n",
        "a.b/image\n",
        HEX,
        "https://ghcr.io/me/image",
        "docker://debian",
        "localhost:99999/image",
        "localhost:0/image",
        "localhost:" + "9" * 5000 + "/image",
        "host_name.com/image",
        "[::1]/",
        "[::g]:5000/image",
        "../image",
        "a.b/../c",
        f"a.b/{'c' * 256}",
        "ghcr.io/",
        "user:password@ghcr.io/me/image",
    ],
)
def test_refused(text):
    with pytest.raises(UsageError, match="not a reference"):
        Reference.parse(text)


def test_hints():
    def hint(text):
        with pytest.raises(UsageError) as caught:
            Reference.parse(text)
        return caught.value.hint

    assert hint("ghcr.io/Me/Image:1") == "write ghcr.io/me/image:1"
    assert hint("Debian") == "write debian"
    assert hint("https://ghcr.io/me/image") == "leave out the https://"


def test_default_tag():
    assert Reference.parse("debian", default_tag=None).tag is None
    assert str(Reference.parse("debian", default_tag=None)) == "docker.io/library/debian"
    assert Reference.parse("debian", default_tag="x").tag == "x"
    assert Reference.parse(f"debian@{DIGEST}").tag is None


@pytest.mark.parametrize(
    ("text", "explicit"),
    [
        ("debian", False),
        ("me/image", False),
        ("docker.io/debian", True),
        ("index.docker.io/debian", True),
        ("a:1/b", True),
    ],
)
def test_whether_the_host_was_written(text, explicit):
    assert Reference.parse(text).explicit_host is explicit


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/library/debian:12", "debian:12"),
        ("docker.io/me/image", "me/image:latest"),
        ("ghcr.io/library/debian", "ghcr.io/library/debian:latest"),
        ("docker.io/library/a/b", "library/a/b:latest"),
    ],
)
def test_as_docker_shows_it(text, familiar):
    assert Reference.parse(text).familiar == familiar


def test_changes():
    reference = Reference.parse("ghcr.io/me/image:1")
    digest = Digest.parse(DIGEST)
    assert str(reference.with_digest(digest)) == f"ghcr.io/me/image:1@{DIGEST}"
    assert str(reference.with_digest(digest).with_tag("2")) == "ghcr.io/me/image:2"
    assert str(reference.with_tag(None)) == "ghcr.io/me/image"


HOSTS = st.from_regex(r"[a-z0-9]{1,8}\.[a-z]{2,4}(:[1-9][0-9]{0,3})?", fullmatch=True)
PATHS = st.from_regex(r"[a-z0-9]{1,5}([._-][a-z0-9]{1,3})?(/[a-z0-9]{1,5}){1,2}", fullmatch=True)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(HOSTS, PATHS, st.none() | TAGS, st.booleans())
def test_parts_make_a_reference_and_come_back(host, repository, tag, pinned):
    text = f"{host}/{repository}" + (f":{tag}" if tag else "") + (f"@{DIGEST}" if pinned else "")
    reference = Reference.parse(text, default_tag=None)
    assert (reference.host, reference.repository, reference.tag) == (host, repository, tag)
    assert str(reference) == text
    assert tag is None or is_tag(tag)


@given(st.text(st.sampled_from("abAB09._-/:@[]% \n\0é"), max_size=30))
def test_anything_parses_or_is_refused(text):
    try:
        reference = Reference.parse(text)
    except UsageError:
        return
    assert Reference.parse(str(reference)) == reference
