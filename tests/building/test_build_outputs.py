"""Where an image of `build` goes: layouts, archives and stdout."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import threading
from pathlib import Path

import pytest
from builtimages import image_of, images, run, unpacked

from fastoci.build import ConfigOptions, build
from fastoci.building import packing
from fastoci.cli import app
from fastoci.layer.options import LayerOptions
from imagekit import IMAGE_NAME, REF_NAME

pytestmark = pytest.mark.usefixtures("here")


def test_the_default_is_a_layout_named_after_the_source(tree, capfd):
    (line,), _ = run(capfd, "./rootfs")
    image = image_of("rootfs.oci")
    assert line == f"oci:./rootfs.oci:latest@{image.entry['digest']}"
    assert image.names() == [["bin", "bin/hello", "etc", "etc/motd"]]
    assert image.entry["annotations"] == {REF_NAME: "latest"}
    assert oct(os.stat("rootfs.oci").st_mode) == oct(os.stat("tmp").st_mode)


def test_tags_name_the_image(tree, capfd):
    lines, _ = run(capfd, tree, "-t", "ghcr.io/me/base:1", "-t", "base:2", "-o", "out")
    found = images("out")
    assert lines == [f"oci:out:1@{found['1'].entry['digest']}"]
    assert {tag: image.entry["annotations"][IMAGE_NAME] for tag, image in found.items()} == {
        "1": "ghcr.io/me/base:1",
        "2": "docker.io/library/base:2",
    }
    assert len({image.entry["digest"] for image in found.values()}) == 1


def test_an_output_may_have_a_tag_of_its_own(tree, capfd):
    (line,), _ = run(capfd, tree, "-t", "base:1", "-o", "oci:out:here")
    assert line.startswith("oci:out:here@")
    assert list(images("out")) == ["here"]


def test_a_layout_is_added_to(tree, capfd):
    run(capfd, tree, "-t", "a:1", "-o", "out")
    run(capfd, tree, "-t", "a:2", "-o", "out", "-e", "X=1")
    run(capfd, tree, "-t", "a:1", "-o", "out", "-e", "X=2")
    found = images("out")
    assert list(found) == ["2", "1"] or list(found) == ["1", "2"]
    assert found["1"].config["config"]["Env"] == ["X=2"]


def test_two_builds_into_one_new_layout_at_once(tree):
    barrier = threading.Barrier(2)
    original = packing.pack_tree

    def together(*arguments):
        barrier.wait(30)
        return original(*arguments)

    failures = []

    def one(tag):
        try:
            build([str(tree)], tags=[f"a:{tag}"], outputs=["out"], config=ConfigOptions(env={"TAG": tag}))
        except BaseException as error:
            failures.append(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "pack_tree", together)
        threads = [threading.Thread(target=one, args=(tag,)) for tag in ("1", "2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert {tag: image.config["config"]["Env"] for tag, image in images("out").items()} == {
        "1": ["TAG=1"],
        "2": ["TAG=2"],
    }


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_is_both_kinds(tree, capfd, kind, tmp_path):
    (line,), _ = run(capfd, tree, "-t", "base:1", "-o", f"{kind}:out.tar", "--cmd", "x")
    image = image_of(unpacked("out.tar", "unpacked"))
    assert line == f"{kind}:out.tar:1@{image.entry['digest']}"
    (docker,) = json.loads(Path("unpacked/manifest.json").read_bytes())
    assert docker["RepoTags"] == ["docker.io/library/base:1"] or docker["RepoTags"] == ["base:1"]
    assert json.loads(Path("unpacked", docker["Config"]).read_bytes()) == image.config
    assert [Path("unpacked", path).read_bytes() for path in docker["Layers"]] == [
        image.blob(layer) for layer in image.manifest["layers"]
    ]


def test_stdout_is_the_archive_and_nothing_else(tree, capfdbinary):
    assert app.run(["build", str(tree), "-o", "-", "-q"]) == 0
    out, err = capfdbinary.readouterr()
    assert err == b""
    Path("out.tar").write_bytes(out)
    assert image_of(unpacked("out.tar", "unpacked")).names() == [["bin", "bin/hello", "etc", "etc/motd"]]
    build([str(tree)], outputs=["oci-archive:same.tar"])
    assert image_of(unpacked("same.tar", "unpacked2")).entry["digest"] == image_of("unpacked").entry["digest"]


def test_nothing_goes_beside_an_archive_on_stdout(tree, capfdbinary):
    assert app.run(["build", str(tree), "-o", "-", "-o", "oci:also", "-q"]) == 0
    Path("out.tar").write_bytes(capfdbinary.readouterr().out)
    with tarfile.open("out.tar", ignore_zeros=True) as tar:
        assert tar.getnames()[-1] == "manifest.json"
    assert image_of("also").entry["digest"] == image_of(unpacked("out.tar", "unpacked")).entry["digest"]


def test_an_archive_is_deterministic(tree):
    stream = io.BytesIO()
    build([str(tree)], outputs=["-"], stdout=stream)
    build([str(tree)], outputs=["oci-archive:a.tar"])
    os.utime(tree / "bin", ns=(1, 1600000000 * 10**9))
    build([str(tree)], outputs=["oci-archive:b.tar"], layer=LayerOptions(threads=1))
    assert Path("a.tar").read_bytes() == Path("b.tar").read_bytes()


def test_several_destinations_pack_once(tree, capfd, monkeypatch):
    packed = []
    original = packing.pack_tree
    monkeypatch.setattr(packing, "pack_tree", lambda *some: packed.append(1) or original(*some))
    lines, _ = run(
        capfd, tree, "-t", "x:1", "-o", "oci-archive:a.tar", "-o", "one", "-o", "type=oci,dest=two,tar=false"
    )
    digest = image_of("one").entry["digest"]
    assert lines == [f"oci-archive:a.tar:1@{digest}", f"oci:one:1@{digest}", f"oci:two:1@{digest}"]
    assert image_of("two").names() == image_of("one").names() == image_of(unpacked("a.tar", "a")).names()
    assert packed == [1]


def test_two_archives_need_no_layout_of_the_users(tree, capfd):
    lines, _ = run(capfd, tree, "-o", "oci-archive:a.tar", "-o", "docker-archive:b.tar")
    assert len(lines) == 2
    assert Path("a.tar").read_bytes() == Path("b.tar").read_bytes()
    assert not Path("rootfs.oci").exists()


def test_names_that_are_not_utf8(tree, capfdbinary):
    strange = os.fsdecode(b"tr\xe9e")
    os.rename(tree, strange)
    assert app.run(["build", strange, "-q"]) == 0
    out, _ = capfdbinary.readouterr()
    assert re.fullmatch(rb"oci:\./tr\xe9e\.oci:latest@sha256:[0-9a-f]{64}\n", out)
