"""Loading into engines: programs on PATH that read an archive from stdin, or do not."""

from __future__ import annotations

import json
import os
import stat
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from fastoci import events
from fastoci.build import build
from fastoci.cli import app
from fastoci.errors import EngineError, UsageError
from fastoci.load import ENGINES, find_engine, load
from fastoci.spec.platform import Platform


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a directory of its own, with nothing on PATH but what a test puts there."""
    monkeypatch.chdir(tmp_path)
    for name in ("bin", "tmp", "rootfs"):
        (tmp_path / name).mkdir()
    (tmp_path / "rootfs/file").write_bytes(b"content")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("fastoci.cli.signals.install", lambda: None)
    yield
    assert os.listdir(tmp_path / "tmp") == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")] == []


def program(name: str, body: str) -> None:
    """Put a program on PATH, written in Python."""
    path = Path("bin", name).absolute()
    path.write_text(f"#!{sys.executable}\nimport sys\narguments = sys.argv[1:]\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


# Answers, keeps what it is given, and says so.
GOOD = """
if arguments[:1] in (["version"], ["--version"]):
    sys.exit(0)
import json, pathlib
with pathlib.Path("taken.json").open("w") as file:
    json.dump([pathlib.Path(sys.argv[0]).name, arguments], file)
with pathlib.Path("taken.tar").open("wb") as file:
    while data := sys.stdin.buffer.read(65536):
        file.write(data)
print("Loaded image")
"""
SILENT = "sys.stderr.write('Cannot connect to the Docker daemon\\n'); sys.exit(1)"
REFUSES_AFTER_ALL = "sys.stdin.buffer.read(); print('reading'); print('no space left'); sys.exit(1)"
HANGS_UP = "sys.stdin.close(); print('unauthorized'); sys.exit(125)"


def taken() -> tuple[list[object], list[str], list[dict]]:
    with tarfile.open("taken.tar") as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json"))
    return json.loads(Path("taken.json").read_text()), names, manifest


@pytest.fixture
def layout():
    return build(["rootfs"], outputs=["oci:image"], tags=["demo:1"])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("docker", ["load", "--quiet"]), ("podman", ["load", "--quiet"]), ("containerd", ["images", "import", "-"])],
)
def test_each_engine(layout, name, arguments):
    program(ENGINES[name].program, GOOD)
    said = []
    loaded = load(layout.names[0], ["docker.io/library/demo:1"], engine=name, sink=said.append)
    assert (loaded.engine, loaded.name, loaded.digest) == (name, "docker.io/library/demo:1", layout.digest)
    assert said == [events.ImageLoaded(name, "docker.io/library/demo:1")]
    call, names, (manifest,) = taken()
    assert call == [ENGINES[name].program, arguments]
    assert f"blobs/sha256/{layout.digest.hex}" in names
    assert manifest["RepoTags"] == ["demo:1"]


def test_an_image_without_a_name_is_known_by_its_id(layout):
    program("docker", GOOD)
    assert load("oci:image").name == str(layout.config.digest)
    _, _, (manifest,) = taken()
    assert manifest["RepoTags"] in ([], None)


def test_the_first_that_answers_is_taken():
    program("docker", SILENT)
    program("podman", GOOD)
    program("ctr", GOOD)
    assert find_engine().name == "podman"
    program("docker", GOOD)
    assert find_engine("auto").name == "docker"


def test_no_engine_is_told_with_all_reasons():
    program("docker", SILENT)
    program("ctr", "sys.exit(7)")
    with pytest.raises(EngineError) as caught:
        find_engine()
    assert caught.value.what == "no container engine answers"
    assert caught.value.cause == (
        "docker: Cannot connect to the Docker daemon; podman: no podman on PATH; containerd: exit code 7"
    )
    assert "docker-archive:" in caught.value.hint


def test_an_engine_that_is_named_has_to_be_there():
    with pytest.raises(EngineError, match="podman is not here"):
        find_engine("podman")
    with pytest.raises(UsageError, match="no such engine: 'rkt'"):
        find_engine("rkt")


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (REFUSES_AFTER_ALL, "no space left"),
        (HANGS_UP, "unauthorized"),
        ("sys.exit(3)", "docker ended with exit code 3"),
    ],
)
def test_an_engine_that_refuses_says_why(layout, body, cause):
    program("docker", body)
    with pytest.raises(EngineError) as caught:
        load("oci:image", engine="docker")
    assert caught.value.what == "docker did not take the image"
    assert caught.value.cause == cause


def test_an_engine_that_hangs_up_on_a_large_image():
    Path("rootfs/large").write_bytes(os.urandom(1 << 20))
    build(["rootfs"], outputs=["oci:image"])
    program("docker", HANGS_UP)
    with pytest.raises(EngineError) as caught:
        load("oci:image", engine="docker")
    assert caught.value.cause == "unauthorized"


def test_an_interruption_ends_the_engine(layout, monkeypatch):
    program("docker", "import pathlib; sys.stdin.buffer.read(); pathlib.Path('whole').touch()")

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastoci.load.copy_layers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("oci:image", engine="docker")
    assert not Path("whole").exists()


def test_build_loads_and_writes_nothing_else(capfd):
    program("docker", GOOD)
    before = sorted(os.listdir())
    assert app.run(["build", "rootfs", "-t", "demo:1", "--load"]) == 0
    out, err = capfd.readouterr()
    assert out == "docker.io/library/demo:1\n"
    assert "loaded docker.io/library/demo:1 into docker" in err
    assert sorted(os.listdir()) == sorted([*before, "taken.json", "taken.tar"])


def test_build_loads_into_the_one_that_is_named(capfd):
    program("docker", GOOD)
    program("podman", GOOD)
    assert app.run(["build", "rootfs", "--load=podman", "-o", "image"]) == 0
    out, _ = capfd.readouterr()
    layout, image_id = out.splitlines()
    assert layout.startswith("oci:image:latest@sha256:")
    assert image_id.startswith("sha256:")
    assert taken()[0][0] == "podman"


def test_build_misses_the_engine_before_it_reads(capfd):
    assert app.run(["build", "nowhere", "--load"]) == 1
    assert app.run(["build", "rootfs", "--load"]) == 1
    assert "error: no container engine answers" in capfd.readouterr().err


def test_the_member_for_a_platform():
    program("docker", GOOD)
    other = build(["rootfs"], outputs=["oci:image"], tags=["demo:1"])
    assert load("oci:image:1", platform=Platform.host()).digest == other.digest
