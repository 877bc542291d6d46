"""TLS: whom we trust, whom we show ourselves to, and what is said when it fails."""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from fake_registry import PASSWORD, USER, FakeRegistry, Handler, Reply, answer, reset_at
from registrykit import Bytes, Time, described, noise, server_context
from urllib3.util import wait_for_read

from fastoci.errors import RegistryError, StoreError
from fastoci.registry.client import RegistryClient
from fastoci.registry.options import RegistryOptions
from fastoci.registry.tls import certificate_directory, tls_context
from fastoci.registry.upload import upload_blob
from fastoci.registry.urls import Origin

if TYPE_CHECKING:
    from fastoci.events import Event

Connect = Callable[..., RegistryClient]
Start = Callable[..., FakeRegistry]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(start_registry: Start, authority: trustme.CA) -> FakeRegistry:
    return start_registry(server_context(authority.issue_cert("127.0.0.1")))


@pytest.fixture
def directory(tmp_path: Path, authority: trustme.CA) -> Path:
    path = tmp_path / "certs"
    path.mkdir()
    authority.cert_pem.write_to_path(str(path / "ca.crt"))
    return path


def test_a_private_authority(secure: FakeRegistry, connect: Connect, directory: Path) -> None:
    client = connect(secure, cert_dir=str(directory))
    client.ping()
    assert client.origin.scheme == "https"


@pytest.mark.parametrize("root", ["home/.config/containers", "config/containers"])
def test_certs_d(
    secure: FakeRegistry,
    connect: Connect,
    tmp_path: Path,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    root: str,
) -> None:
    if root.startswith("config"):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / root / "certs.d" / secure.host
    path.mkdir(parents=True)
    authority.cert_pem.write_to_path(str(path / "my.crt"))
    connect(secure).ping()
    assert [seen.method for seen in secure.seen] == ["GET"]  # it was not asked in the clear before


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "CURL_CA_BUNDLE"])
def test_variables(
    secure: FakeRegistry, connect: Connect, directory: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(directory / "ca.crt"))
    connect(secure).ping()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on PATH: apt-get install openssl")
