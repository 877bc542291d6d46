"""`build --diff`, of a tree and of an image: umoci, docker and podman make exactly the new tree of it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from realparts.processes import base_environment, capture, require, require_root
from realparts.trees import MADE_BY_ENGINES, describe, describe_tar, without_times

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci


@pytest.fixture
def old(odd_tree: Path, tmp_path: Path) -> Path:
    """A tree with something of every kind, and directories to lose something in."""
    require_root("packing files of several owners")
    tree = tmp_path / "old"
    capture(["cp", "--archive", str(odd_tree), str(tree)])
    for directory in ("opt/full", "opt/emptied", "opt/gone/deep", "opt/kind"):
        (tree / directory).mkdir(parents=True)
        for number in range(3):
            (tree / directory / f"{number}").write_text(f"{directory} {number}")
    os.link(tree / "opt/full/0", tree / "opt/linked")
    os.link(tree / "opt/full/1", tree / "opt/other")
    return tree


@pytest.fixture
def new(old: Path, tmp_path: Path) -> Path:
    """The same tree with a change of every kind."""
    tree = tmp_path / "new"
    capture(["cp", "--archive", str(old), str(tree)])
    status = os.stat(tree / "opt/full/2")
    (tree / "opt/full/2").write_text("OPT/FULL 2")
    os.utime(tree / "opt/full/2", ns=(0, status.st_mtime_ns))
    (tree / "opt/full/0").chmod(0o751)  # and so its other name
    (tree / "opt/other").unlink()
    for number in range(3):
        (tree / f"opt/emptied/{number}").unlink()
    (tree / "opt/emptied/instead").write_text("instead")
    shutil.rmtree(tree / "opt/gone")
    shutil.rmtree(tree / "opt/kind")
    (tree / "opt/kind").symlink_to("full")
    (tree / "opt/full/1").unlink()
    (tree / "opt/full/1/now").mkdir(parents=True)
    (tree / "opt").chmod(0o711)
    (tree / "top").write_text("new")
    for directory in (tree / "opt/full", tree / "opt/emptied", tree / "opt"):
        os.utime(directory, (1600000000, 1600000000))
    return tree


def test_umoci_makes_the_new_tree(fastoci: Fastoci, old: Path, new: Path, tmp_path: Path) -> None:
    umoci = require("umoci", "umoci")
    layout = tmp_path / "image"
    fastoci.ok("build", old, "-o", f"oci:{layout}:old")
    fastoci.ok("build", "--from", f"oci:{layout}:old", "--diff", old, new, "-o", f"oci:{layout}:of-tree")
    fastoci.ok("build", "--from", f"oci:{layout}:old", "--diff", new, "-o", f"oci:{layout}:of-image")
    for tag in ("of-tree", "of-image"):
        bundle = tmp_path / tag
        capture([umoci, "unpack", "--image", f"{layout}:{tag}", str(bundle)], env=base_environment(tmp_path))
        assert describe(bundle / "rootfs") == describe(new)


def test_engines_make_the_new_tree(
    fastoci: Fastoci, docker: Engine, podman: Engine, old: Path, new: Path, tmp_path: Path
) -> None:
    layout, archive = tmp_path / "image", tmp_path / "new.tar"
    fastoci.ok("build", old, "-o", f"oci:{layout}:old")
    fastoci.ok(
        "build", "--from", f"oci:{layout}:old", "--diff", new, "-t", "demo/diff:1", "-o", f"docker-archive:{archive}"
    )
    expected = {path: entry.without_links() for path, entry in describe(new).items() if path not in MADE_BY_ENGINES}
    for engine in (docker, podman):
        engine.forget("demo/diff:1")
        found = describe_tar(engine.export(engine.load(archive)), without=MADE_BY_ENGINES)
        assert without_times(found) == without_times(expected)
