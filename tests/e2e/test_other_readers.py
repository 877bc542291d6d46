"""Readers that judge a layout: skopeo, umoci and podman take ours, and what they unpack is the tree."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from realparts.processes import base_environment, capture, require, require_root
from realparts.trees import describe

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci


@pytest.fixture
def built(fastoci: Fastoci, hello_tree: Path, odd_tree: Path, tmp_path: Path) -> tuple[Path, str]:
    """A layout with an image tagged `v1`, and its digest."""
    layout = tmp_path / "image.oci"
    result = fastoci.ok(
        "build", hello_tree, f"{odd_tree}:/srv/odd", "-t", "example.org/demo/hello:v1", "-o", f"oci:{layout}",
        "--entrypoint", "hello-cloud", "--cmd", "Cloud",
    )  # fmt: skip
    return layout, result.digest


def test_skopeo_inspects(built: tuple[Path, str], tmp_path: Path) -> None:
    layout, digest = built
    said = json.loads(
        capture([require("skopeo", "skopeo"), "inspect", f"oci:{layout}:v1"], env=base_environment(tmp_path))
    )
    assert said["Digest"] == digest
    assert said["Os"] == "linux"
    assert len(said["Layers"]) == 2


@pytest.mark.parametrize("kind", ["oci", "dir", "docker-archive", "oci-archive"])
def test_skopeo_copies(kind: str, built: tuple[Path, str], tmp_path: Path) -> None:
    """skopeo inflates each layer for some of its targets and compares the digests with the config's."""
    layout, _ = built
    target = {"dir": f"dir:{tmp_path}/copied", "docker-archive": f"docker-archive:{tmp_path}/copied:demo/hello:v1"}
    name = target.get(kind, f"{kind}:{tmp_path}/copied:v1")
    capture([require("skopeo", "skopeo"), "copy", f"oci:{layout}:v1", name], env=base_environment(tmp_path))


def test_umoci_unpacks_the_tree(built: tuple[Path, str], hello_tree: Path, odd_tree: Path, tmp_path: Path) -> None:
    umoci = require("umoci", "umoci")
    require_root("umoci unpack with owners")
    layout, _ = built
    bundle = tmp_path / "bundle"
    capture([umoci, "unpack", "--image", f"{layout}:v1", str(bundle)], env=base_environment(tmp_path))
    found = describe(bundle / "rootfs")
    srv = {path: found.pop(path) for path in ("srv", "srv/odd")}
    assert all(entry.kind == "directory" for entry in srv.values())
    odd = {
        f"srv/odd/{path}": replace(entry, links=tuple(f"srv/odd/{link}" for link in entry.links))
        for path, entry in describe(odd_tree).items()
    }
    assert found == {**describe(hello_tree), **odd}


def test_podman_pulls_and_runs(built: tuple[Path, str], podman: Engine) -> None:
    # podman makes a repository's name of the path, and those have no upper case, which TMPDIR may have.
    layout, digest = built
    image = podman("pull", f"oci:{layout.name}:v1", cwd=layout.parent).split()[-1]
    assert podman.inspect(image)["Digest"] == digest
    assert podman.run(image) == "Hello, Cloud!\n"


def test_buildah_starts_from_the_layout(built: tuple[Path, str], podman: Engine) -> None:
    buildah = require("buildah", "buildah")
    layout, _ = built
    container_name = capture([buildah, "from", f"oci:{layout.name}:v1"], env=podman.environment, cwd=layout.parent)
    container = container_name.decode().strip()
    try:
        said = json.loads(capture([buildah, "inspect", container], env=podman.environment))
        assert said["OCIv1"]["config"]["Entrypoint"] == ["hello-cloud"]
    finally:
        capture([buildah, "rm", container], env=podman.environment)
