"""Names that lead into the private network of whoever runs the command, where a server has sent it; slow headers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from fake_registry import FakeRegistry, Handler, Reply, answer
from registrykit import Bytes, described, noise

from fastoci.errors import RegistryError
from fastoci.registry.client import RegistryClient
from fastoci.registry.upload import upload_blob

DATA = noise(300_000)

Connect = Callable[..., RegistryClient]


class Bystander:
    """A server within, which should never hear a word."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.2", 0))
        self.port = self.socket.getsockname()[1]
        self.heard = b""
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.heard += connection.recv(1000)

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def within() -> Iterator[Bystander]:
    bystander = Bystander()
    yield bystander
    bystander.close()


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """`registry.example` stands in the open, at 127.0.0.1; `storage.example` within, at 127.0.0.2."""
    addresses = {"registry.example": "127.0.0.1", "storage.example": "127.0.0.2"}
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *arguments: real(addresses.get(host, host), *arguments)
    )  # fmt: skip
    monkeypatch.setattr("fastoci.registry.transport.is_private", lambda host: host == "127.0.0.2")


def push(client: RegistryClient) -> None:
    upload_blob(client, "me/base", described(DATA), Bytes(DATA), title="layer", sink=lambda event: None)


def in_the_open(registry: FakeRegistry, connect: Connect, **options: object) -> RegistryClient:
    return connect(f"registry.example:{registry.server.server_port}", plain_http=True, **options)


def check(registry: FakeRegistry, within: Bystander, client: RegistryClient) -> None:
    with pytest.raises(RegistryError, match="private network") as caught:
        push(client)
    assert caught.value.exit_code == 4
    assert within.heard == b""


def test_a_location(registry: FakeRegistry, connect: Connect, within: Bystander) -> None:
    place = f"http://storage.example:{within.port}/upload"
    registry.on("POST", "/blobs/uploads/", answer(202, Location=place))
    check(registry, within, in_the_open(registry, connect))
    assert not registry.blobs


def test_a_redirect(registry: FakeRegistry, connect: Connect, within: Bystander) -> None:
    registry.on("PATCH", "/blobs/uploads/", answer(307, Location=f"http://storage.example:{within.port}/upload"))
    check(registry, within, in_the_open(registry, connect))


def test_a_realm(registry: FakeRegistry, connect: Connect, within: Bystander) -> None:
    registry.auth = "token"
    registry.realm = f"http://storage.example:{within.port}/token"
    check(registry, within, in_the_open(registry, connect, credentials=("me", "sec:ret")))


def test_a_registry_that_is_within_itself(
    registry: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its storage is where it is."""
    monkeypatch.setattr("fastoci.registry.transport.is_private", lambda host: host == "127.0.0.1")
    registry.locations = "path"
    place = f"http://other.example:{registry.server.server_port}"
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *arguments: real("127.0.0.1" if host == "other.example" else host, *arguments),
    )

    def elsewhere(handler: Handler) -> Reply:
        if handler.headers["Host"].startswith("other"):
            return handler.dispatch()
        return answer(307, Location=place + handler.path)(handler)  # type: ignore[return-value]  # never None

    registry.on("PATCH", "/blobs/uploads/", elsewhere, times=9)
    push(in_the_open(registry, connect))
    assert registry.blobs["me/base"]


def test_headers_that_drip(registry: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps any socket's timeout from coming; the answer is given up all the same."""
    monkeypatch.setattr("fastoci.registry.connections.HEADER_SECONDS", 0.05)
    over = threading.Event()

    def drip(handler: Handler) -> None:
        handler.read_all()
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 202 Accepted\r\nX-Endless: ")
        while not over.wait(0.01):
            try:
                handler.wfile.write(b"x")
                handler.wfile.flush()
            except OSError:
                return

    registry.on("PATCH", "/blobs/uploads/", drip)
    push(connect(registry))
    over.set()
    assert len(registry.requests("PATCH")) == 2
    assert registry.blobs["me/base"]


@pytest.mark.parametrize("headers", [b"X: " + b"y" * 70_000, b"X: y\r\n" * 200])
def test_headers_without_end(registry: FakeRegistry, connect: Connect, headers: bytes) -> None:
    def flood(handler: Handler) -> None:
        handler.read_all()
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 202 Accepted\r\n" + headers + b"\r\n\r\n")

    registry.on("PATCH", "/blobs/uploads/", flood)
    push(connect(registry))
    assert registry.blobs["me/base"]
