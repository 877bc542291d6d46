"""Proxies: which requests go through one, and how."""

from __future__ import annotations

import base64
import select
import socket
import threading
from typing import TYPE_CHECKING

import pytest
import trustme
from registrykit import server_context

from fastoci.errors import RegistryError
from fastoci.registry.proxy import proxy_for
from fastoci.registry.urls import Origin
from fastoci.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fake_registry import FakeRegistry

    from fastoci.registry.client import RegistryClient

HTTPS = Origin("https", "registry.example.com", 443)
HTTP = Origin("http", "registry.example.com", 80)


@pytest.mark.parametrize(
    ("environment", "https", "http"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1", None),
        ({"https_proxy": "p:1", "HTTPS_PROXY": "http://q:1"}, "http://p:1", None),
        ({"HTTP_PROXY": "http://p:1"}, None, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, None, None),
        ({"ALL_PROXY": "http://p:1"}, "http://p:1", "http://p:1"),
        ({"all_proxy": "http://p:1", "ALL_PROXY": "http://q:1"}, "http://p:1", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://q:1"}, "http://p:1", "http://q:1"),
        ({"ALL_PROXY": "http://p:1", "no_proxy": "other", "NO_PROXY": "*"}, "http://p:1", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": ""}, None, None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "*"}, None, None),
    ],
)
def test_variables(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], https: str | None, http: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (proxy_for(HTTPS), proxy_for(HTTP)) == (https, http)


@pytest.mark.parametrize(
    ("rule", "host", "excepted"),
    [
        ("example.com", "example.com", True),
        ("example.com", "registry.example.com", True),
        ("example.com", "notexample.com", False),
        (".example.com", "registry.example.com", True),
        (".example.com", "example.com", True),
        (".example.com", "notexample.com", False),
        ("*.example.com", "registry.example.com", True),
        ("*.example.com", "example.com", False),
        ("registry.example.com:443", "registry.example.com", True),
        ("registry.example.com:5000", "registry.example.com", False),
        ("EXAMPLE.com", "registry.example.com", True),
        ("example.com", "example.com.", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "ten.example.com", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("fd00::/8", "fd00::1", True),
        ("[fd00::1]", "fd00::1", True),
        ("fd00::1", "fd00::1", True),
        ("other, example.com", "example.com", True),
        ("other example.com", "example.com", True),
        ("999.0.0.0/8,/,:,a:b:c,.", "example.com", False),
    ],
)
def test_exceptions(monkeypatch: pytest.MonkeyPatch, rule: str, host: str, excepted: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", rule)
    assert (proxy_for(Origin("https", host, 443)) is None) is excepted


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_loopback_goes_straight(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    assert proxy_for(Origin("https", host, 443)) is None


class Proxy:
    """A proxy that takes every tunnel and every request to one place, and remembers how it was asked."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.heads: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            self.heads.append(head.decode())
            if head.startswith(b"CONNECT "):
                client.sendall(b"HTTP/1.1 200 go\r\n\r\n")
            else:
                line, _, rest = head.partition(b"\r\n")
                method, url, version = line.split()
                path = b"/" + url.split(b"/", 3)[3]
                server.sendall(b" ".join((method, path, version)) + b"\r\n" + rest)
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)

    def close(self) -> None:
        self.listener.close()


@pytest.fixture
def proxied(
    start_registry: Callable[..., FakeRegistry], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[FakeRegistry, Proxy]]]:
    made: list[Proxy] = []

    def make(*arguments: object) -> tuple[FakeRegistry, Proxy]:
        registry = start_registry(*arguments)
        proxy = Proxy(("127.0.0.1", registry.server.server_port))
        made.append(proxy)
        monkeypatch.setenv("ALL_PROXY", f"http://me:p%40ss@{proxy.address}")
        return registry, proxy

    yield make
    for proxy in made:
        proxy.close()


def authorization(head: str) -> str:
    (line,) = [line for line in head.splitlines() if line.lower().startswith("proxy-authorization:")]
    return base64.b64decode(line.split()[2]).decode()


def test_a_tunnel(
    proxied: Callable[..., tuple[FakeRegistry, Proxy]], connect: Callable[..., RegistryClient], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    registry, proxy = proxied(server_context(authority.issue_cert("registry.example.com")))
    client = connect("registry.example.com", cert_dir=str(tmp_path))
    assert client.blob_size("me/base", Digest.of(b"x")) is None
    assert proxy.heads[0].startswith("CONNECT registry.example.com:443 HTTP/1.")
    assert authorization(proxy.heads[0]) == "me:p@ss"
    assert len(proxy.heads) == 1  # one tunnel for both requests
    assert all("proxy-authorization" not in seen.headers for seen in registry.seen)


def test_forwarded(proxied: Callable[..., tuple[FakeRegistry, Proxy]], connect: Callable[..., RegistryClient]) -> None:
    registry, proxy = proxied()
    client = connect("registry.example.com:5000", plain_http=True)
    assert client.blob_size("me/base", Digest.of(b"x")) is None
    assert proxy.heads[0].startswith("GET http://registry.example.com:5000/v2/ HTTP/1.1")
    assert authorization(proxy.heads[0]) == "me:p@ss"
    assert registry.seen[0].headers["host"] == "registry.example.com:5000"


@pytest.mark.parametrize("url", ["socks5://me:secret@p:1", "ftp://me:secret@p", "http://", "http://me:secret@a b"])
def test_a_proxy_that_cannot_be_used(
    connect: Callable[..., RegistryClient], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(RegistryError, match="proxy cannot be used") as caught:
        connect("registry.example.com").ping()
    assert "secret" not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"


def test_a_proxy_that_is_not_there(connect: Callable[..., RegistryClient], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{port}")
    with pytest.raises(RegistryError, match="the proxy failed") as caught:
        connect("registry.example.com").ping()
    assert "HTTPS_PROXY" in str(caught.value.hint)
    assert "secret" not in f"{caught.value}"


def test_a_proxy_that_says_no(connect: Callable[..., RegistryClient], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(RegistryError, match="407"):
            connect("registry.example.com").ping()
