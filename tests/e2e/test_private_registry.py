"""A registry of one's own: TLS with a private CA, `login` and `logout` into the files that docker and podman read."""

from __future__ import annotations

import json
import ssl
import stat
from typing import TYPE_CHECKING

import pytest
from realparts.processes import base_environment, capture, require
from realparts.registries import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.engines import Engine
    from realparts.program import Fastoci
    from realparts.registries import Registry

CREDS = ("--creds", f"{USER}:{PASSWORD}")


@pytest.fixture
def image(fastoci: Fastoci, hello_tree: Path, tmp_path: Path) -> str:
    fastoci.ok(
        "build", hello_tree, "--entrypoint", "hello-cloud", "--cmd", "Cloud", "-o", f"oci:{tmp_path}/image.oci:1"
    )
    return f"oci:{tmp_path}/image.oci:1"


def test_certificate_is_checked(fastoci: Fastoci, tls_registry: Registry, image: str) -> None:
    mark = tls_registry.mark()
    result = fastoci.run("push", image, f"{tls_registry.host}/demo/hello:1", *CREDS)
    result.failed(4, error=tls_registry.host, cause="[Cc]ertificate", hint="--cert-dir")
    assert not tls_registry.requests("POST", mark), "no credentials go to a server that is not known"


def test_private_ca_by_cert_dir(
    fastoci: Fastoci, tls_registry: Registry, image: str, podman: Engine, tmp_path: Path
) -> None:
    name = f"{tls_registry.host}/demo/hello:cert-dir"
    pushed = fastoci.ok("push", image, name, *CREDS, "--cert-dir", str(tls_registry.cert_dir))
    skopeo = [require("skopeo", "skopeo"), "inspect", "--creds", f"{USER}:{PASSWORD}"]
    said = capture(
        [*skopeo, "--cert-dir", str(tls_registry.cert_dir), f"docker://{name}"], env=base_environment(tmp_path)
    )
    assert json.loads(said)["Digest"] == pushed.digest
    podman("pull", "--cert-dir", str(tls_registry.cert_dir), "--creds", f"{USER}:{PASSWORD}", name)
    assert podman.run(name) == "Hello, Cloud!\n"
    fastoci.ok("validate", pushed.line, *CREDS, "--cert-dir", str(tls_registry.cert_dir))


def test_private_ca_by_certs_d(fastoci: Fastoci, tls_registry: Registry, image: str) -> None:
    """Where podman looks, no option is needed."""
    assert tls_registry.cert_dir is not None
    certs = fastoci.home / ".config/containers/certs.d" / tls_registry.host
    certs.mkdir(parents=True)
    (certs / "ca.crt").write_bytes((tls_registry.cert_dir / "ca.crt").read_bytes())
    fastoci.ok("push", image, f"{tls_registry.host}/demo/hello:certs-d", *CREDS)


def test_private_ca_by_variable(fastoci: Fastoci, tls_registry: Registry, image: str) -> None:
    """`SSL_CERT_FILE`, as curl and OpenSSL have it."""
    env = {"SSL_CERT_FILE": f"{tls_registry.cert_dir}/ca.crt"}
    fastoci.ok("push", image, f"{tls_registry.host}/demo/hello:variable", *CREDS, env=env)


@pytest.mark.parametrize("option", ["--tls-verify=false", "--no-tls-verify"])
def test_certificate_is_not_checked_on_request(
    option: str, fastoci: Fastoci, tls_registry: Registry, image: str
) -> None:
    fastoci.ok("push", image, f"{tls_registry.host}/demo/hello:unverified", *CREDS, option)


def test_other_ca_is_refused(fastoci: Fastoci, tls_registry: Registry, image: str, tmp_path: Path) -> None:
    certs = tmp_path / "certs"
    certs.mkdir()
    system = ssl.get_default_verify_paths().cafile
    if system is None:
        pytest.skip("this system has no file of authorities")
    (certs / "ca.crt").symlink_to(system)
    result = fastoci.run("push", image, f"{tls_registry.host}/demo/hello:1", *CREDS, "--cert-dir", certs)
    result.failed(4, error=tls_registry.host, cause="[Cc]ertificate")


