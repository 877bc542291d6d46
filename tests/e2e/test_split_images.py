"""A split tree, pushed in one pass to real registries, is what engines run, exactly."""

from __future__ import annotations

import json
import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest
from realparts.processes import capture, require
from realparts.trees import describe, describe_tar

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci
    from realparts.registries import Registry

MADE_BY_ENGINES = ("dev", "etc", "proc", "sys", "run", ".dockerenv")


@pytest.fixture
def tree(hello_tree: Path, odd_tree: Path, tmp_path: Path) -> Path:
    """The program, everything odd, and some megabytes in many directories."""
    root = tmp_path / "rootfs"
    capture([require("cp", "coreutils"), "--archive", str(odd_tree), str(root)])
    shutil.copytree(hello_tree, root, dirs_exist_ok=True)
    chance = random.Random(1)
    for number in range(200):
        path = root / "srv" / f"{number % 9}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(60_000)))
    os.link(root / "srv/0/0", root / "srv/8/zero")
    return root


def test_split_pushed_pulled_and_run(
    fastoci: Fastoci, open_registry: Registry, docker: Engine, podman: Engine, tree: Path
) -> None:
    name = f"{open_registry.host}/demo/split:1"
    built = fastoci.ok("build", tree, "-t", name, "--entrypoint", "hello-cloud", "--split", "12", "--push")
    layers = json.loads(fastoci.ok("inspect", "--raw", name).stdout)["layers"]
    assert 6 <= len(layers) <= 12, "N is the most, and pieces are of one order of size"
    fastoci.ok("validate", name)
    for engine, options in ((docker, ()), (podman, ("--tls-verify=false",))):
        engine.forget(name)
        engine("pull", *options, name)
        assert engine.run(name, "Cloud") == "Hello, Cloud!\n"
    wanted = {path: entry.without_links() for path, entry in describe(tree).items()}
    found = describe_tar(docker.export(name), without=MADE_BY_ENGINES)
    assert found == {path: entry for path, entry in wanted.items() if path.split("/")[0] not in MADE_BY_ENGINES}

    # A little is another, and little is sent again.
    (tree / "srv/4/new").write_bytes(b"new")
    mark = open_registry.mark()
    again = fastoci.ok("build", tree, "-t", name, "--entrypoint", "hello-cloud", "--split", "12", "--push")
    assert again.digest != built.digest
    committed = [path for path in open_registry.requests("PUT", mark) if "/blobs/uploads/" in path]
    assert 2 <= len(committed) <= 4, "one to three layers, and the config"
