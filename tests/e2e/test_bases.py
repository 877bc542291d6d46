"""`build --from` with real registries and engines: an image on a base of this machine's own shell runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from realparts.processes import capture

if TYPE_CHECKING:
    from realparts.engines import Engine
    from realparts.program import Fastoci
    from realparts.registries import Registry

PROGRAMS = ("sh", "cat", "stat", "id")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small system with the directories of Debian: a shell, what it needs, and `lib` as a link to `usr/lib`."""
    tree = tmp_path_factory.mktemp("system") / "rootfs"
    for directory in ("usr/bin", "usr/lib", "usr/lib64", "etc", "tmp"):
        (tree / directory).mkdir(parents=True)
    for directory in (tree, *tree.rglob("*")):
        directory.chmod(0o755)
    (tree / "tmp").chmod(0o1777)
    for link in ("bin", "lib", "lib64"):
        (tree / link).symlink_to(f"usr/{link}")
    (tree / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    files = {path for path in map(shutil.which, PROGRAMS) if path is not None}
    for program in list(files):
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        files |= set(re.findall(r"(/\S+)(?= \(0x)", listed))
    for file in files:
        place = tree / (f"usr/bin/{Path(file).name}" if Path(file).name in PROGRAMS else file.lstrip("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(file).resolve(), place)
        place.chmod(0o755)
    return tree


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A script, for a place beneath a link of the base."""
    tree = tmp_path / "app"
    tree.mkdir()
    (tree / "greet").write_text('#!/bin/sh\necho "$GREETING, $1, from $(id -u) in $PWD"\nstat -c %a /tmp /usr/lib\n')
    (tree / "greet").chmod(0o755)
    return tree


BASE = (
    "--entrypoint", "/bin/sh", "--cmd", "-c", "--cmd", "cat /etc/passwd", "-e", "PATH=/usr/bin", "-e", "GREETING=Hi",
    "-l", "base=yes", "-w", "/tmp", "--chown", "0:0",
)  # fmt: skip
OWN = ("--entrypoint", "/lib/app/greet", "--cmd", "World", "-e", "GREETING=Good day", "-l", "own=yes", "-u", "7")
SAID = "Good day, World, from 7 in /tmp\n1777\n755\n"


def test_an_image_on_a_base_runs(
    fastoci: Fastoci, open_registry: Registry, docker: Engine, podman: Engine, system: Path, app: Path
) -> None:
    base = f"{open_registry.host}/bases/shell:1"
    fastoci.ok("build", system, "-t", base, *BASE, "--push")
    assert docker.run(base) == "root:x:0:0::/:/bin/sh\n"

    # At the root of the image nobody has to look into the base: not a byte of its layers moves.
    name = f"{open_registry.host}/apps/plain:1"
    mark = open_registry.mark()
    fastoci.ok("build", app, "--from", base, "-t", name, "--push", "--chown", "0:0", *OWN[2:])
    layers = [layer["digest"] for layer in manifest(fastoci, base)["layers"]]
    assert not [path for path in open_registry.requests("GET", mark) if path.rpartition("/")[2] in layers]
    assert [path for path in open_registry.requests("POST", mark) if "mount=" in path and "from=bases" in path]

    # Beneath a link of the base it is followed, and the directories above keep their modes.
    name = f"{open_registry.host}/apps/greet:1"
    built = fastoci.ok("build", f"{app}:/lib/app", "--from", base, "-t", name, "--push", "--chown", "0:0", *OWN)
    assert manifest(fastoci, name)["layers"][:-1] == manifest(fastoci, base)["layers"]
    assert manifest(fastoci, name)["annotations"]["org.opencontainers.image.base.name"] == base
    for engine in (docker, podman):
        engine.forget(name)
    docker("pull", name)
    assert built.line in docker.inspect(name)["RepoDigests"]  # type: ignore[operator]  # the engine's JSON
    assert docker.run(name) == SAID
    config = docker.inspect(name)["Config"]
    assert isinstance(config, dict)
    assert config["Env"] == ["PATH=/usr/bin", "GREETING=Good day"]
    assert config["Labels"] == {"base": "yes", "own": "yes"}
    podman("pull", "--tls-verify=false", name)
    assert podman.run(name) == SAID


def test_what_docker_built_and_pushed_is_a_base(
    fastoci: Fastoci, debian_registry: Registry, docker: Engine, system: Path, app: Path, tmp_path: Path
) -> None:
    """Docker 20 pushes schema 2; the image on it is OCI's, and goes back into docker."""
    base = f"{debian_registry.host}/bases/docker:1"
    tar = capture(["tar", "-C", str(system), "-c", "."])
    docker("import", "--change", "ENV PATH=/usr/bin", "--change", 'CMD ["cat", "/etc/passwd"]', "-", base, stdin=tar)
    docker("push", base)
    assert manifest(fastoci, base)["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    archive = tmp_path / "image.tar"
    fastoci.ok(
        "build", f"{app}:/lib/app", "--from", base, "-t", "demo/on-docker:1", "-o", f"docker-archive:{archive}",
        "--chown", "0:0", "-w", "/tmp", *OWN,
    )  # fmt: skip
    fastoci.ok("validate", archive)
    assert docker.run(docker.load(archive)) == SAID


def manifest(fastoci: Fastoci, name: str) -> dict[str, object]:
    value = json.loads(fastoci.ok("inspect", "--raw", name).stdout)
    assert isinstance(value, dict)
    return value
