"""From a static program to a running container: through a registry with tokens, by archives, straight into engines."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from realparts.processes import base_environment, capture, require
from realparts.program import DIGEST
from realparts.registries import PASSWORD, READER, READER_PASSWORD, USER, docker_config
from realparts.trees import MADE_BY_ENGINES, describe, describe_tar

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci
    from realparts.registries import Registry

HELLO = ("--entrypoint", "hello-cloud", "--cmd", "Cloud")


def greets(engine: Engine, image: str) -> None:
    assert engine.run(image) == "Hello, Cloud!\n"
    assert engine.run(image, "Readers") == "Hello, Readers!\n"


def test_build_push_pull_run(
    fastoci: Fastoci, token_registry: Registry, docker: Engine, podman: Engine, hello_tree: Path, tmp_path: Path
) -> None:
    name = f"{token_registry.host}/demo/hello:1"
    fastoci.env["DOCKER_CONFIG"] = str(docker_config(tmp_path / "docker", token_registry.host, USER, PASSWORD))
    built = fastoci.ok("build", hello_tree, "-t", name, *HELLO, "--push")
    assert re.fullmatch(rf"{re.escape(token_registry.host)}/demo/hello@{DIGEST}", built.line)
    assert fastoci.leftovers() == [], "--push alone writes no layout"
    assert PASSWORD not in built.stderr

    reader = {"DOCKER_CONFIG": str(docker_config(tmp_path / "reader", token_registry.host, READER, READER_PASSWORD))}
    docker.forget(name)
    docker("pull", name, env=reader)
    assert built.line in docker.inspect(name)["RepoDigests"]  # type: ignore[operator]  # the engine's JSON
    greets(docker, name)

    podman.forget(name)
    podman("pull", "--tls-verify=false", f"--authfile={reader['DOCKER_CONFIG']}/config.json", name)
    # Not "Digest": where storage has another manifest of the same config, from another test, that is told.
    assert built.line in podman.inspect(name)["RepoDigests"]  # type: ignore[operator]  # the engine's JSON
    greets(podman, name)


def test_credentials_from_an_authfile(
    fastoci: Fastoci, token_registry: Registry, docker: Engine, hello_tree: Path, tmp_path: Path
) -> None:
    """podman's way: `--authfile`, and a tag beside an earlier one."""
    authfile = docker_config(tmp_path / "auth", token_registry.host, USER, PASSWORD) / "config.json"
    name = f"{token_registry.host}/demo/hello:authfile"
    built = fastoci.ok("build", hello_tree, "-t", name, *HELLO, "--push", "--authfile", authfile)
    docker("pull", name, env={"DOCKER_CONFIG": str(authfile.parent)})
    assert built.line in docker.inspect(name)["RepoDigests"]  # type: ignore[operator]  # the engine's JSON
    greets(docker, name)


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_archive_loads_into_both_engines(
    transport: str, fastoci: Fastoci, docker: Engine, podman: Engine, hello_tree: Path, tmp_path: Path
) -> None:
    """One tar that is an OCI and a docker archive at once, whichever of the two was asked for."""
    archive = tmp_path / "hello.tar"
    built = fastoci.ok("build", hello_tree, "-t", f"demo/{transport}:1", *HELLO, "-o", f"{transport}:{archive}")
    assert re.fullmatch(rf"{transport}:{re.escape(str(archive))}\S*@{DIGEST}", built.line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hello.tar", "home"], "nothing lies beside the archive"

    docker.forget(f"demo/{transport}:1")
    greets(docker, docker.load(archive))
    greets(docker, f"demo/{transport}:1")
    greets(podman, podman.load(archive))


def test_archive_on_stdout_goes_down_a_pipe(fastoci: Fastoci, docker: Engine, hello_tree: Path) -> None:
    docker.forget("demo/piped:1")
    build = fastoci.start("build", hello_tree, "-t", "demo/piped:1", *HELLO, "-o", "-")
    load = subprocess.run(
        [docker.client, "load"], stdin=build.stdout, env=dict(docker.environment), capture_output=True, check=False
    )
    _, said = build.communicate(timeout=60)
    assert (build.returncode, load.returncode) == (0, 0), said + load.stderr
    greets(docker, "demo/piped:1")


def test_load_hands_the_image_to_docker(fastoci: Fastoci, docker: Engine, hello_tree: Path) -> None:
    docker.forget("demo/loaded:1")
    built = fastoci.ok("build", hello_tree, "-t", "demo/loaded:1", *HELLO, "--load", env=docker.environment)
    assert "demo/loaded" in built.line
    assert fastoci.leftovers() == [], "--load alone writes no layout"
    greets(docker, "demo/loaded:1")


def test_load_hands_the_image_to_podman(fastoci: Fastoci, podman: Engine, hello_tree: Path) -> None:
    podman.forget("demo/loaded:1")
    settings = {key: podman.environment[key] for key in ("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF")}
    fastoci.ok("build", hello_tree, "-t", "demo/loaded:1", *HELLO, "--load=podman", env=settings)
    assert fastoci.leftovers() == []
    names = [name for image in json.loads(podman("images", "--format=json")) for name in image["Names"] or []]
    found = {name for name in names if name.endswith("demo/loaded:1")}
    assert len(found) == 1, found
    greets(podman, found.pop())


def test_containerd_imports_the_archive(fastoci: Fastoci, docker: Engine, hello_tree: Path, tmp_path: Path) -> None:
    """By `ctr`, which reads the OCI half, in a namespace that the dockerd beside it does not use."""
    ctr = require("ctr", "containerd")
    archive = tmp_path / "hello.tar"
    built = fastoci.ok("build", hello_tree, "-t", "docker.io/demo/hello:ctr", *HELLO, "-o", f"oci-archive:{archive}")
    at = [ctr, "--address", docker.environment["CONTAINERD_ADDRESS"], "--namespace", "fastoci-tests"]
    capture([*at, "images", "import", "--all-platforms", str(archive)], env=base_environment(tmp_path))
    listed = capture([*at, "images", "list"], env=base_environment(tmp_path)).decode()
    assert re.search(rf"^docker\.io/demo/hello:ctr\s.*{built.digest}", listed, re.MULTILINE), listed


def test_container_holds_the_tree_as_it_was(
    fastoci: Fastoci, docker: Engine, podman: Engine, odd_tree: Path, tmp_path: Path
) -> None:
    """Type, mode, owner, time, content and targets of every entry, as the engines give them back."""
    archive = tmp_path / "odd.tar"
    fastoci.ok("build", odd_tree, "-t", "demo/odd:1", "-o", f"docker-archive:{archive}")
    expected = {
        path: entry.without_links() for path, entry in describe(odd_tree).items() if path not in MADE_BY_ENGINES
    }
    for engine in (docker, podman):
        found = describe_tar(engine.export(engine.load(archive)), without=MADE_BY_ENGINES)
        assert found == expected


def test_several_sources_are_several_layers(fastoci: Fastoci, docker: Engine, hello_tree: Path, tmp_path: Path) -> None:
    """A second tree under a prefix neither hides nor alters what lies beneath it, nor the directories on the way."""
    base = tmp_path / "base"
    (base / "opt/kept").mkdir(parents=True)
    (base / "opt/kept/file").write_text("kept\n")
    (base / "opt").chmod(0o750)
    (base / "opt/kept").chmod(0o711)
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "added").write_text("added\n")
    tar = tmp_path / "layer.tar"
    capture(["tar", "-C", str(tmp_path), "--transform=s,^extra,from-tar,", "-cf", str(tar), "extra/added"])
    archive = tmp_path / "image.tar"
    fastoci.ok(
        "build",
        hello_tree,
        base,
        f"{extra}:/opt/kept/deep",
        tar,
        "-t",
        "demo/layers:1",
        "-o",
        f"docker-archive:{archive}",
    )
    name = docker.load(archive)
    layers = docker.inspect(name)["RootFS"]["Layers"]  # type: ignore[index]  # the engine's JSON
    assert len(layers) == 4
    found = describe_tar(docker.export(name), without=MADE_BY_ENGINES)
    assert found.keys() == {
        "bin", "bin/hello-cloud", "tmp", "opt", "opt/kept", "opt/kept/file", "opt/kept/deep", "opt/kept/deep/added",
        "from-tar", "from-tar/added",
    }  # fmt: skip
    assert found["opt"].mode == 0o750
    assert found["opt/kept"].mode == 0o711
    assert found["opt/kept/deep"].mode == 0o755
    assert found["tmp"].mode == 0o1777


