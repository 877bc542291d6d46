"""What goes wrong at real registries and on real disks: a message with cause and hint, the exit code, no traceback."""

from __future__ import annotations

import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from realparts.processes import require_root
from realparts.registries import PASSWORD, READER, READER_PASSWORD, USER, docker_config, program_path, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from realparts.program import Fastoci
    from realparts.registries import Registry


@pytest.fixture
def layout(fastoci: Fastoci, hello_tree: Path, tmp_path: Path) -> str:
    path = tmp_path / "image.oci"
    fastoci.ok("build", hello_tree, "-t", "demo/hello:1", "-o", f"oci:{path}")
    return f"oci:{path}:1"


def test_wrong_password(fastoci: Fastoci, token_registry: Registry, hello_tree: Path, tmp_path: Path) -> None:
    host = token_registry.host
    config = docker_config(tmp_path / "docker", host, USER, "not the password")
    mark = token_registry.mark()
    result = fastoci.run("build", hello_tree, "-t", f"{host}/demo/no:1", "--push", env={"DOCKER_CONFIG": str(config)})
    result.failed(5, error=f"{host}/demo/no", cause="401", hint=f"fastoci login {host}")
    assert "not the password" not in result.stderr
    assert not token_registry.requests("PATCH", mark)


def test_wrong_password_by_basic(fastoci: Fastoci, htpasswd_registry: Registry, layout: str, tmp_path: Path) -> None:
    host = htpasswd_registry.host
    config = docker_config(tmp_path / "docker", host, USER, "not the password")
    result = fastoci.run("push", layout, f"{host}/demo/no:1", env={"DOCKER_CONFIG": str(config)})
    result.failed(5, error=f"{host}/demo/no", cause="401", hint=f"fastoci login {host}")


def test_no_credentials(fastoci: Fastoci, token_registry: Registry, layout: str) -> None:
    result = fastoci.run("push", layout, f"{token_registry.host}/demo/no:1")
    result.failed(5, error=f"{token_registry.host}/demo/no", hint=f"fastoci login {token_registry.host}")


def test_reader_may_not_push(fastoci: Fastoci, token_registry: Registry, hello_tree: Path, tmp_path: Path) -> None:
    """Known before anything is read."""
    host = token_registry.host
    config = docker_config(tmp_path / "docker", host, READER, READER_PASSWORD)
    result = fastoci.run("build", hello_tree, "-t", f"{host}/demo/no:1", "--push", env={"DOCKER_CONFIG": str(config)})
    result.failed(5, error=f"not allowed to push to {host}/demo/no", cause=READER)
    assert "packed" not in result.stderr


def test_no_such_host(fastoci: Fastoci, layout: str) -> None:
    result = fastoci.run("push", layout, "no-such-host.invalid/demo/hello:1", "--retry", "0")
    result.failed(4, error=r"no-such-host\.invalid", cause=".", hint=".")


def test_nobody_listens(fastoci: Fastoci, layout: str) -> None:
    result = fastoci.run("push", layout, "127.0.0.1:1/demo/hello:1", "--retry", "0")
    result.failed(4, error=r"127\.0\.0\.1:1", cause="refused", hint=".")


class _Site(BaseHTTPRequestHandler):
    """A web server like any other, which knows nothing of registries."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<html><body>It works!</body></html>"
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  # http.server finds them so

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        pass


@pytest.fixture
def web_site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_server_is_no_registry(fastoci: Fastoci, web_site: str, layout: str) -> None:
    result = fastoci.run("push", layout, f"{web_site}/demo/hello:1", "--retry", "0")
    result.failed(4, error=web_site, cause="404", hint=".")
    fastoci.run("inspect", f"{web_site}/demo/hello:1", "--retry", "0").failed(4, error=web_site, hint=".")


def test_image_is_not_there(fastoci: Fastoci, open_registry: Registry, layout: str) -> None:
    host = open_registry.host
    fastoci.run("inspect", f"{host}/demo/nothing:1").failed(1, error=f"{host}/demo/nothing:1")
    fastoci.run("validate", f"{host}/demo/nothing:1").failed(1, error=f"{host}/demo/nothing:1")
    fastoci.ok("push", layout, f"{host}/demo/one:1")
    fastoci.run("inspect", f"{host}/demo/one:2").failed(1, error=f"{host}/demo/one:2")


def test_tag_is_not_in_the_layout(fastoci: Fastoci, open_registry: Registry, layout: str) -> None:
    result = fastoci.run("push", layout.removesuffix(":1") + ":nope", f"{open_registry.host}/demo/hello:1")
    result.failed(1, error="nope")
    assert "1" in result.stderr.replace("nope", "")


def test_layout_is_none(fastoci: Fastoci, open_registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    target = f"{open_registry.host}/demo/hello:1"
    fastoci.run("push", f"oci:{tmp_path}/directory:1", target).failed(1, error="directory", hint=".")
    for name in (f"oci:{tmp_path}/nothing:1", f"oci-archive:{tmp_path}/nothing"):
        fastoci.run("push", name, target).failed(1, error=f"{tmp_path}/nothing", cause="no such file")


def test_tree_is_missing(fastoci: Fastoci, open_registry: Registry, tmp_path: Path) -> None:
    mark = open_registry.mark()
    result = fastoci.run("build", tmp_path / "nowhere", "-t", f"{open_registry.host}/demo/hello:1", "--push")
    result.failed(1, error="nowhere")
    assert not open_registry.requests("PATCH", mark)


def test_registry_is_gone(fastoci: Fastoci, layout: str, tmp_path: Path) -> None:
    with running(program_path("docker-registry"), tmp_path) as registry:
        fastoci.ok("push", layout, f"{registry.host}/demo/hello:1")
        host = registry.host
    fastoci.run("push", layout, f"{host}/demo/hello:2", "--retry", "1").failed(4, error=host, cause="refused", hint=".")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    require_root("mounting a small file system")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "fastoci-test", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.parametrize("output", ["oci:{}/image.oci", "oci-archive:{}/image.tar", "docker-archive:{}/image.tar"])
def test_disk_is_full(output: str, fastoci: Fastoci, small_disk: Path, tmp_path: Path) -> None:
    tree = tmp_path / "big"
    tree.mkdir()
    (tree / "random").write_bytes(os.urandom(16 << 20))
    result = fastoci.run("build", tree, "-t", "demo/big:1", "-o", output.format(small_disk))
    result.failed(1, error=str(small_disk), cause="no space", hint=".")
    left = [path for path in small_disk.rglob("*") if path.is_file() and path.name not in ("oci-layout", "index.json")]
    assert left == []
    assert fastoci.leftovers() == []


def test_password_is_never_repeated(fastoci: Fastoci, token_registry: Registry, layout: str) -> None:
    """Not even with -v, where it was given on the command line."""
    result = fastoci.ok("push", layout, f"{token_registry.host}/demo/hello:v", "-v", "--creds", f"{USER}:{PASSWORD}")
    assert PASSWORD not in result.stdout + result.stderr