def test_login_push_pull_logout(
    fastoci: Fastoci, htpasswd_registry: Registry, hello_tree: Path, docker: Engine, tmp_path: Path
) -> None:
    host = htpasswd_registry.host
    config = tmp_path / "docker"
    fastoci.env["DOCKER_CONFIG"] = str(config)
    name = f"{host}/demo/login:1"
    build = ("build", hello_tree, "-t", name, "--entrypoint", "hello-cloud", "--cmd", "Cloud", "--push")
    fastoci.run(*build).failed(5, hint=f"fastoci login {host}")

    said = fastoci.ok("login", host, "-u", USER, "--password-stdin", stdin=PASSWORD.encode())
    assert PASSWORD not in said.stdout + said.stderr
    stored = config / "config.json"
    assert host in json.loads(stored.read_text())["auths"]
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600

    fastoci.ok(*build)
    docker.forget(name)
    docker("pull", name, env={"DOCKER_CONFIG": str(config)})
    assert docker.run(name) == "Hello, Cloud!\n"

    fastoci.ok("logout", host)
    assert host not in json.loads(stored.read_text())["auths"]
    fastoci.run(*build).failed(5, hint=f"fastoci login {host}")


def test_login_into_an_authfile(
    fastoci: Fastoci, token_registry: Registry, image: str, podman: Engine, tmp_path: Path
) -> None:
    """podman's form of the file; what else it holds stays as it was."""
    host = token_registry.host
    authfile = tmp_path / "auth.json"
    other = {"auths": {"example.org": {"auth": "eDp5"}}, "credHelpers": {"example.net": "none"}}
    authfile.write_text(json.dumps(other))
    fastoci.ok("login", host, "--authfile", authfile, "-u", USER, "--password-stdin", stdin=f"{PASSWORD}\n".encode())
    name = f"{host}/demo/hello:by-authfile"
    fastoci.ok("push", image, name, "--authfile", authfile)
    podman("pull", "--tls-verify=false", "--authfile", str(authfile), name)
    fastoci.ok("logout", host, "--authfile", authfile)
    assert json.loads(authfile.read_text()) == other


def test_login_with_the_wrong_password(fastoci: Fastoci, token_registry: Registry, tmp_path: Path) -> None:
    """It is tried at the registry, and nothing is stored."""
    config = tmp_path / "docker"
    result = fastoci.run(
        "login",
        token_registry.host,
        "-u",
        USER,
        "--password-stdin",
        stdin=b"wrong word",
        env={"DOCKER_CONFIG": str(config)},
    )
    result.failed(5, error=token_registry.host)
    assert "wrong word" not in result.stderr
    assert not (config / "config.json").exists()


def test_docker_login_is_enough(
    fastoci: Fastoci, htpasswd_registry: Registry, image: str, docker: Engine, tmp_path: Path
) -> None:
    config = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    docker("login", "-u", USER, "--password-stdin", htpasswd_registry.host, stdin=PASSWORD.encode(), env=config)
    fastoci.ok("push", image, f"{htpasswd_registry.host}/demo/hello:docker-login", env=config)


def test_podman_login_is_enough(fastoci: Fastoci, htpasswd_registry: Registry, image: str, podman: Engine) -> None:
    """Its file lies beneath XDG_RUNTIME_DIR."""
    authfile = fastoci.home / "run/containers/auth.json"
    authfile.parent.mkdir()
    podman(
        "login", "--tls-verify=false", "-u", USER, "--password-stdin", "--authfile", str(authfile),
        htpasswd_registry.host, stdin=PASSWORD.encode(),
    )  # fmt: skip
    fastoci.ok("push", image, f"{htpasswd_registry.host}/demo/hello:podman-login")
