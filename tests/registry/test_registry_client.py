"""The client against registries, against what is none, and against what is not there."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable

import pytest
from fake_registry import PASSWORD, USER, FakeRegistry, Handler, Reply, answer, change, error, lose_answer
from registrykit import Time, described, noise

from fastoci.errors import (
    AccessDeniedError,
    BlobMismatchError,
    InvalidImageError,
    ManifestNotFoundError,
    RegistryError,
    RegistryResponseError,
    UsageError,
)
from fastoci.events import Event, Retry
from fastoci.registry.client import RegistryClient
from fastoci.registry.options import RegistryOptions
from fastoci.spec.digest import Digest
from fastoci.spec.mediatypes import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST

Connect = Callable[..., RegistryClient]

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()


# The first word.


def test_ping(registry: FakeRegistry, connect: Connect) -> None:
    client = connect(registry)
    client.ping()
    client.ping()
    assert len(registry.requests("GET", "/v2/")) == 1


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (404, "no", {}),
        (200, "<html>", {"Content_Type": "text/html; charset=utf-8"}),
        (400, "", {}),
        (418, "", {}),
        (204, "", {}),
    ],
)
def test_a_server_that_is_not_a_registry(
    registry: FakeRegistry, connect: Connect, status: int, body: str, headers: dict[str, str]
) -> None:
    registry.on("GET", "/v2/", answer(status, body, **headers), times=9)
    with pytest.raises(RegistryResponseError, match="is not a registry") as caught:
        connect(registry).ping()
    assert caught.value.hint is not None
    assert caught.value.exit_code == 4


def test_a_registry_that_lets_nobody_in(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("GET", "/v2/", error(403, "DENIED"), times=9)
    with pytest.raises(AccessDeniedError):
        connect(registry).ping()


def talk(words: bytes) -> tuple[str, socket.socket]:
    """Start a server that says something to everyone and hangs up; return its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(words)

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}", listener


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 100, b"HTTP/1.1 200"])
def test_a_server_that_does_not_speak_http(connect: Connect, words: bytes) -> None:
    host, listener = talk(words)
    with listener, pytest.raises(RegistryError) as caught:
        connect(host).ping()
    assert caught.value.hint is not None
    assert caught.value.exit_code == 4
    listener.close()


def test_nobody_listens(connect: Connect, time: Time) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RegistryError, match="connection refused") as caught:
        connect(f"127.0.0.1:{port}").ping()
    assert "port" in str(caught.value.hint)
    assert time.slept == [0.0] * len(time.slept)  # a misspelt port is not waited for


def test_no_such_host(connect: Connect, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(RegistryError, match="no such host") as caught:
        connect("registry.invalid").ping()
    assert caught.value.what == "cannot reach registry.invalid"
    assert "https://registry.invalid/v2/" in str(caught.value.cause)
    assert "spelling" in str(caught.value.hint)
    assert sum(time.slept) == 0


def test_a_host_that_is_none(connect: Connect) -> None:
    with pytest.raises(RegistryError, match="not a registry's host"):
        connect("a b")


def test_other_hosts_are_asked_by_tls_alone(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], *_: object, **__: object) -> None:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)
    for options in ({}, {"tls_verify": False}, {"plain_http": True}):
        with pytest.raises(RegistryError):
            connect("registry.invalid", **options).ping()
    with pytest.raises(RegistryError):
        connect("docker.io").ping()
    assert asked == [
        ("registry.invalid", 443),
        ("registry.invalid", 443),
        ("registry.invalid", 80),
        ("registry.invalid", 80),
        ("registry-1.docker.io", 443),
    ]


def test_a_registry_that_is_starting(registry: FakeRegistry, connect: Connect, events: list[Event]) -> None:
    registry.on("GET", "/v2/", answer(503), times=4)
    connect(registry).ping()
    assert len([event for event in events if isinstance(event, Retry)]) == 3