def test_config_reaches_the_container(fastoci: Fastoci, docker: Engine, hello_tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    fastoci.ok(
        "build", hello_tree, "-t", "demo/config:1", "-o", f"docker-archive:{archive}", "--entrypoint",
        '["/bin/hello-cloud"]', "--cmd", "Cloud", "-e", "GREETING=good day", "-e", "FROM_HERE",
        "-w", "/tmp", "-u", "1000:1001",
        "--expose", "8080/tcp", "--volume", "/data", "-l", "who=me", "--stop-signal", "SIGUSR1", "--author", "Somebody",
        env={"FROM_HERE": "this host"},
    )  # fmt: skip
    name = docker.load(archive)
    image = docker.inspect(name)
    config = image["Config"]
    assert isinstance(config, dict)
    assert image["Author"] == "Somebody"
    assert config["Entrypoint"] == ["/bin/hello-cloud"]
    assert config["Cmd"] == ["Cloud"]
    assert {"GREETING=good day", "FROM_HERE=this host"} <= set(config["Env"])
    assert config["WorkingDir"] == "/tmp"
    assert config["User"] == "1000:1001"
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["Volumes"] == {"/data": {}}
    assert config["Labels"] == {"who": "me"}
    assert config["StopSignal"] == "SIGUSR1"
    greets(docker, name)
