"""The real parts themselves, without fastoci: where these fail, the machine is at fault and not the program."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from realparts.processes import LEFT_OUT, base_environment, capture, require
from realparts.registries import PASSWORD, READER, READER_PASSWORD, USER, docker_config, has_distribution_3
from realparts.tokenserver import TokenServer

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.registries import Registry


def archive(tree: Path, docker: Engine) -> Path:
    """Make a docker archive of a tree by the engine's own means."""
    tar = capture(["tar", "-C", str(tree), "-c", "."])
    docker("import", "--change", 'ENTRYPOINT ["hello-cloud"]', "--change", 'CMD ["Cloud"]', "-", "parts:1", stdin=tar)
    path = tree.parent / "parts.tar"
    docker("save", "-o", str(path), "parts:1")
    return path


def skopeo(*args: str, tmp_path: Path) -> subprocess.CompletedProcess[bytes]:
    path = require("skopeo", "skopeo")
    return subprocess.run([path, *args], env=base_environment(tmp_path), capture_output=True, timeout=60, check=False)


def test_distribution_3_is_there() -> None:
    """No Debian package has it, so that even CI may be without: it takes Go and its module proxy."""
    if not has_distribution_3():
        pytest.skip(f"{LEFT_OUT}no `registry` on PATH: go install github.com/distribution/distribution/v3/cmd/registry")


def test_docker_runs_a_container(docker: Engine, hello_tree: Path) -> None:
    archive(hello_tree, docker)
    assert docker.run("parts:1") == "Hello, Cloud!\n"
    assert docker.run("parts:1", "Readers") == "Hello, Readers!\n"


def test_podman_runs_a_container(docker: Engine, podman: Engine, hello_tree: Path) -> None:
    name = podman.load(archive(hello_tree, docker))
    assert podman.run(name) == "Hello, Cloud!\n"
    assert podman.run(name, "Readers") == "Hello, Readers!\n"


def test_open_registry_takes_and_gives(
    docker: Engine, podman: Engine, open_registry: Registry, hello_tree: Path
) -> None:
    archive(hello_tree, docker)
    name = f"{open_registry.host}/parts:1"
    mark = open_registry.mark()
    docker("tag", "parts:1", name)
    docker("push", name)
    docker.forget(name)
    docker("pull", name)
    podman("pull", "--tls-verify=false", name)
    assert podman.run(name) == "Hello, Cloud!\n"
    assert open_registry.requests("PATCH", mark)


def test_registry_goes_on_after_a_restart(docker: Engine, open_registry: Registry, hello_tree: Path) -> None:
    archive(hello_tree, docker)
    name = f"{open_registry.host}/parts:restarted"
    docker("tag", "parts:1", name)
    docker("push", name)
    open_registry.restart()
    docker.forget(name)
    docker("pull", name)


def test_htpasswd_registry_asks_who(
    docker: Engine, htpasswd_registry: Registry, hello_tree: Path, tmp_path: Path
) -> None:
    source = f"docker-archive:{archive(hello_tree, docker)}"
    target = f"docker://{htpasswd_registry.host}/parts:1"
    for credentials, let_in in (("builder:wrong", False), (f"{USER}:{PASSWORD}", True)):
        done = skopeo("copy", "--dest-tls-verify=false", "--dest-creds", credentials, source, target, tmp_path=tmp_path)
        assert (done.returncode == 0) == let_in, done.stderr.decode()


def test_token_registry_asks_who(docker: Engine, token_registry: Registry, hello_tree: Path, tmp_path: Path) -> None:
    source = f"docker-archive:{archive(hello_tree, docker)}"
    name = f"{token_registry.host}/parts:1"
    for credentials, let_in in (
        (f"{USER}:wrong", False),
        (f"{READER}:{READER_PASSWORD}", False),
        (f"{USER}:{PASSWORD}", True),
    ):
        done = skopeo(
            "copy",
            "--dest-tls-verify=false",
            "--dest-creds",
            credentials,
            source,
            f"docker://{name}",
            tmp_path=tmp_path,
        )
        assert (done.returncode == 0) == let_in, done.stderr.decode()
    assert isinstance(token_registry.tokens, TokenServer)
    assert any("repository:parts:pull,push" in scopes for _, scopes in token_registry.tokens.granted)

    docker.forget(name)
    config = docker_config(tmp_path / "docker", token_registry.host, READER, READER_PASSWORD)
    docker("pull", name, env={"DOCKER_CONFIG": str(config)})
    assert docker.run(name) == "Hello, Cloud!\n"


def test_tls_registry_has_a_private_ca(
    docker: Engine, tls_registry: Registry, hello_tree: Path, tmp_path: Path
) -> None:
    source = f"docker-archive:{archive(hello_tree, docker)}"
    copy = ["copy", "--dest-creds", f"{USER}:{PASSWORD}", source, f"docker://{tls_registry.host}/parts:1"]
    refused = skopeo(*copy, tmp_path=tmp_path)
    assert refused.returncode != 0
    assert b"x509" in refused.stderr
    done = skopeo(*copy, "--dest-cert-dir", str(tls_registry.cert_dir), tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
