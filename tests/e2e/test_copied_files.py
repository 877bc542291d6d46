"""One file as a source, beside what docker's COPY makes of the same file and the same destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from realparts.trees import describe_tar

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci

# What docker makes beneath every container, whatever is in its image.
OWN = ("dev", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf", "proc", "sys", ".dockerenv")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build context: the file, and a base to put it on."""
    top = tmp_path_factory.mktemp("copied")
    base = top / "base"
    for name in ("usr/bin", "usr/share", "etc"):
        (base / name).mkdir(parents=True)
    (base / "usr/bin/old").write_bytes(b"the old one")
    (base / "etc/link").symlink_to("../usr/share/behind")
    (base / "usr/share/behind").write_bytes(b"behind a link")
    (base / "bin").symlink_to("usr/bin")
    for directory in (base, *(path for path in base.rglob("*") if path.is_dir() and not path.is_symlink())):
        directory.chmod(0o755)
    (top / "app").write_bytes(b"#!/bin/sh\necho app\n")
    (top / "app").chmod(0o751)
    return top


def test_as_docker_copies_it(fastoci: Fastoci, docker: Engine, context: Path, tmp_path: Path) -> None:
    """Each destination in a layer of its own; docker gives the directories it makes the time at which it does."""
    dests = ["/usr/bin", "/bin/", "/usr/bin/old", "/etc/link", "/new/place/tool", "/made/", "/bin/tool"]
    archive = tmp_path / "base.tar"
    fastoci.ok("build", context / "base", "-t", "demo/copied:base", "-o", f"docker-archive:{archive}", "--chown", "0:0")
    docker.load(archive)
    file = tmp_path / "Dockerfile"
    file.write_text("FROM demo/copied:base\n" + "".join(f"COPY app {dest}\n" for dest in dests))
    docker("build", "-q", "-t", "demo/copied:docker", "-f", str(file), str(context), env={"DOCKER_BUILDKIT": "0"})
    ours = tmp_path / "ours.tar"
    sources = [f"{context}/app:{dest}" for dest in dests]
    fastoci.ok(
        "build", *sources, "--from", f"docker-archive:{archive}", "-t", "demo/copied:ours", "--chown", "0:0",
        "-o", f"docker-archive:{ours}",
    )  # fmt: skip
    docker.load(ours)
    try:
        expected = describe_tar(docker.export("demo/copied:docker"), without=OWN)
        found = describe_tar(docker.export("demo/copied:ours"), without=OWN)
    finally:
        docker.forget("demo/copied:docker", "demo/copied:ours", "demo/copied:base")
    assert found.keys() == expected.keys()
    assert {"usr/bin/app", "usr/bin/tool", "new/place/tool", "made/app"} <= found.keys()
    for path, entry in found.items():
        other = expected[path]
        assert (entry.kind, entry.mode, entry.owner, entry.content) == (
            other.kind,
            other.mode,
            other.owner,
            other.content,
        ), path
        if entry.kind == "file":
            assert entry.mtime == other.mtime, path
