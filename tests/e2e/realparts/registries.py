"""Real registries: Debian's docker-registry (distribution 2.8) and, where it is on PATH, distribution 3.1."""

from __future__ import annotations

import base64
import json
import re
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from realparts.processes import SEARCH, Daemon, base_environment, require
from realparts.tokenserver import ISSUER, SERVICE, TokenServer, User

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD = "builder", "open sesame"
READER, READER_PASSWORD = "reader", "only looking"
# bcrypt of PASSWORD at cost 4: the standard library can no longer make one, and the registry takes nothing else.
HTPASSWD = f"{USER}:$2b$04$OUj10n0hITVtGcb23XsmReBV5kF/fjNL1bYFqfwf2ORo8eXioIUM.\n"

LISTENING = re.compile(r'msg="listening on 127\.0\.0\.1:(\d+)')


@dataclass
class Registry:
    """A running registry.

    Attributes:
        host: `127.0.0.1:PORT`.
        storage: The root of its file system driver.
        tokens: Its token service; None where it has none.
        cert_dir: A directory with the `ca.crt` of its certificate, as containers-certs.d(5) wants it; None without TLS.
        user: Who may push and pull; None where everybody may.
        password: That user's password.
    """

    daemon: Daemon
    host: str
    storage: Path
    tokens: TokenServer | None = None
    cert_dir: Path | None = None
    user: str | None = None
    password: str | None = None

    def mark(self) -> int:
        """Return the present end of the log, for `requests`."""
        return self.daemon.log.stat().st_size

    def requests(self, method: str, since: int = 0) -> list[str]:
        """Return the paths, with queries, of the requests of one method that the access log has since a `mark`."""
        return re.findall(rf'"{method} (\S+) HTTP/1', self.daemon.text(since))

    def restart(self) -> None:
        """Stop and start it again on the same port; its storage and upload sessions outlive it."""
        self.daemon.stop()
        self.resume()

    def kill(self) -> None:
        """End it as a crash does."""
        self.daemon.stop(kill=True)

    def resume(self) -> None:
        """Start it again on the same port."""
        mark = self.mark()
        self.daemon.start()
        self.daemon.wait_until(lambda: LISTENING.search(self.daemon.text(mark)) is not None)


def docker_config(directory: Path, host: str, user: str, password: str) -> Path:
    """Write a `config.json` as `docker login` does, and return its directory for DOCKER_CONFIG."""
    directory.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return directory


def has_distribution_3() -> bool:
    """Return whether distribution 3.1's `registry` is on PATH."""
    return shutil.which("registry", path=SEARCH) is not None


def program_path(name: str) -> str:
    """Return the path of a registry program, or skip."""
    if name == "docker-registry":
        return require("docker-registry", "docker-registry")
    found = shutil.which(name, path=SEARCH)
    assert found is not None
    return found


@contextmanager
def running(
    program: str, logs: Path, *, htpasswd: bool = False, tokens: bool = False, tls: bool = False
) -> Iterator[Registry]:
    """Run a registry on a free port until the context is left; then it and its storage are gone.

    Args:
        program: The absolute path of a distribution registry, of 2.8 or 3.
        logs: Where the log and the configuration go.
        htpasswd: Whether it asks for USER and PASSWORD by Basic.
        tokens: Whether it sends callers to a token service that knows USER and READER.
        tls: Whether it speaks TLS, with a certificate of a CA of its own.
    """
    name = "-".join(
        [Path(program).name, *[kind for kind, on in (("htpasswd", htpasswd), ("tokens", tokens), ("tls", tls)) if on]]
    )
    with ExitStack() as stack:
        storage = Path(tempfile.mkdtemp(prefix="fastoci-registry-"))
        stack.callback(shutil.rmtree, storage, ignore_errors=True)
        http: dict[str, object] = {"addr": "127.0.0.1:0", "secret": "the same after a restart"}
        config: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(storage)},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": http,
        }
        service, cert_dir = None, None
        if htpasswd:
            path = logs / f"{name}.htpasswd"
            path.write_text(HTPASSWD)
            config["auth"] = {"htpasswd": {"realm": "fastoci tests", "path": str(path)}}
        if tokens:
            service = TokenServer({USER: User(PASSWORD), READER: User(READER_PASSWORD, frozenset({"pull"}))})
            stack.callback(service.close)
            bundle = service.write_bundle(logs / f"{name}.pem")
            config["auth"] = {
                "token": {"realm": service.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(bundle)}
            }
        if tls:
            authority = trustme.CA()
            leaf = authority.issue_cert("127.0.0.1", "localhost")
            cert_dir = logs / f"{name}.certs"
            cert_dir.mkdir()
            authority.cert_pem.write_to_path(str(cert_dir / "ca.crt"))
            pem = logs / f"{name}.server.pem"
            leaf.private_key_and_cert_chain_pem.write_to_path(str(pem))
            http["tls"] = {"certificate": str(pem), "key": str(pem)}

        path = logs / f"{name}.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        daemon = Daemon(
            name,
            [program, "serve", str(path)],
            logs / f"{name}.log",
            {**base_environment(logs), "OTEL_TRACES_EXPORTER": "none"},
        )
        daemon.start()
        stack.callback(daemon.stop)
        daemon.wait_until(lambda: LISTENING.search(daemon.text()) is not None)
        # The kernel chose the port, so that no other program can have taken it; the same one is kept for restarts.
        found = LISTENING.search(daemon.text())
        assert found is not None
        http["addr"] = f"127.0.0.1:{found[1]}"
        path.write_text(json.dumps(config))
        known = htpasswd or tokens
        yield Registry(
            daemon,
            f"127.0.0.1:{found[1]}",
            storage,
            service,
            cert_dir,
            USER if known else None,
            PASSWORD if known else None,
        )


# Where distribution 3.1 is not there one test says so (test_real_parts), not each that would have run against it.
PROGRAMS = {"distribution-2.8": "docker-registry", **({"distribution-3.1": "registry"} if has_distribution_3() else {})}


@pytest.fixture(scope="session", params=list(PROGRAMS.values()), ids=list(PROGRAMS))
def registry_program(request: pytest.FixtureRequest) -> str:
    """A distribution registry's path; tests that take it run once for each that is there."""
    return program_path(request.param)


@pytest.fixture(scope="session")
def open_registry(registry_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry where everybody may pull and push."""
    with running(registry_program, tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def htpasswd_registry(registry_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with Basic authentication."""
    with running(registry_program, tmp_path_factory.mktemp("registry"), htpasswd=True) as registry:
        yield registry


@pytest.fixture(scope="session")
def token_registry(registry_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with Bearer tokens from a service of its own."""
    with running(registry_program, tmp_path_factory.mktemp("registry"), tokens=True) as registry:
        yield registry


@pytest.fixture(scope="session")
def tls_registry(registry_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with Basic authentication behind TLS with a private CA."""
    with running(registry_program, tmp_path_factory.mktemp("registry"), htpasswd=True, tls=True) as registry:
        yield registry


@pytest.fixture(scope="session")
def debian_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Debian's registry alone, open to all: for tests too heavy, or too far from the registry, to run against each."""
    with running(program_path("docker-registry"), tmp_path_factory.mktemp("registry")) as registry:
        yield registry
