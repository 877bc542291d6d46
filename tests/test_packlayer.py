"""Layers packed alone: what is written, and that a build of them is the build of their sources."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from fastoci.build import build
from fastoci.errors import ImageNotFoundError, InvalidImageError, StoreError, TreeError, UsageError
from fastoci.layer.options import LayerOptions
from fastoci.packlayer import pack_layer
from fastoci.registry.options import RegistryOptions
from fastoci.tree.policy import TreePolicy
from fastoci.validate import validate
from imagekit import TAR, make_tar, noise


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory with two trees in it."""
    root = tmp_path / "work"
    for name, files in {"rootfs": {"etc/motd": b"welcome"}, "app": {"bin/app": noise(5000), "conf": b"x=1"}}.items():
        for path, data in files.items():
            file = root / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            os.utime(file, (1_700_000_000, 1_700_000_000))
        for directory, _, _ in os.walk(root / name):
            os.utime(directory, (1_600_000_000, 1_600_000_000))
    monkeypatch.chdir(root)
    return root


def digest(path):
    return f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}"


def test_a_blob_and_its_document(work):
    document = pack_layer("app:/opt/app", "app.layer")
    assert document == json.loads((work / "app.layer.json").read_text())
    assert document["digest"] == digest("app.layer")
    assert document["size"] == (work / "app.layer").stat().st_size
    tar = gzip.decompress((work / "app.layer").read_bytes())
    assert document["annotations"] == {
        "containerd.io/uncompressed": f"sha256:{hashlib.sha256(tar).hexdigest()}",
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
    }
    assert (document["fastoci.blob"], document["fastoci.dest"]) == ("app.layer", "/opt/app")
    assert sorted(path.name for path in work.iterdir()) == ["app", "app.layer", "app.layer.json", "rootfs"]


@pytest.mark.parametrize(
    ("output", "made"),
    [(None, "app.tar.gz"), (".", "app.tar.gz"), ("out", "out/app.tar.gz"), ("out/", "out/app.tar.gz"), ("b", "b")],
)
def test_where_it_goes(work, output, made):
    (work / "out").mkdir()
    pack_layer("app", output)
    assert (work / made).is_file()
    assert (work / f"{made}.json").is_file()


def test_an_uncompressed_one(work):
    document = pack_layer("app", layer=LayerOptions(compression="none"))
    assert document["mediaType"] == TAR
    assert document["digest"] == document["annotations"]["containerd.io/uncompressed"] == digest("app.tar")


@pytest.mark.parametrize("place", ["", ":/opt/app"])
@pytest.mark.parametrize("epoch", [None, 1_650_000_000])
def test_a_build_of_layers_is_the_build_of_their_sources(work, place, epoch):
    direct = build(["rootfs", f"app{place}"], outputs=["oci:direct"], source_date_epoch=epoch)
    policy = TreePolicy(mtime_limit=epoch)
    pack_layer("rootfs", policy=policy)
    pack_layer(f"app{place}", policy=policy)
    found = build([], packed=["rootfs.tar.gz.json", "app.tar.gz.json"], outputs=["oci:packed"], source_date_epoch=epoch)
    assert found.digest == direct.digest
    assert validate("oci:packed").is_valid
    mixed = build(
        [f"app{place}"], packed=["rootfs.tar.gz.json"], outputs=["oci-archive:mixed.tar"], source_date_epoch=epoch
    )
    assert mixed.digest == direct.digest


def test_directories_above_a_destination_are_those_of_a_finished_layer(work):
    (work / "rootfs/opt").mkdir(mode=0o700)
    os.utime(work / "rootfs/opt", (1_600_000_000, 1_600_000_000))
    pack_layer("rootfs")
    direct = build(["rootfs", "app:/opt/app"], outputs=["oci:direct"])
    assert build(["app:/opt/app"], packed=["rootfs.tar.gz.json"], outputs=["oci:packed"]).digest == direct.digest
    (work / "rootfs/opt").chmod(0o755)
    assert build(["rootfs", "app:/opt/app"], outputs=["oci:other"]).digest != direct.digest


def test_above_a_base(work, kit):
    kit.add(kit.image(), "base")
    base = f"oci:{kit}:base"
    direct = build(["app"], base=base, outputs=["oci:direct"])
    pack_layer("app")
    found = build([], base=base, packed=["app.tar.gz.json"], outputs=["oci:packed"])
    assert found.digest == direct.digest
    assert validate("oci:packed").is_valid


