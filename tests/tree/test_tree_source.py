"""SRC[:/DEST], taken apart."""

from __future__ import annotations

import os

import pytest

from fastoci.errors import UsageError
from fastoci.tree.source import TreeSource


@pytest.mark.parametrize(
    ("text", "path", "dest"),
    [
        ("rootfs", "rootfs", "/"),
        ("./rootfs/", "./rootfs/", "/"),
        ("rootfs:/opt", "rootfs", "/opt"),
        ("rootfs:/", "rootfs", "/"),
        ("rootfs:/opt/", "rootfs", "/opt"),
        ("rootfs://opt///app/.", "rootfs", "/opt/app"),
        ("a:b", "a:b", "/"),
        ("a:b:/c:d", "a:b", "/c:d"),
        ("a:/b:/c", "a:/b", "/c"),
        ("-", "-", "/"),
        ("-:/opt", "-", "/opt"),
        ("/", "/", "/"),
        ("caf\udce9:/\udcff", "caf\udce9", "/\udcff"),
    ],
)
def test_what_it_names(text, path, dest):
    source = TreeSource.parse(text)
    assert (source.path, source.dest) == (path, dest)


@pytest.mark.parametrize(
    ("text", "into"), [("a:/opt/", True), ("a:/opt//", True), ("a:/opt", False), ("a:/", False), ("a/", False)]
)
def test_a_slash_at_the_end_says_that_it_is_a_directory(text, into):
    assert TreeSource.parse(text).into is into


@pytest.mark.parametrize("text", ["", ":/opt", "a:/..", "a:/opt/../etc", "a\0b", "a:/b\0c"])
def test_what_cannot_be_meant(text):
    with pytest.raises(UsageError):
        TreeSource.parse(text)


@pytest.mark.parametrize(
    ("dest", "expected"),
    [("/", ()), ("/opt", (b"opt",)), ("/opt/app", (b"opt", b"app")), ("/\udcff/é", (b"\xff", "é".encode()))],
)
def test_components(dest, expected):
    assert TreeSource("x", dest).components == expected


def test_titles(tmp_path, monkeypatch):
    assert TreeSource("a/b/rootfs/").title == "rootfs"
    assert TreeSource("-").title == "stdin"
    assert TreeSource("/").title == "root"
    monkeypatch.chdir(tmp_path)
    assert TreeSource(".").title == tmp_path.name
    assert TreeSource("..").title == os.path.basename(os.path.dirname(tmp_path))