def test_options_that_cannot_be_meant() -> None:
    for wrong in ({"jobs": 0}, {"retry": -1}, {"upload": "fast"}, {"chunk_size": 0}):
        with pytest.raises(UsageError):
            RegistryOptions(**wrong)  # type: ignore[arg-type]  # wrong on purpose


# Pushing allowed or not.


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_wrong_credentials(registry: FakeRegistry, connect: Connect, auth: str) -> None:
    registry.auth = auth
    with pytest.raises(AccessDeniedError) as caught:
        connect(registry, credentials=("me", "wrong-word")).check_push("me/base")
    assert caught.value.what == f"not allowed to push to {registry.host}/me/base"
    assert caught.value.exit_code == 5
    assert "401" in str(caught.value.cause)
    assert "(user me, the command line)" in str(caught.value.cause)
    assert caught.value.hint == f"fastoci login {registry.host}"
    assert "wrong-word" not in str(caught.value)


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_no_credentials(registry: FakeRegistry, connect: Connect, auth: str) -> None:
    registry.auth = auth
    registry.anonymous_pull = True
    with pytest.raises(AccessDeniedError, match="anonymous"):
        connect(registry).check_push("me/base")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "DENIED", AccessDeniedError),
        (405, "UNSUPPORTED", RegistryResponseError),
        (404, "X", RegistryResponseError),
        (404, "NAME_UNKNOWN", ManifestNotFoundError),
    ],
)
def test_pushes_that_are_refused(
    registry: FakeRegistry, connect: Connect, status: int, code: str, kind: type[RegistryError]
) -> None:
    registry.on("POST", "/uploads/", error(status, code, "said so"))
    with pytest.raises(kind, match=f"{status} {code}: said so") as caught:
        connect(registry).check_push("me/base")
    assert caught.value.hint is not None
    assert caught.value.status == status
    assert caught.value.method == "POST"


