"""The rarer answers to an upload, one by one; and servers that do not answer at all."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from fake_registry import FakeRegistry, Handler, Reply, answer, error
from registrykit import Bytes, described, noise
from urllib3.util import Timeout

from fastoci.errors import AccessDeniedError, BlobMismatchError, RegistryError, RegistryResponseError
from fastoci.registry.session import Mode, UploadSession
from fastoci.registry.upload import UploadResult, upload_blob
from fastoci.spec.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastoci.registry.client import RegistryClient

    Connect = Callable[..., RegistryClient]

DATA = noise(300_000)
CHUNK = 100_000
UPLOADS = "/blobs/uploads/"


def push(client: RegistryClient, data: bytes = DATA) -> UploadResult:
    return upload_blob(client, "me/base", described(data), Bytes(data), title="layer", sink=lambda event: None)


def stands(registry: FakeRegistry, data: bytes = DATA) -> bool:
    return registry.blobs.get("me/base", {}).get(str(described(data).digest)) == data


@pytest.mark.parametrize(
    ("first", "sessions"),
    [
        (answer(429, Retry_After="3"), 1),
        (answer(408), 1),
        (answer(416), 1),
        (error(400, "RANGE_INVALID"), 1),
        (error(400, "SIZE_INVALID"), 2),
        (error(404, "BLOB_UPLOAD_INVALID"), 2),
        (answer(410), 2),
        (error(400, "DIGEST_INVALID"), 2),
        (answer(400, "the digest does not fit"), 2),
        (answer(202), 1),
    ],
)
def test_answers_to_a_commit_that_can_be_mended(
    registry: FakeRegistry, connect: Connect, first: Callable[[Handler], Reply], sessions: int
) -> None:
    if first(_Deaf()).status == 202:  # it takes its time

        def later(handler: Handler) -> Reply:
            handler.dispatch()
            registry.on("HEAD", "/blobs/", answer(404), times=2)
            return Reply(202)

        first = later
    registry.on("PUT", UPLOADS, first)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("POST")) == sessions


class _Deaf(Handler):
    """A handler without a request, to see what an action would answer."""

    def __init__(self) -> None:
        self.unread = 0

    def read_all(self) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [(answer(403), AccessDeniedError), (answer(400), RegistryResponseError), (answer(405), RegistryResponseError)],
)
def test_answers_to_a_commit_that_are_final(
    registry: FakeRegistry, connect: Connect, refusal: Callable[[Handler], Reply], kind: type[Exception]
) -> None:
    registry.on("PUT", UPLOADS, refusal, times=99)
    with pytest.raises(kind):
        push(connect(registry, chunk_size=CHUNK))
    assert len(registry.requests("PUT")) == 1
    assert not registry.sessions


def test_a_commit_that_fails_for_ever(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", UPLOADS, answer(500), times=99)
    with pytest.raises(RegistryError, match="8 failures without progress") as caught:
        push(connect(registry, chunk_size=CHUNK))
    assert caught.value.what == "upload of layer stopped at 293.0 of 293.0 KiB"
    assert len(registry.requests("PATCH")) == 3


def test_a_commit_whose_session_lost_bytes(registry: FakeRegistry, connect: Connect) -> None:
    def forgets(handler: Handler) -> Reply:
        del next(iter(registry.sessions.values())).data[200_000:]
        return Reply(500)

    registry.on("PUT", UPLOADS, forgets)
    assert push(connect(registry, chunk_size=CHUNK)).repeated == 100_000
    assert stands(registry)


def test_a_commit_after_which_all_is_gone(registry: FakeRegistry, connect: Connect) -> None:
    def forgets(handler: Handler) -> Reply:
        registry.sessions.clear()
        return Reply(500)

    registry.on("PUT", UPLOADS, forgets)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("POST")) == 2


@pytest.mark.parametrize("status", [404, 410])
def test_a_session_that_is_gone_at_a_patch(registry: FakeRegistry, connect: Connect, status: int) -> None:
    registry.on("PATCH", UPLOADS, answer(status), skip=1)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)


def test_400_is_a_lost_session_only_where_it_says_so(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, error(400, "BLOB_UPLOAD_INVALID"))
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    registry.on("PATCH", UPLOADS, error(400, "UNSUPPORTED"))
    with pytest.raises(RegistryResponseError, match="400 UNSUPPORTED"):
        push(connect(registry), noise(10, 2))


def test_sessions_that_are_lost_for_ever(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(404), times=99)
    with pytest.raises(RegistryError, match="5 sessions got no further"):
        push(connect(registry))
    assert len(registry.requests("POST")) == 6


def test_sessions_that_get_further_each_time(registry: FakeRegistry, connect: Connect) -> None:
    data = noise(1_000_000)
    bounds = iter(range(CHUNK, len(data), CHUNK))
    bound = next(bounds)

    def lost(handler: Handler) -> Reply:
        nonlocal bound
        key = handler.path.partition("?")[0].rpartition("/")[2]
        if len(registry.sessions[key].data) == bound:
            bound = next(bounds, -1)
            return answer(404)(handler)  # type: ignore[return-value]  # it always answers
        return handler.dispatch()

    registry.on("PATCH", UPLOADS, lost, times=999)
    push(connect(registry, chunk_size=CHUNK), data)
    assert stands(registry, data)
    assert len(registry.requests("POST")) == 10


def test_a_sync_that_is_refused(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(500))
    registry.on("GET", UPLOADS, answer(403))
    with pytest.raises(AccessDeniedError):
        push(connect(registry))


def test_a_registry_that_cannot_say_how_far_and_fails_again(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(500), times=2)
    registry.on("GET", UPLOADS, answer(405), times=99)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("POST")) == 2


def test_monolithic_by_choice_is_not_changed(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", UPLOADS, answer(413))
    with pytest.raises(RegistryResponseError, match="413"):
        push(connect(registry, upload="monolithic"))


def test_the_source_is_not_what_its_descriptor_says(registry: FakeRegistry, connect: Connect) -> None:
    with pytest.raises(BlobMismatchError, match="its descriptor says"):
        upload_blob(connect(registry), "me/base", described(DATA), Bytes(b"x"), title="x", sink=lambda event: None)


def test_201_without_a_mount(registry: FakeRegistry, connect: Connect) -> None:
    def there(handler: Handler) -> Reply:
        registry.put_blob("me/base", DATA)
        return Reply(201)

    registry.on("POST", UPLOADS, there)
    assert push(connect(registry)).how == "skipped"


def test_two_pushers_of_one_blob(registry: FakeRegistry, connect: Connect) -> None:
    threads = [threading.Thread(target=push, args=(connect(registry, chunk_size=CHUNK),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert stands(registry)
    assert not registry.sessions


def test_a_head_that_leads_to_a_url_that_is_good_for_get(
    registry: FakeRegistry, start_registry: Callable[[], FakeRegistry], connect: Connect
) -> None:
    storage = start_registry()
    storage.put_blob("me/base", DATA)
    storage.on("HEAD", "/blobs/", answer(403))
    path = f"/v2/me/base/blobs/{described(DATA).digest}"
    for method in ("HEAD", "GET"):
        registry.on(method, "/blobs/", answer(307, Location=f"{storage.url}{path}"))
    assert push(connect(registry)).how == "skipped"


# Connections.


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """All time limits are a third of a second."""
    monkeypatch.setattr("fastoci.registry.transport.Timeout", lambda connect, read: Timeout(connect=0.3, read=0.3))
    monkeypatch.setattr("fastoci.registry.connections.SEND_TIMEOUT", 0.3)


def hang(go: threading.Event) -> Callable[[Handler], Reply]:
    def act(handler: Handler) -> Reply:
        handler.read_all()
        go.wait(10)
        handler.close_connection = True
        return Reply(500)

    return act


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
def test_a_server_that_falls_silent(registry: FakeRegistry, connect: Connect, hasty: None, method: str) -> None:
    go = threading.Event()
    client = connect(registry, chunk_size=CHUNK)
    client.ping()
    registry.on(method, "/blobs/", hang(go))
    push(client)
    assert stands(registry)
    go.set()


def test_a_server_that_never_reads(registry: FakeRegistry, connect: Connect, hasty: None) -> None:
    go = threading.Event()
    data = noise(40_000_000)

    def deaf(handler: Handler) -> Reply:
        go.wait(10)
        handler.close_connection = True
        return Reply(500)

    registry.on("PATCH", UPLOADS, deaf)
    push(connect(registry, chunk_size=len(data)), data)
    assert stands(registry, data)
    go.set()


def test_a_host_that_is_not_there_is_not_waited_for_long(connect: Connect, hasty: None) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, pytest.raises(RegistryError, match="no answer in time") as caught:
        connect(f"127.0.0.1:{listener.getsockname()[1]}").ping()
    assert caught.value.hint is not None


def test_connections_are_used_again(registry: FakeRegistry, connect: Connect) -> None:
    made = 0
    accept = registry.server.get_request

    def counted() -> tuple[socket.socket, object]:
        nonlocal made
        made += 1
        return accept()

    registry.server.get_request = counted  # type: ignore[method-assign]  # counts connections
    push(connect(registry, chunk_size=10_000))
    assert made == 1


def test_an_idle_connection_that_the_server_has_closed(registry: FakeRegistry, connect: Connect) -> None:
    def last(handler: Handler) -> Reply | None:
        handler.close_connection = True
        reply = handler.dispatch()
        handler.close_connection = False
        handler.send(reply)
        handler.close_connection = True  # without having said so
        return None

    registry.on("PATCH", UPLOADS, last, times=99)
    result = push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert result.repeated <= 3 * CHUNK


@pytest.mark.parametrize("head", [b"HTTP/1.1 2", b"HTTP/1.1 202", b"HTTP/1.1 202 Accepted\r\nRange: 0-0\r\nLocat", b""])
@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
def test_an_answer_that_breaks_off_in_its_head(
    registry: FakeRegistry, connect: Connect, method: str, head: bytes
) -> None:
    def breaks(handler: Handler) -> None:
        handler.dispatch()
        handler.wfile.write(head)
        handler.close_connection = True

    registry.on(method, "/blobs/", breaks)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)


def test_an_old_connection_is_not_used(
    registry: FakeRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastoci.registry.connections.IDLE_LIMIT", -1.0)
    client = connect(registry)
    client.ping()
    client.blob_size("me/base", Digest.of(b"x"))
    assert len(registry.seen) == 2


def test_chunk_sizes() -> None:
    session = UploadSession(Mode.CHUNKED, 16 << 20)
    session.limit_chunk(None, 1 << 20)
    assert session.chunk == 1 << 20
    session.limit_chunk(5 << 20, None)
    assert (session.chunk, session.minimum) == (5 << 20, 5 << 20)
    assert not session.halve_chunk()
    session.limit_chunk(1 << 60, None)
    assert session.chunk == 1 << 30
    session = UploadSession(Mode.CHUNKED, 100 << 10)
    assert session.halve_chunk()
    assert session.chunk == 64 << 10
    assert not session.halve_chunk()
    assert "location" not in repr(session)
