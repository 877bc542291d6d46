"""What the image of a build is made of, and what is said of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import threading
from pathlib import Path

import pytest
from builtimages import image_of, images, run, unpacked

from fastoci import events
from fastoci.build import build
from fastoci.building.output import Output
from fastoci.layer.options import LayerOptions
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource

pytestmark = pytest.mark.usefixtures("here")


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
    assert err.splitlines()[-2:] == ["error: cannot write missing/digest", "cause: no such file or directory"]


def test_plain_progress(tree, capfd):
    _, err = run(capfd, tree, "-T", "3", "--platform", "linux/arm64", "--progress", "plain")
    lines = err.splitlines()
    assert re.fullmatch(r" 0\.\ds fastoci \S+ linux/arm64 gzip:1 threads=3", lines[0])
    assert re.fullmatch(r" 0\.\ds scanned rootfs: 4 entries, [\d.]+ KiB", lines[1])
    assert re.search(r"s packed rootfs: [\d.]+ KiB → [\d.]+ .*, sha256:", lines[-1])


def test_sources_and_outputs_may_be_values(tree):
    result = build([TreeSource(str(tree), "/opt")], outputs=[Output("oci", "out", "x")])
    assert result.names == (f"oci:out:x@{result.digest}",)
    assert image_of("out").names()[0][0] == "opt"
    assert result.timings["total"] >= result.timings["pack"] >= 0


def test_events_come_in_order(tree):
    said: list[events.Event] = []
    build([str(tree)], outputs=["out"], sink=said.append)
    kinds = [type(event).__name__ for event in said if not isinstance(event, events.LayerProgress | events.Warned)]
    assert kinds == ["LayerScanned", "LayerPacked"]