def test_what_a_server_says_is_shown_bounded_and_clean(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("POST", "/uploads/", error(400, "X", "\x1b[2J\n\r‮evil" + "y" * 5000))
    with pytest.raises(RegistryResponseError) as caught:
        connect(registry).check_push("me/base")
    cause = str(caught.value.cause)
    assert cause.isprintable()
    assert len(cause) < 500


def test_what_a_terminal_would_obey_is_shown(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("POST", "/uploads/", error(400, "X", "\x1b[2Jevil\r\n\tmore \u202e\x07"))
    with pytest.raises(RegistryResponseError) as caught:
        connect(registry).check_push("me/base")
    assert str(caught.value.cause).endswith(": 400 X: \\x1b[2Jevil   more \\u202e\\x07")


def test_words_that_are_no_json(registry: FakeRegistry, connect: Connect) -> None:
    """As a proxy or a Go server that is out of luck says them; pages for people are left out."""
    for kind, said in (("text/plain; charset=utf-8", ": 400 no space left"), ("text/html", ": 400")):
        registry.on("POST", "/uploads/", answer(400, "no space left\n", Content_Type=kind))
        with pytest.raises(RegistryResponseError) as caught:
            connect(registry).check_push("me/base")
        assert str(caught.value.cause).endswith(said)


@pytest.mark.parametrize("body", ["", "no json", "[]", '{"errors": 7}', '{"errors": [7, {"code": 8}]}', "[" * 60_000])
def test_errors_that_say_nothing(registry: FakeRegistry, connect: Connect, body: str) -> None:
    registry.on("POST", "/uploads/", answer(400, body))
    with pytest.raises(RegistryResponseError, match="400"):
        connect(registry).check_push("me/base")


def test_an_endless_error_is_not_read(registry: FakeRegistry, connect: Connect) -> None:
    sent = 0

    def endless(handler: Handler) -> Reply | None:
        nonlocal sent
        handler.send_response(400)
        handler.send_header("Content-Length", str(10 << 30))
        handler.end_headers()
        try:
            while sent < 200 << 20:
                sent += handler.wfile.write(b"x" * 65536)
        except OSError:
            pass
        handler.close_connection = True
        return None

    registry.on("POST", "/uploads/", endless)
    with pytest.raises(RegistryResponseError):
        connect(registry).check_push("me/base")
    assert sent < 50 << 20


def test_login(registry: FakeRegistry, connect: Connect) -> None:
    for auth in ("basic", "token"):
        registry.auth = auth
        connect(registry, credentials=(USER, PASSWORD)).check_login()
        with pytest.raises(AccessDeniedError, match="401"):
            connect(registry, credentials=(USER, "wrong")).check_login()


# Manifests.


def test_manifests_there_and_back(registry: FakeRegistry, connect: Connect) -> None:
    client = connect(registry)
    digest = client.put_manifest("me/base", "1", OCI_MANIFEST, MANIFEST)
    assert digest == Digest.of(MANIFEST)
    for reference in ("1", str(digest)):
        descriptor, data = client.get_manifest("me/base", reference)
        assert data == MANIFEST
        assert (descriptor.media_type, descriptor.digest, descriptor.size) == (OCI_MANIFEST, digest, len(MANIFEST))
    accept = registry.requests("GET", "/manifests/")[0].headers["accept"]
    assert {OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST} == set(accept.split(", "))


def test_no_manifest(registry: FakeRegistry, connect: Connect) -> None:
    with pytest.raises(ManifestNotFoundError, match="MANIFEST_UNKNOWN") as caught:
        connect(registry).get_manifest("me/base", "1")
    assert caught.value.what == f"there is no {registry.host}/me/base:1"
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("reference", ["1", str(Digest.of(b"something else"))])
def test_a_manifest_of_another_digest(registry: FakeRegistry, connect: Connect, reference: str) -> None:
    registry.manifests["me/base"] = {reference: (OCI_MANIFEST, MANIFEST)}
    registry.on("GET", "/manifests/", change(Docker_Content_Digest=str(Digest.of(b"something else"))))
    with pytest.raises(BlobMismatchError):
        connect(registry).get_manifest("me/base", reference)


def test_a_registry_that_takes_a_manifest_for_another(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", "/manifests/", change(Docker_Content_Digest=str(Digest.of(b"something else"))))
    with pytest.raises(BlobMismatchError, match="for another"):
        connect(registry).put_manifest("me/base", "1", OCI_MANIFEST, MANIFEST)


def test_a_registry_that_names_a_digest_by_another_algorithm(registry: FakeRegistry, connect: Connect) -> None:
    other = f"sha512:{hashlib.sha512(MANIFEST).hexdigest()}"
    registry.on("PUT", "/manifests/", change(Docker_Content_Digest=other))
    assert connect(registry).put_manifest("me/base", "1", OCI_MANIFEST, MANIFEST) == Digest.of(MANIFEST)


def test_a_manifest_put_is_repeated(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", "/manifests/", lose_answer)
    registry.on("PUT", "/manifests/", answer(502), times=2)
    connect(registry).put_manifest("me/base", "1", OCI_MANIFEST, MANIFEST)
    assert registry.manifests["me/base"]["1"] == (OCI_MANIFEST, MANIFEST)


def test_a_manifest_that_is_refused(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", "/manifests/", error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"))
    with pytest.raises(RegistryResponseError, match="MANIFEST_BLOB_UNKNOWN: blob unknown to registry"):
        connect(registry).put_manifest("me/base", "1", OCI_MANIFEST, MANIFEST)


def test_a_manifest_that_breaks_off_is_read_again(registry: FakeRegistry, connect: Connect) -> None:
    def breaks(handler: Handler) -> Reply | None:
        handler.send_response(200)
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True
        return None

    registry.on("GET", "/manifests/", breaks, times=2)
    registry.manifests["me/base"] = {"1": (OCI_MANIFEST, MANIFEST)}
    assert connect(registry).get_manifest("me/base", "1")[1] == MANIFEST


def test_a_manifest_too_large(registry: FakeRegistry, connect: Connect) -> None:
    registry.manifests["me/base"] = {"1": (OCI_MANIFEST, b" " * ((4 << 20) + 1))}
    with pytest.raises(InvalidImageError, match="too large"):
        connect(registry).get_manifest("me/base", "1")


@pytest.mark.parametrize(
    ("said", "document", "expected"),
    [
        (OCI_MANIFEST, {}, OCI_MANIFEST),
        (f"{OCI_INDEX}; charset=utf-8", {"mediaType": OCI_INDEX}, OCI_INDEX),
        ("application/json", {"mediaType": DOCKER_MANIFEST}, DOCKER_MANIFEST),
        ("application/json", {"layers": []}, OCI_MANIFEST),
        ("text/plain", {"manifests": []}, OCI_INDEX),
        ("application/json", {"manifests": [], "layers": []}, None),
        (OCI_INDEX, {"mediaType": OCI_MANIFEST}, None),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", {"schemaVersion": 1}, None),
        (OCI_MANIFEST, {"mediaType": "application/x"}, None),
        (OCI_MANIFEST, [], None),
    ],
)
def test_what_a_manifest_is(
    registry: FakeRegistry, connect: Connect, said: str, document: object, expected: str | None
) -> None:
    registry.manifests["me/base"] = {"1": (said, json.dumps(document).encode())}
    if expected is None:
        with pytest.raises(InvalidImageError):
            connect(registry).get_manifest("me/base", "1")
    else:
        assert connect(registry).get_manifest("me/base", "1")[0].media_type == expected


# Blobs.

DATA = noise(3_000_000)


def read(client: RegistryClient, data: bytes = DATA) -> bytes:
    with client.open_blob("me/base", described(data)) as stream:
        return stream.read()


def test_blob_size(registry: FakeRegistry, connect: Connect) -> None:
    registry.put_blob("me/base", DATA)
    assert connect(registry).blob_size("me/base", described(DATA).digest) == len(DATA)
    assert connect(registry).blob_size("me/base", Digest.of(b"nothing")) is None


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_blob(registry: FakeRegistry, connect: Connect, size: int) -> None:
    registry.put_blob("me/base", DATA[:size])
    assert read(connect(registry), DATA[:size]) == DATA[:size]


def test_no_blob(registry: FakeRegistry, connect: Connect) -> None:
    with pytest.raises(ManifestNotFoundError):
        read(connect(registry))


def broken_off(registry: FakeRegistry, at: int) -> Callable[[Handler], Reply | None]:
    def act(handler: Handler) -> Reply | None:
        reply = handler.dispatch()
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body[:at])
        handler.wfile.flush()
        handler.close_connection = True
        return None

    return act


def test_a_blob_that_breaks_off_goes_on(registry: FakeRegistry, connect: Connect) -> None:
    registry.put_blob("me/base", DATA)
    registry.on("GET", "/blobs/", broken_off(registry, 250_000), times=11)
    assert read(connect(registry)) == DATA
    starts = [seen.headers.get("range") for seen in registry.requests("GET", "/blobs/")]
    assert starts[:3] == [None, "bytes=250000-", "bytes=500000-"]


def test_a_registry_without_ranges(registry: FakeRegistry, connect: Connect) -> None:
    registry.put_blob("me/base", DATA)

    def whole(handler: Handler) -> Reply:
        return Reply(200, {}, DATA)

    registry.on("GET", "/blobs/", broken_off(registry, 250_000))
    registry.on("GET", "/blobs/", whole)
    assert read(connect(registry)) == DATA


def test_a_range_that_was_not_asked_for(registry: FakeRegistry, connect: Connect) -> None:
    registry.put_blob("me/base", DATA)
    registry.on("GET", "/blobs/", broken_off(registry, 250_000))
    registry.on("GET", "/blobs/", change(Content_Range="bytes 0-9/3000000"), times=3)
    assert read(connect(registry)) == DATA


def test_a_blob_that_never_goes_on(registry: FakeRegistry, connect: Connect) -> None:
    registry.put_blob("me/base", DATA)
    registry.on("GET", "/blobs/", broken_off(registry, 250_000))
    registry.on("GET", "/blobs/", answer(503), times=99)
    with pytest.raises(RegistryError, match="8 failures without progress"):
        read(connect(registry))


def test_wrong_bytes_never_come_to_their_end(registry: FakeRegistry, connect: Connect) -> None:
    digest = registry.put_blob("me/base", DATA)
    registry.blobs["me/base"][digest] = DATA[:-1] + bytes([DATA[-1] ^ 1])
    got: list[bytes] = []
    stream = connect(registry).open_blob("me/base", described(DATA))
    with stream, pytest.raises(BlobMismatchError, match="have the digest"):
        got.extend(iter(lambda: stream.read(100_000), b""))
    assert sum(map(len, got)) < len(DATA)


@pytest.mark.parametrize("length", [len(DATA) - 1, len(DATA) + 1])
def test_a_blob_of_another_size(registry: FakeRegistry, connect: Connect, length: int) -> None:
    digest = registry.put_blob("me/base", DATA)
    registry.blobs["me/base"][digest] = (DATA + b"x")[:length]
    with pytest.raises(BlobMismatchError, match=f"{length} bytes"):
        connect(registry).open_blob("me/base", described(DATA))


def test_a_longer_blob_that_does_not_say_so(registry: FakeRegistry, connect: Connect) -> None:
    def longer(handler: Handler) -> Reply | None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(DATA + b"x")
        handler.close_connection = True
        return None

    registry.on("GET", "/blobs/", longer)
    with pytest.raises(BlobMismatchError, match="goes on after"):
        read(connect(registry))


def test_a_redirected_blob_takes_no_credentials_along(
    registry: FakeRegistry, start_registry: Callable[[], FakeRegistry], connect: Connect
) -> None:
    registry.auth = "basic"
    storage = start_registry()
    registry.put_blob("me/base", DATA)
    storage.put_blob("me/base", DATA)
    target = f"{storage.url}/v2/me/base/blobs/{described(DATA).digest}?signature=%3d%2f"
    registry.on("GET", "/blobs/", answer(307, Location=target))
    assert read(connect(registry, credentials=(USER, PASSWORD))) == DATA
    assert "authorization" in registry.requests("GET", "/blobs/")[0].headers
    assert "authorization" not in storage.seen[0].headers
    assert storage.seen[0].target.endswith("?signature=%3d%2f")


@pytest.mark.parametrize("where", ["http://10.1.2.3/x", "ftp://example.com/x", "http://a@example.com/"])
def test_redirects_that_are_not_followed(registry: FakeRegistry, connect: Connect, where: str) -> None:
    registry.on("GET", "/blobs/", answer(302, Location=where))
    with pytest.raises(RegistryError, match="where we do not go"):
        read(connect(registry))


def test_cancelled_while_waiting(registry: FakeRegistry) -> None:
    registry.on("GET", "/v2/", answer(503, Retry_After="60"), times=9)
    client = RegistryClient(registry.host)
    threading.Timer(0.2, client.cancel).start()
    with pytest.raises(RegistryError, match="cancelled"):
        client.ping()
    client.close()


def test_a_lost_answer_is_asked_for_again(registry: FakeRegistry, connect: Connect, events: list[Event]) -> None:
    registry.on("HEAD", "/blobs/", lose_answer)
    assert connect(registry).blob_size("me/base", Digest.of(b"x")) is None
    assert [event for event in events if isinstance(event, Retry)] == [Retry(registry.host, "connection reset", 0.5)]


def test_a_server_that_drips(registry: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastoci.registry.response._BODY_SECONDS", 0.1)

    def drips(handler: Handler) -> Reply | None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time_to_next.wait(0.01)
        handler.close_connection = True
        return None

    time_to_next = threading.Event()
    registry.on("GET", "/manifests/", drips)
    registry.manifests["me/base"] = {"1": (OCI_MANIFEST, MANIFEST)}
    assert connect(registry).get_manifest("me/base", "1")[1] == MANIFEST
