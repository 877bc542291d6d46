"""`pull` and `copy` beside skopeo, podman and crane: the same digests, and a kill costs what was on its way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from realparts.processes import LEFT_OUT, SEARCH, base_environment, capture, require, until

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci
    from realparts.registries import Registry

SIZE = 192 << 20


@pytest.fixture
def index(fastoci: Fastoci, open_registry: Registry, hello_tree: Path, tmp_path: Path) -> str:
    """An image for two platforms at the registry, joined by fastoci."""
    members = []
    for platform in ("linux/amd64", "linux/arm64"):
        name = f"{open_registry.host}/many/{tmp_path.name.lower()}"
        built = fastoci.ok(
            "build", hello_tree, "-t", name, "--platform", platform, "--push", "--by-digest",
            "--entrypoint", "hello-cloud", "--cmd", "Cloud",
        )  # fmt: skip
        members.append(built.line)
    joined = f"{open_registry.host}/many/{tmp_path.name.lower()}:1"
    fastoci.ok("index", "create", joined, *members)
    return joined


def skopeo(*args: str, tmp_path: Path) -> bytes:
    return capture([require("skopeo", "skopeo"), *args], env=base_environment(tmp_path))


def test_the_same_digests_as_skopeo(fastoci: Fastoci, index: str, open_registry: Registry, tmp_path: Path) -> None:
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{index}", tmp_path=tmp_path)
    assert len(json.loads(raw)["manifests"]) == 2
    pulled = fastoci.ok("pull", index, f"oci:{tmp_path}/ours:1")
    skopeo(
        "copy", "--all", "--preserve-digests", "--src-tls-verify=false",
        f"docker://{index}", f"oci:{tmp_path}/theirs:1", tmp_path=tmp_path,
    )  # fmt: skip

    def blobs(layout: str) -> set[str]:
        return {path.name for path in (tmp_path / layout / "blobs/sha256").iterdir()}

    assert blobs("ours") == blobs("theirs")
    assert pulled.digest.removeprefix("sha256:") in blobs("theirs")

    # Back again, into another repository and by way of an archive.
    archive = tmp_path / "image.tar"
    fastoci.ok("copy", f"oci:{tmp_path}/theirs:1", f"oci-archive:{archive}:1")
    other = f"docker://{open_registry.host}/back/{tmp_path.name.lower()}:1"
    assert fastoci.ok("copy", f"oci-archive:{archive}", other).digest == pulled.digest
    assert skopeo("inspect", "--raw", "--tls-verify=false", other, tmp_path=tmp_path) == raw


def test_crane_says_the_same(fastoci: Fastoci, index: str, tmp_path: Path) -> None:
    crane = shutil.which("crane", path=SEARCH)
    if crane is None:
        pytest.skip(f"{LEFT_OUT}no `crane` on PATH: go install github.com/google/go-containerregistry/cmd/crane")

    def said(*args: str) -> str:
        return capture([crane, *args, "--insecure"], env=base_environment(tmp_path)).decode()

    repository = index.rpartition(":")[0]
    assert said("digest", index) == fastoci.ok("digest", index).stdout
    assert said("manifest", index).rstrip("\n") == fastoci.ok("manifest", index).stdout.rstrip("\n")
    assert said("ls", repository) == fastoci.ok("ls", repository).stdout
    assert (
        said("digest", "--platform", "linux/arm64", index)
        == fastoci.ok("digest", "--platform", "linux/arm64", index).stdout
    )
    fastoci.ok("tag", index, "stable")
    assert said("digest", f"{repository}:stable") == said("digest", index)


def test_engines_take_what_was_pulled(
    fastoci: Fastoci, index: str, docker: Engine, podman: Engine, tmp_path: Path
) -> None:
    docker.forget(index)
    archive = tmp_path / "docker.tar"
    fastoci.ok("pull", index, f"docker-archive:{archive}")
    assert docker.run(docker.load(archive)) == "Hello, Cloud!\n"
    docker("pull", index)
    assert docker.run(index) == "Hello, Cloud!\n"
    fastoci.ok("pull", index, f"oci-archive:{tmp_path}/oci.tar:1")
    name = podman("pull", f"oci-archive:{tmp_path}/oci.tar:1").split()[-1]
    assert podman.run(name) == "Hello, Cloud!\n"


def test_a_killed_pull_goes_on(fastoci: Fastoci, debian_registry: Registry, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "noise").write_bytes(os.urandom(SIZE))
    name = f"{debian_registry.host}/large:1"
    fastoci.ok("build", tree, "-t", name, "--compression=none", "--push")
    shutil.rmtree(tree)
    layout = tmp_path / "out"
    process = fastoci.start("pull", name, f"oci:{layout}")

    def left() -> int:
        found = list(layout.glob(".fastoci-partial/*"))
        return max((path.stat().st_size for path in found), default=0)

    until("the pull", lambda: left() > 8 << 20 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = left()
    if not before:
        pytest.fail("the pull was over before it was killed: make the blob larger")
    mark = debian_registry.mark()
    done = fastoci.ok("pull", name, f"oci:{layout}", "--progress=plain")
    found = re.search(r"going on at ([0-9.]+) MiB", done.stderr)
    assert found, str(done)
    assert abs(float(found[1]) - before / (1 << 20)) < 0.1 + float(found[1]) / 100
    assert "resumed 1\n" in done.stderr
    # The registry's log has the bytes of each answer.
    sent = [
        int(size) for size in re.findall(r'"GET \S+/blobs/\S+ HTTP/1.1" 206 (\d+)', debian_registry.daemon.text(mark))
    ]
    assert sent == [SIZE + 2048 - before] or (len(sent) == 1 and before + sent[0] >= SIZE)
    fastoci.ok("validate", layout)
    assert not (layout / ".fastoci-partial").exists()
