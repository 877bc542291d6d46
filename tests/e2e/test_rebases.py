"""`rebase` beside crane's, which is where its users know it from."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from realparts.processes import LEFT_OUT, SEARCH, base_environment, capture

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.program import Fastoci
    from realparts.registries import Registry


def test_the_same_layers_as_crane_rebase(fastoci: Fastoci, open_registry: Registry, tmp_path: Path) -> None:
    crane = shutil.which("crane", path=SEARCH)
    if crane is None:
        pytest.skip(f"{LEFT_OUT}no `crane` on PATH: go install github.com/google/go-containerregistry/cmd/crane")

    def said(*arguments: str) -> bytes:
        return capture([crane, *arguments, "--insecure"], env=base_environment(tmp_path))

    for name in ("old", "new", "app"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    host = open_registry.host
    for name in ("old", "new"):
        fastoci.ok("build", tmp_path / name, "-t", f"{host}/rebase/{name}:1", "-e", f"BASE={name}", "--push")
    fastoci.ok(
        "build", tmp_path / "app", "--from", f"{host}/rebase/old:1", "-t", f"{host}/rebase/app:1", "-e", "APP=1",
        "--cmd", "run", "--push",
    )  # fmt: skip
    bases = ("--old_base", f"{host}/rebase/old:1", "--new_base", f"{host}/rebase/new:1")
    said("rebase", f"{host}/rebase/app:1", *bases, "-t", f"{host}/rebase/app:crane")
    fastoci.ok("rebase", f"{host}/rebase/app:1", "--new-base", f"{host}/rebase/new:1", "-t", "fastoci")

    def documents(tag: str) -> tuple[Any, Any]:
        name = f"{host}/rebase/app:{tag}"
        return json.loads(said("manifest", name)), json.loads(said("config", name))

    (theirs, their_config), (ours, our_config) = documents("crane"), documents("fastoci")
    assert [layer["digest"] for layer in ours["layers"]] == [layer["digest"] for layer in theirs["layers"]]
    assert our_config["rootfs"] == their_config["rootfs"]
    assert our_config["config"]["Cmd"] == their_config["config"]["Cmd"] == ["run"]
    # What only the base said is the new base's now, where crane leaves what the old one said.
    assert sorted(our_config["config"]["Env"]) == ["APP=1", "BASE=new"]
    assert sorted(their_config["config"]["Env"]) == ["APP=1", "BASE=old"]
