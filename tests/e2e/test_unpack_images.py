"""Unpacking what real tools made: docker's own archive, a registry's image, and umoci's layers that delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realparts.processes import capture, require
from realparts.trees import MADE_BY_ENGINES, describe, describe_tar, without_times

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci
    from realparts.registries import Registry


def test_what_docker_saved(fastoci: Fastoci, docker: Engine, hello_tree: Path, tmp_path: Path) -> None:
    docker.forget("demo/saved:1")
    fastoci.ok("build", hello_tree, "-t", "demo/saved:1", "--load", env=docker.environment)
    docker("save", "-o", str(tmp_path / "saved.tar"), "demo/saved:1")
    fastoci.ok("unpack", f"docker-archive:{tmp_path}/saved.tar", tmp_path / "out")
    assert describe(tmp_path / "out") == describe(hello_tree)


def test_what_a_registry_has(fastoci: Fastoci, open_registry: Registry, odd_tree: Path, tmp_path: Path) -> None:
    name = f"{open_registry.host}/demo/unpack:1"
    fastoci.ok("build", odd_tree, "-t", name, "--push")
    unpacked = fastoci.ok("unpack", f"docker://{name}", tmp_path / "out")
    assert unpacked.line == str(tmp_path / "out")
    assert describe(tmp_path / "out") == describe(odd_tree)


def test_layers_that_delete_are_what_docker_makes_of_them(
    fastoci: Fastoci, docker: Engine, hello_tree: Path, odd_tree: Path, tmp_path: Path
) -> None:
    umoci, skopeo = require("umoci", "umoci"), require("skopeo", "skopeo")
    layout = tmp_path / "layers"
    fastoci.ok(
        "build", hello_tree, f"{odd_tree}:/srv/odd", f"{hello_tree}:/opt/hello", "--cmd", "x", "-o", f"oci:{layout}:1"
    )
    new = tmp_path / "new"
    new.mkdir()
    (new / "file").write_text("new")
    capture([umoci, "insert", "--image", f"{layout}:1", "--whiteout", "/opt/hello/bin"])
    capture([umoci, "insert", "--image", f"{layout}:1", "--opaque", str(new), "/srv/odd"])
    capture([umoci, "insert", "--image", f"{layout}:1", "--whiteout", "/bin/hello-cloud"])
    archive = tmp_path / "layers.tar"
    capture([skopeo, "copy", f"oci:{layout}:1", f"docker-archive:{archive}:demo/layers:1"])
    docker.forget("demo/layers:1")
    docker.load(archive)
    exported = describe_tar(docker.export("demo/layers:1"), without=MADE_BY_ENGINES)
    fastoci.ok("unpack", f"oci:{layout}:1", tmp_path / "out")
    assert without_times(describe(tmp_path / "out")) == without_times(exported)
    assert set(exported) >= {"opt/hello/tmp", "srv/odd/file"}
    assert "bin/hello-cloud" not in exported
    assert "opt/hello/bin" not in exported
