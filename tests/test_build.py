"""From trees to images in layouts, archives and on stdout: the use case and the command, on the real engine."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import threading
from pathlib import Path

import pytest

from fastoci import build as build_module
from fastoci import events
from fastoci.build import ConfigOptions, build
from fastoci.building import packing
from fastoci.building.output import Output
from fastoci.cli import app
from fastoci.errors import FastociError, StoreError, TreeError, UsageError
from fastoci.layer.options import LayerOptions
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a directory of its own, with temporary files in another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("fastoci.cli.signals.install", lambda: None)
    yield
    assert os.listdir(tmp_path / "tmp") == []
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")] == []


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "rootfs"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/hello").write_bytes(b"#!/bin/sh\necho hello\n")
    (tree / "bin/hello").chmod(0o755)
    (tree / "etc").mkdir()
    (tree / "etc/motd").write_bytes(b"welcome\n" * 1000)
    for path in (tree / "bin/hello", tree / "etc/motd", tree / "bin", tree / "etc", tree):
        os.utime(path, (1600000000, 1600000000))
    return tree


class Image:
    """An image in a directory of blobs, read by hand."""

    def __init__(self, directory: Path, entry: dict) -> None:
        self.directory = directory
        self.entry = entry
        self.manifest = self.json(entry)
        self.config = self.json(self.manifest["config"])

    def blob(self, descriptor: dict) -> bytes:
        algorithm, _, encoded = descriptor["digest"].partition(":")
        data = (self.directory / "blobs" / algorithm / encoded).read_bytes()
        assert hashlib.sha256(data).hexdigest() == encoded
        assert len(data) == descriptor["size"]
        return data

    def json(self, descriptor: dict) -> dict:
        return json.loads(self.blob(descriptor))

    def tars(self) -> list[dict[str, tarfile.TarInfo]]:
        tars = []
        for descriptor, diff_id in zip(self.manifest["layers"], self.config["rootfs"]["diff_ids"], strict=True):
            data = self.blob(descriptor)
            data = gzip.decompress(data) if descriptor["mediaType"].endswith("gzip") else data
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == diff_id
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                tars.append({member.name: member for member in tar})
        return tars

    def names(self) -> list[list[str]]:
        return [list(tar) for tar in self.tars()]


def images(layout) -> dict[str, Image]:
    layout = Path(layout)
    index = json.loads((layout / "index.json").read_bytes())
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    # Of two names with one tag the second has no ref.name, which has to be unique.
    return {(entry["annotations"].get(REF_NAME)): Image(layout, entry) for entry in index["manifests"]}


def image_of(layout) -> Image:
    (image,) = images(layout).values()
    return image


def unpacked(archive, directory) -> Path:
    with tarfile.open(archive) as tar:
        # Python 3.11.2, which is Debian 12's, knows no `filter` argument; later ones warn where nothing is said.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(directory)
    return Path(directory)


def run(capfd, *arguments, code=0):
    """Run the command; return its lines on stdout, and its stderr."""
    assert app.run(["build", *map(str, arguments)]) == code, capfd.readouterr().err
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return out.splitlines(), err


# --- Where it goes


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


# --- What it is made of


def test_several_sources_are_layers_in_order(tree, tmp_path, capfd):
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").touch()
    os.chmod(tree / "etc", 0o751)
    run(capfd, tree, f"{other}:/etc/deep", "-o", "out")
    image = image_of("out")
    assert image.names() == [["bin", "bin/hello", "etc", "etc/motd"], ["etc", "etc/deep", "etc/deep/x"]]
    assert image.tars()[1]["etc"].mode == 0o751
    assert [step["created_by"] for step in image.config["history"]] == [
        "COPY . / # fastoci",
        "COPY . /etc/deep # fastoci",
    ]


def test_a_tar_keeps_its_bytes(tree, capfd):
    with tarfile.open("in.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(tree, ".")
    data = Path("in.tar").read_bytes()
    run(capfd, "in.tar")
    run(capfd, "in.tar", "-o", "plain", "--compression", "none")
    for layout in ("in.oci", "plain"):
        assert image_of(layout).config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(data).hexdigest()}"]
    result = build(["-"], outputs=["stdin"], stdin=io.BytesIO(data))
    assert str(result.layers[0].diff_id) == image_of("in.oci").config["rootfs"]["diff_ids"][0]


def test_one_file_goes_where_it_is_told(tree, capfd):
    """As with COPY: to the destination, or into it where a slash or a layer below says that it is a directory."""
    Path("app").write_bytes(b"#!/bin/sh\n")
    Path("app").chmod(0o755)
    run(capfd, tree, "app:/usr/bin/tool", "app:/opt/", "app:/usr/bin", "-o", "out", "--chown", "0:0")
    assert image_of("out").names()[1:] == [
        ["usr", "usr/bin", "usr/bin/tool"],
        ["opt", "opt/app"],
        ["usr", "usr/bin", "usr/bin/app"],
    ]
    assert [step["created_by"] for step in image_of("out").config["history"]][1:3] == [
        "COPY . /usr/bin/tool # fastoci",
        "COPY . /opt # fastoci",
    ]
    # By its own name alone it could only be an archive, and is none.
    _, err = run(capfd, "app", "-o", "no", code=1)
    assert "error: app is no whole tar archive\n" in err
    assert "hint:  for the file itself in the image, name its place there: app:/DEST\n" in err
    _, err = run(capfd, "app", "-o", "no", "--chown", "0:0", code=2)
    assert "a file is packed with a place: app:/DEST" in err
    assert not Path("no").exists()


def test_a_tar_may_come_through_a_named_pipe(tree):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(tree, ".")
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(stream.getvalue()))
    writer.start()
    result = build(["pipe"], outputs=["out"])
    writer.join()
    assert result.layers[0].diff_id.hex == hashlib.sha256(stream.getvalue()).hexdigest()


def test_the_image_does_not_say_where_its_tree_stood(tree, tmp_path):
    moved = tmp_path / "elsewhere/called-differently"
    moved.parent.mkdir()
    first = build([str(tree)], outputs=["a"])
    os.rename(tree, moved)
    second = build([f"{moved}/"], outputs=["b"], layer=LayerOptions(threads=3))
    assert first.digest == second.digest


def test_the_same_twice_is_one_blob(tree):
    result = build([str(tree), str(tree)], outputs=["out", "oci-archive:out.tar"])
    assert len(result.layers) == 2
    assert len(os.listdir("out/blobs/sha256")) == 3
    assert image_of(unpacked("out.tar", "unpacked")).names() == image_of("out").names()


def test_config_from_the_command_line(tree, capfd, monkeypatch):
    monkeypatch.setenv("FROM_HERE", "this host")
    monkeypatch.delenv("NOT_HERE", raising=False)
    _, err = run(
        capfd, tree, "-o", "out", "-e", "A=1", "--env", "FROM_HERE", "-e", "NOT_HERE", "--entrypoint", '["sh", "-c"]',
        "--cmd", "echo $A", "-w", "/srv", "-u", "1000", "--expose", "80", "--expose", "90-91/udp", "--volume", "/data",
        "-l", "a=b", "--annotation", "c=d", "--stop-signal", "SIGQUIT", "--author", "Me", "--platform", "linux/arm64",
        "--created", "2020-01-01",
    )  # fmt: skip
    image = image_of("out")
    assert image.config["config"] == {
        "Env": ["A=1", "FROM_HERE=this host"],
        "Entrypoint": ["sh", "-c"],
        "Cmd": ["echo $A"],
        "WorkingDir": "/srv",
        "User": "1000",
        "ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}},
        "Volumes": {"/data": {}},
        "Labels": {"a": "b"},
        "StopSignal": "SIGQUIT",
    }
    assert (image.config["os"], image.config["architecture"]) == ("linux", "arm64")
    assert image.config["author"] == "Me"
    assert image.config["created"] == "2020-01-01T00:00:00Z"
    assert image.manifest["annotations"] == {"c": "d"}
    assert image.entry["platform"] == {"os": "linux", "architecture": "arm64"}
    assert "warning: --cmd 'echo $A' is one word with spaces" in err


def test_times(tree, capfd, monkeypatch):
    run(capfd, tree, "-o", "newest")
    assert image_of("newest").config["created"] == "2020-09-13T12:26:40Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    run(capfd, tree, "-o", "env")
    run(capfd, tree, "-o", "option", "--source-date-epoch", "1000000001")
    run(capfd, tree, "-o", "both", "--created", "5")
    for layout, created, mtime in (
        ("env", "2001-09-09T01:46:40Z", 1000000000),
        ("option", "2001-09-09T01:46:41Z", 1000000001),
        ("both", "1970-01-01T00:00:05Z", 1000000000),
    ):
        image = image_of(layout)
        assert image.config["created"] == created
        assert {member.mtime for member in image.tars()[0].values()} == {mtime}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    _, err = run(capfd, tree, "-o", "wrong", code=2)
    assert err.startswith("error: SOURCE_DATE_EPOCH 'yesterday'")


def test_chmod_and_mtime(tree, capfd):
    (Path(tree) / "bin/hello").chmod(0o700)
    (Path(tree) / "bin").chmod(0o2700)
    run(capfd, tree, "-o", "out", "--chmod", "u=rwX,go=rX", "--mtime", "2026-01-31")
    (Path(tree) / "bin").chmod(0o755)
    (members,) = image_of("out").tars()
    assert (members["bin"].mode, members["bin/hello"].mode) == (0o2755, 0o755)
    assert {member.mtime for member in members.values()} == {1769817600}
    run(capfd, tree, "-o", "keep", "--mtime", "keep")
    run(capfd, tree, "-o", "kept")
    assert image_of("keep").tars()[0]["bin/hello"].mtime == image_of("kept").tars()[0]["bin/hello"].mtime


def test_chown_and_exclude(tree, tmp_path, capfd):
    ignore = tmp_path / "ignore"
    ignore.write_text("# comment\netc\n!etc/motd\n")
    run(capfd, tree, "-o", "out", "--chown", "7:8", "--ignorefile", ignore, "--exclude", "bin/hel*")
    (tar,) = image_of("out").tars()
    assert list(tar) == ["bin", "etc", "etc/motd"]
    assert {(member.uid, member.gid) for member in tar.values()} == {(7, 8)}


def owned(tree, uid, gid):
    for path in (tree, *tree.rglob("*")):
        os.chown(path, uid, gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_tree_of_one_users_draws_a_warning(tree, monkeypatch):
    said = []
    owned(tree, 1001, 127)
    for uid, policy, expected in (
        (1001, TreePolicy(), ["all 4 entries belong to 1001:127"]),
        (1001, TreePolicy(uid=0, gid=0), []),
        (1002, TreePolicy(), []),
    ):
        monkeypatch.setattr("os.geteuid", lambda uid=uid: uid)
        said.clear()
        build([str(tree)], outputs=[f"out{uid}{policy.uid}"], policy=policy, sink=said.append)
        assert [event.message for event in said if isinstance(event, events.Warned)] == expected
    said.clear()
    build([f"{tree}/etc/motd:/etc/motd", f"{tree}/bin"], outputs=["file"], sink=said.append)
    monkeypatch.setattr("os.geteuid", lambda: 1001)
    build([f"{tree}/etc/motd:/etc/motd", f"{tree}/bin"], outputs=["file"], sink=said.append)
    assert [event.message for event in said if isinstance(event, events.Warned)] == [
        "motd belongs to 1001:127",
        "all 1 entries of bin belong to 1001:127",
    ]


# --- What it says


def test_json_is_one_document(tree, capfd):
    lines, _ = run(capfd, tree, "-t", "a:1", "-t", "b:1", "-o", "out", "--json", "--metadata-file", "meta.json")
    document = json.loads("\n".join(lines))
    image = images("out")["1"]
    assert document["containerimage.digest"] == image.entry["digest"]
    assert document["containerimage.config.digest"] == image.manifest["config"]["digest"]
    assert document["containerimage.descriptor"]["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert document["containerimage.descriptor"]["size"] == image.entry["size"]
    assert document["image.name"] == "docker.io/library/a:1,docker.io/library/b:1"
    assert document["fastoci.names"] == [f"oci:out:1@{image.entry['digest']}"]
    (layer,) = document["fastoci.layers"]
    assert layer["digest"] == image.manifest["layers"][0]["digest"]
    assert layer["diff_id"] == image.config["rootfs"]["diff_ids"][0]
    assert layer["entries"] == 4
    assert document["fastoci.format"] == 1
    assert document["fastoci.isal"]
    assert json.loads(Path("meta.json").read_text()) == document


def test_files_for_ci(tree, capfd):
    Path("iid").write_text("stale")
    _, err = run(capfd, tree, "-o", "out", "--iidfile", "iid", "--digestfile", "digest", "--timings", "-q")
    image = image_of("out")
    assert Path("iid").read_text() == image.manifest["config"]["digest"]
    assert Path("digest").read_text() == image.entry["digest"]
    assert re.search(r"^timings  layer 1  scan \d", err, re.MULTILINE)
    assert re.search(r"^timings  check .*total \d", err, re.MULTILINE)


def test_files_for_ci_are_not_of_another_build(capfd):
    Path("iid").write_text("stale")
    run(capfd, "nowhere", "-o", "out", "--iidfile", "iid", code=1)
    assert not Path("iid").exists()
    _, err = run(capfd, "nowhere", "-o", "out", "--digestfile", "missing/digest", code=1)
    assert err.splitlines()[-2:] == ["error: cannot write missing/digest", "cause: No such file or directory"]


def test_plain_progress(tree, capfd):
    _, err = run(capfd, tree, "-T", "3", "--platform", "linux/arm64", "--progress", "plain")
    lines = err.splitlines()
    assert re.fullmatch(r" 0\.\ds fastoci \S+ linux/arm64 gzip:1 threads=3", lines[0])
    assert re.fullmatch(r" 0\.\ds scanned rootfs: 4 entries, [\d.]+ KiB", lines[1])
    assert re.search(r"s packed rootfs: [\d.]+ KiB → [\d.]+ .*, sha256:", lines[-1])


# --- What it refuses


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["rootfs", "-v", "/data"], "build has no -v", "--volume"),
        (["rootfs", "-p", "80:80"], "build has no -p", "--expose"),
        (["-v", "/data", "rootfs"], "build has no -v", "--volume"),
        (["rootfs", "-o", "rootfs/out"], "lies inside the source", "-o oci:"),
        (["rootfs", "-o", "oci-archive:rootfs/bin/x.tar"], "lies inside the source", "-o oci:"),
        (["rootfs", "--push"], "nowhere to push to", "-t "),
        (["rootfs", "--push", "-t", "me/base"], "wants the registry spelled out", "docker.io/me/base"),
        (["rootfs", "-t", "me/Base"], "not a reference", "me/base"),
        (["rootfs", "-t", f"a@sha256:{'0' * 64}"], "is not known before", "leave it out"),
        (["-", "-", "-o", "out"], "stdin can be read only once", None),
        (["-"], "no name for the output", "-o oci:"),
        (["rootfs", "-o", "-", "-o", "type=oci"], "two outputs on stdout", None),
        (["rootfs", "-o", "-", "--json"], "stdout is for one", "--metadata-file"),
        (["in.tar:/opt"], "is a tar archive", "unpack it"),
        (["in.tar", "-o", "oci-archive:in.tar"], "is the source in.tar itself", "another output"),
        (["rootfs/etc/motd:/x", "-o", "oci-archive:./rootfs/../rootfs/etc/motd"], "is the source", "another output"),
        (["rootfs/etc/motd:/.wh.x", "-o", "out"], "whiteout", "another destination"),
        (["in.tar", "--chown", "0"], "is a tar archive", None),
        (["in.tar", "rootfs", "--exclude", "x"], "is a tar archive", None),
        (["rootfs", "--chown", "root"], "--chown 'root'", "--chown 0:0"),
        (["rootfs", "--chmod", "rwx"], "--chmod 'rwx' is no mode", "u=rwX,go=rX"),
        (["rootfs", "--mtime", "now"], "--mtime 'now' is no date", "keep"),
        (["in.tar", "--mtime", "0"], "is a tar archive", None),
        (["rootfs", "--platform", "amd64"], "not a platform", "linux/amd64"),
        (["rootfs", "--stop-signal", "NOW"], "no such signal", "SIGTERM"),
        (["rootfs", "--compression-level", "0"], "invalid value for '--compression-level'", "--help"),
        (["rootfs", "--compression", "lzma"], "invalid value for '--compression'", "--help"),
        (["rootfs", "--threads", "0"], "invalid value for '-T'", "--help"),
        (["rootfs", "--load=rkt"], "no such engine: 'rkt'", "docker, podman, containerd"),
        ([], "nothing to build from", "name a directory or a tar archive"),
    ],
)
def test_wrong_usage(tree, capfd, arguments, error, hint):
    Path("in.tar").touch()
    before = sorted(os.listdir())
    _, err = run(capfd, *arguments, code=2)
    lines = dict(line.split(":", 1) for line in err.splitlines() if re.match("(error|cause|hint):", line))
    assert error in lines["error"]
    if hint is not None:
        assert hint in lines["hint"]
    assert sorted(os.listdir()) == before


def test_a_directory_is_not_built_into_itself(tree, capfd, monkeypatch):
    monkeypatch.chdir(tree)
    _, err = run(capfd, ".", code=2)
    assert "error: the output ./rootfs.oci lies inside the source ." in err
    assert f"hint:  -o oci:{tree.parent}/rootfs.oci" in err
    run(capfd, ".", "-o", "../out")
    assert image_of("../out").names() == [["bin", "bin/hello", "etc", "etc/motd"]]


def test_temporary_files_are_kept_out_of_the_tree(tree, capfd, monkeypatch):
    (tree / "var").mkdir()
    monkeypatch.setenv("TMPDIR", str(tree / "var"))
    _, err = run(capfd, tree, "-o", "oci-archive:a.tar", "-o", "oci-archive:b.tar", code=2)
    assert "lies inside the source" in err
    assert "TMPDIR" in err


def test_errors_in_temporary_files_say_how_to_have_them_elsewhere(tree, monkeypatch):
    def full(*arguments):
        path = str(next(Path("tmp").absolute().glob("fastoci-*/image")))
        raise StoreError(f"cannot write to {path}", path=path, cause="No space left on device", hint="make room")

    monkeypatch.setattr(packing, "pack_tree", full)
    with pytest.raises(StoreError) as caught:
        build([str(tree)], outputs=["-", "oci-archive:a.tar"], stdout=io.BytesIO())
    assert "set TMPDIR" in caught.value.hint
    monkeypatch.setenv("TMPDIR", "missing")
    with pytest.raises(StoreError) as caught:
        build([str(tree)], outputs=["-", "oci-archive:a.tar"], stdout=io.BytesIO())
    assert caught.value.what == "cannot write temporary files to missing"


def test_a_failing_copy_leaves_the_image_nowhere(tree, monkeypatch):
    def fails(*arguments):
        raise StoreError("disk full", path="x")

    monkeypatch.setattr(build_module, "copy_layers", fails)
    with pytest.raises(StoreError):
        build([str(tree)], outputs=["oci:out", "oci-archive:out.tar"])
    assert not Path("out").exists()
    assert not Path("out.tar").exists()


@pytest.mark.parametrize("output", ["out", "oci-archive:out.tar"])
def test_a_missing_source_leaves_nothing(capfd, output):
    _, err = run(capfd, "nowhere", "-o", output, code=1)
    assert "error: cannot read nowhere\ncause: No such file or directory\nhint:  check the path\n" in err
    assert not Path("out").exists()
    assert not Path("out.tar").exists()


def test_what_is_no_layout_is_not_written_to(tree, capfd):
    Path("out").mkdir()
    Path("out/precious").touch()
    _, err = run(capfd, tree, "-o", "out", code=1)
    assert "error: " in err
    assert os.listdir("out") == ["precious"]
    Path("file").touch()
    run(capfd, tree, "-o", "oci:file", code=1)


FAILURES = [FastociError("it failed"), KeyboardInterrupt(), SystemExit(143), MemoryError()]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("outputs", [["out"], ["oci-archive:out.tar"], ["out", "oci-archive:out.tar"]], ids=str)
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_in_the_second_layer_leaves_nothing(tree, monkeypatch, error, outputs, existing):
    if existing:
        build([str(tree)], outputs=outputs, tags=["old:1"])
    before = {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}
    (tree / "etc/new").write_bytes(b"new")
    before["rootfs/etc/new"] = b"new"
    original = packing.pack_tree
    calls = []

    def second_fails(*arguments):
        calls.append(1)
        if len(calls) == 2:
            arguments[3].write(b"half a blob")
            raise error
        return original(*arguments)

    monkeypatch.setattr(packing, "pack_tree", second_fails)
    with pytest.raises(type(error)):
        build([str(tree), str(tree)], outputs=outputs, tags=["new:2"])
    after = {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}
    assert {path: data for path, data in after.items() if "lock" not in path} == before


@pytest.mark.timeout(60)
def test_a_failed_build_does_not_keep_out_the_next(tree, monkeypatch):
    build([str(tree)], outputs=["out"])

    def fails(*arguments):
        raise FastociError("it failed")

    with monkeypatch.context() as patch:
        patch.setattr(packing, "pack_tree", fails)
        with pytest.raises(FastociError) as caught:
            build([str(tree)], outputs=["out"])
    build([str(tree)], outputs=["out"], tags=["next:1"])
    # All that the failed build had open is still reachable from its error.
    assert caught.value.__traceback__ is not None
    assert "1" in images("out")


def test_sources_and_outputs_may_be_values(tree):
    result = build([TreeSource(str(tree), "/opt")], outputs=[Output("oci", "out", "x")])
    assert result.names == (f"oci:out:x@{result.digest}",)
    assert image_of("out").names()[0][0] == "opt"
    assert result.timings["total"] >= result.timings["pack"] >= 0


def test_nothing_to_build_from():
    with pytest.raises(UsageError, match="nothing to build from"):
        build([])


def test_a_tree_that_cannot_be_read(tree):
    (tree / "etc/.wh.motd").touch()
    with pytest.raises(TreeError):
        build([str(tree)], outputs=["out"])
    assert not Path("out").exists()
    build([str(tree)], outputs=["out"], policy=TreePolicy(whiteouts="keep"))
    assert "etc/.wh.motd" in image_of("out").names()[0]


def test_events_come_in_order(tree):
    said: list[events.Event] = []
    with contextlib.suppress(FastociError):
        build([str(tree)], outputs=["out"], sink=said.append)
    kinds = [type(event).__name__ for event in said if not isinstance(event, events.LayerProgress | events.Warned)]
    assert kinds == ["LayerScanned", "LayerPacked"]
