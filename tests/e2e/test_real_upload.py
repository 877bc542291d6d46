"""Uploads to real registries: in chunks, in one piece, skipped where they stand, several at once, pulled back whole."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci
    from realparts.registries import Registry

MIB = 1 << 20


@pytest.fixture
def image(fastoci: Fastoci, hello_tree: Path, tmp_path: Path) -> str:
    """A layout with a layer of 9 MiB that does not compress, and a small one."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "random").write_bytes(os.urandom(9 * MIB))
    fastoci.ok(
        "build", hello_tree, tree, "--entrypoint", "hello-cloud", "--cmd", "Cloud", "-o", f"oci:{tmp_path}/image.oci:1"
    )
    return f"oci:{tmp_path}/image.oci:1"


def patched(registry: Registry, mark: int) -> int:
    return len(registry.requests("PATCH", mark))


@pytest.mark.parametrize(("options", "patches"), [
    (("--upload", "chunked", "--chunk-size", "2MiB"), range(6, 8)),  # the large layer 5, the other 1; the config
    (("--upload", "monolithic"), range(4)),
    ((), range(1, 8)),
], ids=["chunked", "monolithic", "auto"])  # fmt: skip
def test_layer_of_several_chunks(
    options: tuple[str, ...], patches: range, fastoci: Fastoci, open_registry: Registry, image: str, docker: Engine
) -> None:
    name = f"{open_registry.host}/demo/upload:1"
    mark = open_registry.mark()
    pushed = fastoci.ok("push", image, name, *options)
    assert patched(open_registry, mark) in patches
    docker.forget(name)
    docker("pull", name)
    assert pushed.line in docker.inspect(name)["RepoDigests"]  # type: ignore[operator]  # the engine's JSON
    assert docker.run(name) == "Hello, Cloud!\n"


def test_second_push_sends_nothing(fastoci: Fastoci, open_registry: Registry, image: str) -> None:
    name = f"{open_registry.host}/demo/twice"
    first = fastoci.ok("push", image, f"{name}:1")
    mark = open_registry.mark()
    second = fastoci.ok("push", image, f"{name}:2")
    assert (open_registry.requests("PATCH", mark), open_registry.requests("PUT", mark)) == (
        [],
        ["/v2/demo/twice/manifests/2"],
    )
    assert first.line == second.line
    assert re.search(r"total:? +sent 0\b", second.stderr), str(second)
    assert re.search(r"skipped [1-9]", second.stderr), str(second)


def test_several_references_at_once(fastoci: Fastoci, open_registry: Registry, image: str) -> None:
    names = [
        f"{open_registry.host}/demo/many-a:1",
        f"{open_registry.host}/demo/many-a:2",
        f"{open_registry.host}/demo/many-b:1",
    ]
    result = fastoci.ok("push", image, *names)
    lines = result.stdout.splitlines()
    assert [line.partition("@")[0] for line in lines] == [name.rpartition(":")[0] for name in names]
    assert len({line.partition("@")[2] for line in lines}) == 1
    for name in names:
        assert fastoci.ok("inspect", "--raw", name).stdout == fastoci.ok("inspect", "--raw", image).stdout


def test_push_of_an_archive(fastoci: Fastoci, open_registry: Registry, hello_tree: Path, tmp_path: Path) -> None:
    """Straight out of the tar, whichever of its two natures is asked for."""
    archive = tmp_path / "image.tar"
    built = fastoci.ok("build", hello_tree, "-t", "demo/archived:1", "-o", f"oci-archive:{archive}")
    by_oci = fastoci.ok("push", f"oci-archive:{archive}", f"{open_registry.host}/demo/archived:oci")
    by_docker = fastoci.ok("push", f"docker-archive:{archive}", f"{open_registry.host}/demo/archived:docker")
    assert built.digest == by_oci.digest
    assert built.digest == by_docker.digest


def test_inspect_and_validate_at_the_registry(fastoci: Fastoci, open_registry: Registry, image: str) -> None:
    name = f"{open_registry.host}/demo/looked-at:1"
    pushed = fastoci.ok("push", image, name)
    assert "linux/" in fastoci.ok("inspect", name).stdout
    assert fastoci.ok("inspect", "--config", pushed.line).stdout == fastoci.ok("inspect", "--config", image).stdout
    fastoci.ok("validate", name)
    fastoci.ok("validate", "--fast", pushed.line)


def test_validate_finds_what_the_registry_lost(fastoci: Fastoci, open_registry: Registry, image: str) -> None:
    name = f"{open_registry.host}/demo/rotten:1"
    fastoci.ok("push", image, name)
    layers = [layer["digest"] for layer in json.loads(fastoci.ok("inspect", "--raw", image).stdout)["layers"]]
    encoded = layers[1].removeprefix("sha256:")
    large = open_registry.storage / "docker/registry/v2/blobs/sha256" / encoded[:2] / encoded / "data"
    with large.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"rot")
    result = fastoci.run("validate", name)
    assert result.code == 3, str(result)
    assert encoded in result.stdout + result.stderr


def test_build_is_pushed_as_it_is_written(
    fastoci: Fastoci, open_registry: Registry, hello_tree: Path, tmp_path: Path
) -> None:
    """`--push` and `-o` together: both have the same image, and the layout is named in the same order as asked for."""
    name = f"{open_registry.host}/demo/both:1"
    result = fastoci.ok("build", hello_tree, "-t", name, "--push", "-o", f"oci:{tmp_path}/both.oci")
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert len({line.rpartition("@")[2] for line in lines}) == 1
    assert {line.partition("@")[0] for line in lines} == {
        f"oci:{tmp_path}/both.oci:1",
        f"{open_registry.host}/demo/both",
    }