def test_a_directory_of_authorities(
    secure: FakeRegistry, connect: Connect, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The form that OpenSSL reads: names are hashes of subjects.
    name = subprocess.run(
        ["openssl", "x509", "-noout", "-subject_hash", "-in", str(directory / "ca.crt")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (directory / f"{name}.0").symlink_to("ca.crt")
    monkeypatch.setenv("SSL_CERT_DIR", str(directory))
    connect(secure).ping()


def test_curls_bundle_is_instead_of_others(
    secure: FakeRegistry, connect: Connect, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(directory / "other.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(directory / "ca.crt"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(directory / "other.pem"))
    with pytest.raises(RegistryError, match="certificate"):
        connect(secure).ping()


def test_an_unknown_authority_is_refused_at_once(
    secure: FakeRegistry, connect: Connect, time: Time, events: list[Event]
) -> None:
    with pytest.raises(RegistryError, match="the certificate is not trusted") as caught:
        connect(secure).ping()
    assert "unable to get local issuer certificate" in str(caught.value.cause)
    assert f"certs.d/{secure.host}/ca.crt" in str(caught.value.hint)
    assert "--no-tls-verify" in str(caught.value.hint)
    assert sum(time.slept) == 0
    assert not secure.seen
    assert not events


def test_another_name(start_registry: Start, connect: Connect, authority: trustme.CA, directory: Path) -> None:
    registry = start_registry(server_context(authority.issue_cert("registry.example")))
    with pytest.raises(RegistryError, match=r"certificate is not valid for '127\.0\.0\.1'"):
        connect(registry, cert_dir=str(directory)).ping()


def test_expired(start_registry: Start, connect: Connect, authority: trustme.CA, directory: Path) -> None:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    certificate = authority.issue_cert("127.0.0.1", not_before=past - dt.timedelta(days=1), not_after=past)
    registry = start_registry(server_context(certificate))
    with pytest.raises(RegistryError, match="certificate has expired"):
        connect(registry, cert_dir=str(directory)).ping()


def test_without_verification(secure: FakeRegistry, connect: Connect) -> None:
    connect(secure, tls_verify=False).ping()  # and without a warning, which would be an error here


def test_plain_http_where_certificates_do_not_matter(
    registry: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As for a host that is not this machine: TLS first, then not.
    monkeypatch.setattr("fastoci.registry.probe.is_loopback", lambda host: False)
    client = connect(registry, tls_verify=False)
    client.ping()
    assert client.origin.scheme == "http"
    with pytest.raises(RegistryError, match="WRONG_VERSION_NUMBER") as caught:
        connect(registry).ping()
    assert "--plain-http" in str(caught.value.hint)


def test_a_client_certificate_for_the_registry_alone(
    start_registry: Start, connect: Connect, authority: trustme.CA, directory: Path
) -> None:
    clients = trustme.CA()
    context = server_context(authority.issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    clients.configure_trust(context)
    registry = start_registry(context)
    with pytest.raises(RegistryError):
        connect(registry, cert_dir=str(directory), retry=1).ping()
    mine = clients.issue_cert("me")
    mine.cert_chain_pems[0].write_to_path(str(directory / "me.cert"))
    mine.private_key_pem.write_to_path(str(directory / "me.key"))
    connect(registry, cert_dir=str(directory)).ping()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("ca.crt", "no certificate", "authority's certificate"), ("me.cert", "no certificate", "goes with me.key")],
)
def test_files_that_are_no_certificates(
    secure: FakeRegistry, connect: Connect, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(StoreError, match=message) as caught:
        connect(secure, cert_dir=str(tmp_path)).ping()
    assert caught.value.path == str(tmp_path / name)


def test_no_such_directory(secure: FakeRegistry, connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        connect(secure, cert_dir=str(tmp_path / "missing")).ping()


def test_the_first_directory_that_exists(home: Path) -> None:
    origin, options = Origin("https", "h", 443), RegistryOptions()
    assert certificate_directory(origin, options) is None
    for name in ("h", "h:443"):
        (home / ".config/containers/certs.d" / name).mkdir(parents=True)
        assert certificate_directory(origin, options) == home / ".config/containers/certs.d" / name
    assert certificate_directory(origin, RegistryOptions(cert_dir="/x")) == Path("/x")
    assert certificate_directory(Origin("https", "h", 5000), options) is None


def test_from_tls_back_to_the_clear_is_not_followed(secure: FakeRegistry, connect: Connect, directory: Path) -> None:
    client = connect(secure, cert_dir=str(directory), credentials=(USER, PASSWORD))
    secure.on("POST", "/uploads/", answer(202, Location=f"http://{secure.host}/v2/me/base/blobs/uploads/1"))
    with pytest.raises(RegistryError, match="from https to http") as caught:
        client.check_push("me/base")
    assert "X-Forwarded-Proto" in str(caught.value.hint)


def test_a_token_service_in_the_clear_is_not_asked(
    secure: FakeRegistry, connect: Connect, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure.auth, secure.realm = "token", "http://auth.example/token"
    with pytest.raises(RegistryError, match="in the clear"):
        connect(secure, cert_dir=str(directory), credentials=(USER, PASSWORD)).check_push("me/base")


def test_an_upload_that_breaks_within_tls(secure: FakeRegistry, connect: Connect, directory: Path) -> None:
    data = noise(900_000)
    secure.on("PATCH", "/uploads/", reset_at(50_000), skip=1, times=3)
    result = upload_blob(
        connect(secure, cert_dir=str(directory), chunk_size=200_000),
        "me/base",
        described(data),
        Bytes(data),
        title="x",
        sink=lambda event: None,
    )
    assert secure.blobs["me/base"][str(described(data).digest)] == data
    assert result.resumed == 3


def test_an_early_answer_within_tls(secure: FakeRegistry, connect: Connect, directory: Path) -> None:
    data = noise(8_000_000)

    def at_most(handler: Handler) -> Reply:
        return answer(413, read=False)(handler) if handler.unread > 4_000_000 else handler.dispatch()  # type: ignore[return-value]  # neither is None

    secure.on("PATCH", "/uploads/", at_most, times=9)
    result = upload_blob(
        connect(secure, cert_dir=str(directory)),
        "me/base",
        described(data),
        Bytes(data),
        title="x",
        sink=lambda event: None,
    )
    assert secure.blobs["me/base"][str(described(data).digest)] == data
    assert result.sent < 2 * len(data)


def test_cancelled_within_tls(secure: FakeRegistry, directory: Path) -> None:
    reached, go = threading.Event(), threading.Event()

    def hangs(handler: Handler) -> Reply:
        reached.set()
        go.wait(20)
        return Reply(500)

    secure.on("GET", "/v2/", hangs)
    client = RegistryClient(secure.host, RegistryOptions(cert_dir=str(directory)))

    def cancel() -> None:
        reached.wait(10)
        client.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(RegistryError, match="cancelled"):
        client.ping()
    go.set()
    thread.join()
    client.close()


def connected(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection."""
    near = socket.create_connection(listener.getsockname())
    far, _ = listener.accept()
    return near, far


def left_open(work: Callable[[], object]) -> list[str]:
    """Return what is said of sockets that were dropped in the course of some work that fails."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with contextlib.suppress(OSError, KeyboardInterrupt):
            work()
        gc.collect()
    return [str(warning.message) for warning in said]


def reset_at_once(listener: socket.socket) -> socket.socket:
    """Return this end of a connection that the other end has reset already."""
    near, far = connected(listener)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    assert wait_for_read(near, 10)
    return near


def test_a_socket_that_was_reset_before_its_handshake_is_closed() -> None:
    """Python itself takes it for one that is not connected yet, and drops it when it finds otherwise."""
    context = tls_context(Origin("https", "127.0.0.1", 1), RegistryOptions(tls_verify=False), registry=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = reset_at_once(listener)
        assert left_open(lambda: context.wrap_socket(near)) == []
        near = reset_at_once(listener)
        with pytest.raises(ConnectionResetError):
            context.wrap_socket(near)


def test_a_socket_whose_handshake_is_interrupted_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(sock: ssl.SSLSocket, block: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", interrupted)
    context = tls_context(Origin("https", "127.0.0.1", 1), RegistryOptions(tls_verify=False), registry=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near, far = connected(listener)
        with far:
            assert left_open(lambda: context.wrap_socket(near)) == []


@pytest.mark.parametrize("times", [2, 99])
def test_a_handshake_that_is_reset(secure: FakeRegistry, connect: Connect, directory: Path, times: int) -> None:
    """By a balancer that has nobody behind it: waited for, as any other reset, once the host is known."""
    client = connect(secure, cert_dir=str(directory))
    client.ping()
    client.close()
    accept, left = secure.server.get_request, times

    def resets() -> tuple[socket.socket, object]:
        nonlocal left
        connection, address = accept()
        if left:
            left -= 1
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            raise ConnectionResetError
        return connection, address

    secure.server.get_request = resets  # type: ignore[method-assign]  # the handshake comes after it
    data = noise(100_000)

    def push() -> None:
        upload_blob(client, "me/base", described(data), Bytes(data), title="x", sink=lambda event: None)

    if times == 2:
        push()
        assert secure.blobs["me/base"][str(described(data).digest)] == data
    else:
        with pytest.raises(RegistryError, match="connection reset") as caught:
            push()
        assert caught.value.hint == "run the same command again"
        assert left == 99 - 8