def test_what_a_tree_changes_of_another(work):
    """Taken up by a build it is what the build itself would have made of both trees."""
    shutil.copytree("rootfs", "changed")
    Path("changed/etc/motd").unlink()
    Path("changed/etc/issue").write_bytes(b"new")
    direct = build(["changed:/srv"], diff="rootfs", outputs=["oci:direct"])
    document = pack_layer("changed:/srv", "changes", diff="rootfs")
    assert (document["fastoci.diff"], document["fastoci.dest"]) == (True, "/srv")
    assert document == json.loads(Path("changes.json").read_text())
    with tarfile.open("changes") as archive:
        assert archive.getnames() == ["srv", "srv/etc", "srv/etc/.wh.motd", "srv/etc/issue"]
    assert build([], packed=["changes.json"], outputs=["oci:packed"]).digest == direct.digest
    assert "fastoci.diff" not in pack_layer("changed")


def test_what_cannot_be_compared(work):
    Path("a.tar").write_bytes(make_tar({"a": b"1"}))
    with pytest.raises(UsageError, match="compares directories"):
        pack_layer("a.tar", "out", diff="rootfs")
    with pytest.raises(TreeError, match="cannot compare with nowhere"):
        pack_layer("app", "out", diff="nowhere")
    with pytest.raises(UsageError, match="lies inside the source"):
        pack_layer("app", "out", diff="app/bin")
    assert not Path("out").exists()


def test_a_tar_keeps_its_bytes(work):
    tar = make_tar({"a": b"1"})
    (work / "a.tar").write_bytes(tar)
    document = pack_layer("a.tar", "layer")
    assert document["annotations"]["containerd.io/uncompressed"] == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    with pytest.raises(UsageError, match="keeps its bytes"):
        pack_layer("a.tar", "layer", policy=TreePolicy(uid=0))


def test_to_a_registry_and_from_it(work, hub):
    document = pack_layer("app", f"docker://{hub.host}/me/parts")
    assert document["fastoci.blob"] == f"docker://{hub.host}/me/parts"
    assert hub.blobs["me/parts"].keys() == {document["digest"]}
    (work / "app.json").write_text(json.dumps(document))
    direct = build(["app"], outputs=["oci:direct"])
    assert build([], packed=["app.json"], outputs=["oci:packed"]).digest == direct.digest
    assert validate("oci:packed").is_valid
    hub.seen.clear()
    pushed = build([], packed=["app.json"], tags=[f"{hub.host}/me/parts:1"], push=True)
    assert pushed.digest == direct.digest
    assert not [seen for seen in hub.seen if document["digest"] in seen.path and seen.method != "HEAD"]
    assert validate(f"docker://{hub.host}/me/parts:1", RegistryOptions()).is_valid


def test_a_pushed_build_reads_layers_from_files(work, hub):
    pack_layer("rootfs")
    direct = build(["rootfs", "app"], outputs=["oci:direct"])
    pushed = build(["app"], packed=["rootfs.tar.gz.json"], tags=[f"{hub.host}/me/base:1"], push=True)
    assert pushed.digest == direct.digest
    assert validate(f"docker://{hub.host}/me/base:1", RegistryOptions()).is_valid


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        ("-", UsageError, "not to stdout"),
        ("app/layer", UsageError, "lies inside the source"),
        ("nowhere/layer", ImageNotFoundError, "cannot write nowhere/layer"),
        ("app/conf/", StoreError, "cannot write app/conf/"),
        ("docker://me/parts", UsageError, "which registry"),
        ("docker://127.0.0.1:1/me/parts:1", UsageError, "a layer has no tag"),
        ("docker://127.0.0.1:1/me/parts:latest", UsageError, "a layer has no tag"),
    ],
)
def test_outputs_that_cannot_be(work, output, error, message):
    source = "rootfs" if output.startswith("app/conf") else "app"
    with pytest.raises(error, match=message):
        pack_layer(source, output)
    assert sorted(path.name for path in work.iterdir()) == ["app", "rootfs"]


def test_a_directory_that_is_not_there_is_made(work):
    pack_layer("app", "new/parts/")
    assert sorted(path.name for path in (work / "new/parts").iterdir()) == ["app.tar.gz", "app.tar.gz.json"]


def test_what_cannot_be_packed_leaves_nothing(work):
    (work / "app/.wh.conf").touch()
    with pytest.raises(TreeError, match=r"\.wh\.conf"):
        pack_layer("app")
    assert sorted(path.name for path in work.iterdir()) == ["app", "rootfs"]


