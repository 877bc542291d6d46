"""Layers compressed with zstd, and not at all: engines pull, load and run them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from realparts.processes import capture, require
from realparts.trees import describe

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci
    from realparts.registries import Registry

HELLO = ("--entrypoint", "hello-cloud", "--cmd", "Cloud")


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_engines_pull_and_run_it(
    compression: str,
    fastoci: Fastoci,
    open_registry: Registry,
    docker: Engine,
    podman: Engine,
    hello_tree: Path,
) -> None:
    name = f"{open_registry.host}/demo/{compression}:1"
    fastoci.ok("build", hello_tree, "-t", name, *HELLO, "--push", "--compression", compression)
    manifest = json.loads(fastoci.ok("manifest", name).stdout)
    suffix = {"zstd": ".tar+zstd", "none": ".tar"}[compression]
    assert [layer["mediaType"] for layer in manifest["layers"]] == [f"application/vnd.oci.image.layer.v1{suffix}"]
    podman.forget(name)
    podman("pull", "--tls-verify=false", name)
    assert podman.run(name) == "Hello, Cloud!\n"
    if compression == "zstd" and int(docker("version", "--format={{.Server.Version}}").split(".")[0]) < 23:
        # Docker's own storage knows zstd from 23.0 on, and the containerd beneath it all the same.
        assert by_containerd(docker, name) == "Hello, Cloud!\n"
        return
    docker.forget(name)
    docker("pull", name)
    assert docker.run(name) == "Hello, Cloud!\n"


def by_containerd(docker: Engine, name: str) -> str:
    """Pull an image into the containerd that a dockerd runs, and return what it says."""
    ctr = require("ctr", "containerd")
    capture([ctr, "images", "pull", "--plain-http", name], env=docker.environment)
    return run_by_containerd(docker, name)


def run_by_containerd(docker: Engine, name: str) -> str:
    """Run an image that a dockerd's containerd has, and return what it says."""
    ctr = require("ctr", "containerd")
    try:
        return capture([ctr, "run", "--rm", name, "fastoci-zstd"], env=docker.environment).decode()
    finally:
        capture([ctr, "images", "rm", "--sync", name], env=docker.environment)


def test_containerd_imports_and_runs_it(fastoci: Fastoci, docker: Engine, hello_tree: Path, tmp_path: Path) -> None:
    name, archive = "example.org/demo/zstd-import:1", tmp_path / "hello.tar"
    fastoci.ok("build", hello_tree, "-t", name, *HELLO, "--compression", "zstd", "-o", f"oci-archive:{archive}")
    capture([require("ctr", "containerd"), "images", "import", str(archive)], env=docker.environment)
    assert run_by_containerd(docker, name) == "Hello, Cloud!\n"


def test_archives_of_it_load(
    fastoci: Fastoci, docker: Engine, podman: Engine, hello_tree: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "hello.tar"
    options = ("--compression", "zstd", "--compression-level", "3")
    fastoci.ok("build", hello_tree, "-t", "demo/zstd-archive:1", *HELLO, *options, "-o", f"oci-archive:{archive}")
    docker.forget("demo/zstd-archive:1")
    assert docker.run(docker.load(archive)) == "Hello, Cloud!\n"
    assert podman.run(podman.load(archive)) == "Hello, Cloud!\n"


def test_skopeo_reads_it_and_unpack_makes_the_tree(fastoci: Fastoci, odd_tree: Path, tmp_path: Path) -> None:
    layout = tmp_path / "odd.oci"
    fastoci.ok("build", odd_tree, "-o", f"oci:{layout}:1", "--compression", "zstd")
    capture([require("skopeo", "skopeo"), "copy", f"oci:{layout}:1", f"dir:{tmp_path}/copied"])
    fastoci.ok("unpack", f"oci:{layout}:1", tmp_path / "out")
    assert describe(tmp_path / "out") == describe(odd_tree)
