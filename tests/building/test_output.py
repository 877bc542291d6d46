"""What -o may say."""

from __future__ import annotations

import os

import pytest

from fastoci.building.output import Output, check_outside, default_output
from fastoci.errors import UsageError
from fastoci.tree.source import TreeSource


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci:x", Output("oci", "x")),
        ("oci:x:1.0", Output("oci", "x", "1.0")),
        ("oci:/a/b:latest", Output("oci", "/a/b", "latest")),
        ("oci-archive:x.tar", Output("oci-archive", "x.tar")),
        ("oci-archive:x.tar:1", Output("oci-archive", "x.tar", "1")),
        ("docker-archive:x.tar", Output("docker-archive", "x.tar")),
        ("docker://ghcr.io/me/x:1", Output("registry", name="ghcr.io/me/x:1")),
        ("-", Output("oci-archive", "-")),
        ("x", Output("oci", "x")),
        ("./x:1", Output("oci", "./x:1")),
        ("a,b=c", Output("oci", "a,b=c")),
        ("type=oci,dest=x.tar", Output("oci-archive", "x.tar")),
        ("dest=x.tar,type=oci,tar=true", Output("oci-archive", "x.tar")),
        ("type=oci,dest=x,tar=false", Output("oci", "x")),
        ("type=oci", Output("oci-archive", "-")),
        ("type=docker,dest=x.tar", Output("docker-archive", "x.tar")),
        ("type=docker", Output("load")),
        ('type=oci,"dest=a,b.tar"', Output("oci-archive", "a,b.tar")),
        ("type=registry", Output("registry")),
        ("type=registry,name=ghcr.io/me/x", Output("registry", name="ghcr.io/me/x")),
        ("type=image,push=true", Output("registry")),
    ],
)
def test_forms(text, expected):
    assert Output.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x.tar",
        "./x.tar.gz",
        "oci:",
        "oci:x@sha256:" + "0" * 64,
        "oci:x:a@b",
        "oci:x:docker.io/a:1",
        "type=local,dest=x",
        "type=",
        "type=oci,dest=",
        "type=oci,tar=maybe",
        "type=oci,tar=false",
        "type=oci,type=oci",
        "type=oci,dest",
        "type=oci,compression=zstd",
        "type=docker,tar=false,dest=x",
        "type=image",
    ],
)
def test_wrong_forms(text):
    with pytest.raises(UsageError):
        Output.parse(text)


def test_an_archive_is_named_as_one():
    with pytest.raises(UsageError) as caught:
        Output.parse("x.tar")
    assert "oci-archive:x.tar" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rootfs", "./rootfs.oci"),
        ("a/b/", "./b.oci"),
        ("x.tar.gz", "./x.oci"),
        ("x.tgz", "./x.oci"),
        (".tar", "./.tar.oci"),
    ],
)
def test_default_is_named_after_the_source(source, name):
    assert default_output([TreeSource(source)]) == Output("oci", name)


def test_default_for_a_directory_called_like_a_tar(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.tar").mkdir()
    assert default_output([TreeSource("x.tar")]) == Output("oci", "./x.tar.oci")


def test_default_for_a_dot_is_the_real_name(tmp_path, monkeypatch):
    (tmp_path / "real/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "link")
    assert default_output([TreeSource(".")]) == Output("oci", "./real.oci")
    monkeypatch.chdir("sub")
    assert default_output([TreeSource("..")]) == Output("oci", "./real.oci")


@pytest.mark.parametrize("source", ["-", "/"])
def test_default_needs_a_name(source):
    with pytest.raises(UsageError, match="no name"):
        default_output([TreeSource(source)])


def test_inside_is_refused(tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tmp_path / "tree2").mkdir()
    (tmp_path / "link").symlink_to("tree")
    monkeypatch.chdir(tree)
    for inside in (".", "x", "./a/b", str(tree), str(tmp_path / "link/x")):
        for source in (".", str(tree), str(tmp_path / "link")):
            with pytest.raises(UsageError, match="inside the source"):
                check_outside(inside, "it", [TreeSource("-"), TreeSource(source)])
    for outside in ("..", "../x", str(tmp_path / "tree2"), os.path.dirname(tmp_path)):
        check_outside(outside, "it", [TreeSource(".")])
    with pytest.raises(UsageError, match="inside the source"):
        check_outside("x", "it", [TreeSource("/")])