def test_a_failed_one_keeps_what_was_there(work):
    pack_layer("app", "layer")
    before = {name: (work / name).read_bytes() for name in ("layer", "layer.json")}
    (work / "app/.wh.conf").touch()
    with pytest.raises(TreeError):
        pack_layer("app", "layer")
    assert before == {name: (work / name).read_bytes() for name in before}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mediaType": "text/plain"}, "its media type is 'text/plain'"),
        ({"annotations": None}, "annotation containerd.io/uncompressed is missing"),
        ({"fastoci.blob": None}, "does not say where the blob is"),
        ({"fastoci.blob": "a\0b"}, "does not say where the blob is"),
        ({"fastoci.dest": 5}, "fastoci.dest is no path"),
        ({"fastoci.diff": "no"}, "fastoci.diff is neither true nor false"),
        ({"digest": "sha256:1"}, "digest"),
        ({"size": "many"}, "size"),
        ({"size": 1}, "its descriptor says 1"),
    ],
)
def test_documents_that_are_none(work, change, message):
    document = {**pack_layer("app"), **change}
    (work / "app.json").write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
    with pytest.raises(InvalidImageError) as caught:
        build([], packed=["app.json"], outputs=["oci:packed"])
    assert message in str(caught.value)
    assert not (work / "packed").exists()


@pytest.mark.parametrize("created", ["yesterday", "0000-01-01T00:00:00Z"])
def test_a_time_that_is_none(work, created):
    document = pack_layer("app")
    document["annotations"]["org.opencontainers.image.created"] = created
    (work / "app.json").write_text(json.dumps(document))
    with pytest.raises(InvalidImageError, match="is no time"):
        build([], packed=["app.json"], outputs=["oci:packed"])


def test_a_destination_that_climbs(work):
    (work / "app.json").write_text(json.dumps({**pack_layer("app"), "fastoci.dest": "/../x"}))
    with pytest.raises(UsageError, match=r"contains '\.\.'"):
        build([], packed=["app.json"], outputs=["oci:packed"])


def test_a_blob_that_is_damaged_or_missing(work):
    pack_layer("app")
    data = bytearray((work / "app.tar.gz").read_bytes())
    data[100] ^= 1
    (work / "app.tar.gz").write_bytes(data)
    with pytest.raises(InvalidImageError, match="not what it should be"):
        build([], packed=["app.tar.gz.json"], outputs=["oci:packed"])
    assert not (work / "packed").exists()
    (work / "app.tar.gz").unlink()
    with pytest.raises(ImageNotFoundError, match=r"app\.tar\.gz, the blob that app\.tar\.gz\.json speaks of"):
        build([], packed=["app.tar.gz.json"], outputs=["oci:packed"])
    with pytest.raises(ImageNotFoundError, match=r"cannot read nothing\.json"):
        build([], packed=["nothing.json"], outputs=["oci:packed"])


def test_the_blob_is_found_beside_its_document(work, monkeypatch):
    (work / "out").mkdir()
    pack_layer("app", "out/")
    monkeypatch.chdir(work / "rootfs")
    assert build([], packed=["../out/app.tar.gz.json"], outputs=["oci:../packed"]).digest


def test_the_command_line(work, fastoci):
    code, out, err = fastoci("layer", "pack", "app:/opt", "-q", "--chown", "0:0", "-o", "layer")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((work / "layer.json").read_text())
    assert fastoci("layer", "pack", "app:/opt", "-q", "--chown", "0:0", "-o", "layer", "--json")[1] == out
    code, built, _ = fastoci("build", "--layer", "layer.json", "-q", "-o", "oci:x")
    assert code == 0
    assert fastoci("build", "app:/opt", "-q", "--chown", "0:0", "-o", "oci:y")[1] == built.replace("oci:x", "oci:y")
    code, _, err = fastoci("build", "--layer", "layer.json")
    assert (code, err.splitlines()[-1]) == (2, "hint:  name one: -o oci:DIR")
    code, _, err = fastoci("build", "-q")
    assert (code, err) == (2, "error: nothing to build from\nhint:  name a directory or a tar archive\n")


class OpenedError(Exception):
    """A registry would have been opened now."""


def test_a_document_is_given_no_password(work, monkeypatch):
    """The command line's is for whom the command line names; a document may come from anywhere."""
    document = {**pack_layer("app"), "fastoci.blob": "docker://127.0.0.1:1/parts"}
    (work / "app.json").write_text(json.dumps(document))
    seen = []

    def open_image(name, options, sink):
        seen.append((str(name).partition("@")[0], options.credentials))
        raise OpenedError

    monkeypatch.setattr("fastoci.building.packedlayer.open_image", open_image)
    options = RegistryOptions(credentials=("me", "word"))
    with pytest.raises(OpenedError):
        build([], packed=["app.json"], outputs=["oci:x"], registry=options)
    assert seen == [("docker://127.0.0.1:1/parts", None)]
