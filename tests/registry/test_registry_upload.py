"""Uploads against a registry that does what registries do to them."""

from __future__ import annotations

import random
import threading
from base64 import b64encode
from collections.abc import Callable

import pytest
from fake_registry import PASSWORD, USER, FakeRegistry, Handler, Reply, answer, change, error, lose_answer, reset_at
from registrykit import Bytes, Time, described, noise

from fastoci.errors import (
    AccessDeniedError,
    BlobMismatchError,
    FastociError,
    RegistryError,
    RegistryResponseError,
    TreeChangedError,
)
from fastoci.events import BlobDone, BlobProgress, Event, Retry
from fastoci.registry.client import RegistryClient
from fastoci.registry.session import Mode
from fastoci.registry.upload import UploadResult, upload_blob

CHUNK = 100_000
DATA = noise(450_001)
UPLOADS = "/blobs/uploads/"

Connect = Callable[..., RegistryClient]


def push(client: RegistryClient, data: bytes = DATA, events: list[Event] | None = None, **options: str) -> UploadResult:
    sink = (events if events is not None else []).append
    return upload_blob(client, "me/base", described(data), Bytes(data), title="layer", sink=sink, **options)


def stands(registry: FakeRegistry, data: bytes = DATA) -> bool:
    return registry.blobs.get("me/base", {}).get(str(described(data).digest)) == data


def ranges(registry: FakeRegistry) -> list[str | None]:
    return [seen.headers.get("content-range") for seen in registry.requests("PATCH")]


# Without faults.


@pytest.mark.parametrize("locations", ["absolute", "path", "relative"])
def test_chunks_and_their_ranges(registry: FakeRegistry, connect: Connect, locations: str) -> None:
    registry.locations = locations
    result = push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert ranges(registry) == ["0-99999", "100000-199999", "200000-299999", "300000-399999", "400000-450000"]
    assert (result.how, result.size, result.sent, result.repeated, result.resumed) == ("pushed", 450_001, 450_001, 0, 0)


def test_a_blob_up_to_one_chunk_takes_one_patch(registry: FakeRegistry, connect: Connect) -> None:
    push(connect(registry, chunk_size=len(DATA)))
    assert ranges(registry) == ["0-450000"]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_tiny_blobs(registry: FakeRegistry, connect: Connect, size: int) -> None:
    data = noise(size)
    assert push(connect(registry), data).how == "pushed"
    assert stands(registry, data)
    assert len(registry.requests("PATCH")) == min(1, size)


def test_monolithic(registry: FakeRegistry, connect: Connect) -> None:
    push(connect(registry, upload="monolithic", chunk_size=CHUNK))
    assert stands(registry)
    assert not registry.requests("PATCH")


def test_what_stands_is_not_sent(registry: FakeRegistry, connect: Connect, events: list[Event]) -> None:
    registry.put_blob("me/base", DATA)
    result = push(connect(registry), events=events)
    assert (result.how, result.sent) == ("skipped", 0)
    assert not registry.requests("POST")
    assert isinstance(events[-1], BlobDone)


def test_a_blob_of_another_size_does_not_stand(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("HEAD", "/blobs/", change(Content_Length="3"))
    registry.put_blob("me/base", DATA)
    assert push(connect(registry)).how == "pushed"


def test_a_registry_without_head_is_asked_for_one_byte(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("HEAD", "/blobs/", answer(405))
    registry.put_blob("me/base", DATA)
    assert push(connect(registry)).how == "skipped"
    assert registry.requests("GET", "/blobs/")[0].headers["range"] == "bytes=0-0"


def test_mounted(registry: FakeRegistry, connect: Connect) -> None:
    registry.put_blob("me/other", DATA)
    result = push(connect(registry), mount_from="me/other")
    assert (result.how, result.sent) == ("mounted", 0)
    assert stands(registry)
    assert "from=me%2Fother" in registry.requests("POST")[0].target


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_a_refused_mount_is_tried_without(registry: FakeRegistry, connect: Connect, status: int) -> None:
    registry.on("POST", "mount=", answer(status), times=9)
    assert push(connect(registry), mount_from="me/other").how == "pushed"
    assert stands(registry)


def test_a_mount_that_did_not_happen_is_noticed(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("POST", "mount=", answer(201, Location="/v2/me/base/blobs/x"))
    assert push(connect(registry), mount_from="me/other").how == "pushed"
    assert stands(registry)


def test_progress_begins_at_nothing_and_ends_with_all(registry: FakeRegistry, connect: Connect) -> None:
    events: list[Event] = []
    push(connect(registry, chunk_size=CHUNK), events=events)
    progress = [event for event in events if isinstance(event, BlobProgress)]
    assert (progress[0].done, progress[-1].done, progress[-1].total) == (0, len(DATA), len(DATA))
    assert isinstance(events[-1], BlobDone)


def test_the_smallest_chunk_a_registry_takes(registry: FakeRegistry, connect: Connect) -> None:
    registry.min_chunk = 200_000
    push(connect(registry, chunk_size=CHUNK))
    assert ranges(registry) == ["0-199999", "200000-399999", "400000-450000"]


@pytest.mark.parametrize(("said", "count"), [("300000", 2), ("1", 1), ("-5", 1), ("x", 1), ("9" * 40, 1)])
def test_the_largest_chunk_within_reason(registry: FakeRegistry, connect: Connect, said: str, count: int) -> None:
    registry.max_chunk = said
    push(connect(registry))
    assert len(registry.requests("PATCH")) == count


def test_memory_holds_a_piece_and_not_a_chunk(registry: FakeRegistry, connect: Connect) -> None:
    data = noise(3_000_000)
    source = Bytes(data)
    upload_blob(connect(registry), "me/base", described(data), source, title="layer", sink=lambda event: None)
    assert max(size for _, size in source.reads) == 256 << 10


# Faults while sending.


@pytest.mark.parametrize("cut", [1, 50_000, 99_999])
def test_goes_on_in_the_middle_of_a_chunk(registry: FakeRegistry, connect: Connect, cut: int) -> None:
    events: list[Event] = []
    registry.on("PATCH", UPLOADS, reset_at(cut), skip=1)
    result = push(connect(registry, chunk_size=CHUNK), events=events)
    assert stands(registry)
    assert ranges(registry)[2] == f"{CHUNK + cut}-{2 * CHUNK + cut - 1}"
    assert result.resumed == 1
    assert result.sent - result.repeated == len(DATA)
    retries = [event for event in events if isinstance(event, Retry)]
    assert retries[-1] == Retry("layer", "connection reset", 0.0, CHUNK + cut)


@pytest.mark.parametrize("style", ["2.8", "zot"])
def test_a_lost_session_begins_again(registry: FakeRegistry, connect: Connect, style: str) -> None:
    registry.style = style
    registry.on("PATCH", UPLOADS, reset_at(5000), skip=2)
    result = push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("POST")) == 2
    assert result.repeated >= 200_000


def test_an_answer_lost_after_the_bytes_came(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, lose_answer, times=2)
    assert push(connect(registry, chunk_size=CHUNK)).repeated == 0
    assert stands(registry)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_answers_are_waited_for(registry: FakeRegistry, connect: Connect, time: Time, status: int) -> None:
    registry.on("PATCH", UPLOADS, answer(status), times=3)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert [wait for wait in time.slept if wait > 0] == [0.5, 0.5, 1.0, 0.5, 2.0, 0.5]


@pytest.mark.parametrize(("header", "wait"), [("7", 7.0), ("1000000000", 300.0), ("-1", 0.5), ("soon", 0.5)])
def test_retry_after(registry: FakeRegistry, connect: Connect, time: Time, header: str, wait: float) -> None:
    registry.on("PATCH", UPLOADS, answer(429, Retry_After=header))
    push(connect(registry))
    assert time.slept[0] == wait


def test_eight_failures_without_progress_end_it(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(503), times=99, skip=1)
    with pytest.raises(RegistryError) as caught:
        push(connect(registry, chunk_size=CHUNK))
    assert caught.value.exit_code == 4
    assert caught.value.what == "upload of layer stopped at 97.7 of 439.5 KiB"
    assert "8 failures without progress" in str(caught.value.cause)
    assert "503" in str(caught.value.cause)
    assert "_state" not in str(caught.value.cause)
    assert len(registry.requests("PATCH")) == 9


def test_progress_resets_the_count(registry: FakeRegistry, connect: Connect) -> None:
    # 40 failures in all, but each time some bytes get through.
    registry.on("PATCH", UPLOADS, reset_at(10_000), times=40)
    result = push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert result.sent - result.repeated == len(DATA)


def test_a_server_that_is_being_restarted(
    registry: FakeRegistry, connect: Connect, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(registry, chunk_size=CHUNK)
    port = registry.server.server_port

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if len(time.slept) == 8:
            registry.start(port)

    def dies(handler: Handler) -> Reply | None:
        registry.close()
        return reset_at(10)(handler)

    monkeypatch.setattr(client.pacer, "_sleep", sleep)
    registry.on("PATCH", UPLOADS, dies, skip=1)
    result = push(client)
    assert stands(registry)
    assert result.resumed == 1


def test_nothing_secret_is_told(registry: FakeRegistry, connect: Connect, events: list[Event]) -> None:
    registry.auth = "token"
    for fault in (answer(500), reset_at(5), answer(429), lose_answer):
        registry.on("PATCH", UPLOADS, fault)
    registry.on("PUT", UPLOADS, answer(400), skip=1, times=99)
    client = connect(registry, chunk_size=CHUNK, credentials=(USER, PASSWORD))
    push(client, events=events)
    with pytest.raises(RegistryResponseError) as caught:
        push(client, noise(50_000, 2), events=events)
    said = f"{events} {caught.value!r} {caught.value.cause} {vars(caught.value)} {client.options}"
    secrets = [PASSWORD, "_state", *registry.tokens, b64encode(f"{USER}:{PASSWORD}".encode()).decode()]
    assert [secret for secret in secrets if secret in said] == []


def test_smaller_chunks_where_they_are_too_large(registry: FakeRegistry, connect: Connect) -> None:
    def at_most(handler: Handler) -> Reply:
        if handler.unread > 120_000:
            handler.read_all()
            return Reply(413)
        return handler.dispatch()

    registry.on("PATCH", UPLOADS, at_most, times=99)
    client = connect(registry, chunk_size=400_000)
    push(client)
    assert stands(registry)
    assert client.profile.chunk == 100_000
    before = len(registry.requests("PATCH"))
    push(client, noise(300_000, 2))
    assert len(registry.requests("PATCH")) == before + 3  # what was learnt holds for the next blob


def test_413_before_the_body_was_read(registry: FakeRegistry, connect: Connect) -> None:
    data = noise(8_000_000)

    def at_most(handler: Handler) -> Reply:
        if handler.unread > 4_000_000:
            return answer(413, read=False)(handler)
        return handler.dispatch()

    registry.on("PATCH", UPLOADS, at_most, times=99)
    result = push(connect(registry), data)
    assert stands(registry, data)
    assert result.sent < 2 * len(data)


def test_416_too_large(registry: FakeRegistry, connect: Connect) -> None:
    def at_most(handler: Handler) -> Reply:
        if handler.unread > 120_000:
            return error(416, "BLOB_UPLOAD_INVALID", "chunk too large")(handler)
        return handler.dispatch()

    registry.on("PATCH", UPLOADS, at_most, times=99)
    push(connect(registry, chunk_size=400_000))
    assert stands(registry)


def test_no_chunk_small_enough(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(413), times=99)
    with pytest.raises(RegistryResponseError) as caught:
        push(connect(registry, chunk_size=200_000))
    assert caught.value.status == 413
    assert registry.requests("DELETE")  # nobody will go on with this session
    assert not registry.sessions


def test_a_fresh_token_in_the_middle_keeps_the_offset(registry: FakeRegistry, connect: Connect) -> None:
    registry.auth = "token"

    def expired(handler: Handler) -> Reply:
        registry.expire_tokens()
        return handler.dispatch()

    registry.on("PATCH", UPLOADS, expired, skip=2)
    push(connect(registry, chunk_size=CHUNK, credentials=(USER, PASSWORD)))
    assert stands(registry)
    assert ranges(registry).count("200000-299999") == 2
    assert len(registry.requests("POST", UPLOADS)) == 1


def test_tokens_that_expire_between_each_pair_of_requests(registry: FakeRegistry, connect: Connect) -> None:
    registry.auth = "token"

    def once(handler: Handler) -> Reply:
        reply = handler.dispatch()
        registry.expire_tokens()
        return reply

    for method in ("POST", "PATCH", "PUT", "HEAD"):
        registry.on(method, "/v2/me/base/", once, times=99)
    push(connect(registry, chunk_size=CHUNK, credentials=(USER, PASSWORD)))
    assert stands(registry)


def test_401_before_the_body_was_read(registry: FakeRegistry, connect: Connect) -> None:
    registry.auth = "token"
    data = noise(6_000_000)

    def early(handler: Handler) -> Reply:
        registry.expire_tokens()
        denied = handler.denied(handler.path)
        assert denied is not None
        handler.close_connection = True
        return denied

    registry.on("PATCH", UPLOADS, early)
    result = push(connect(registry, credentials=(USER, PASSWORD)), data)
    assert stands(registry, data)
    assert result.sent < 2 * len(data)  # not all of it was sent in vain


def test_401_for_ever(registry: FakeRegistry, connect: Connect) -> None:
    registry.auth = "token"
    registry.on("PATCH", UPLOADS, answer(401, WWW_Authenticate='Bearer realm="/token"'), times=99)
    with pytest.raises(AccessDeniedError) as caught:
        push(connect(registry, credentials=(USER, PASSWORD)))
    assert caught.value.exit_code == 5
    assert len(registry.requests("PATCH")) <= 3
    assert PASSWORD not in str(caught.value)


def test_403_is_final(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, error(403, "DENIED", "quota"))
    with pytest.raises(AccessDeniedError, match="DENIED: quota"):
        push(connect(registry))
    assert len(registry.requests("PATCH")) == 1


def test_a_registry_that_takes_one_patch(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(405), skip=1)
    client = connect(registry, chunk_size=CHUNK)
    push(client)
    assert stands(registry)
    assert ranges(registry)[-1] is None
    assert client.profile.mode is Mode.STREAMED


def test_a_registry_that_takes_no_patch(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(405), times=99)
    client = connect(registry, chunk_size=CHUNK)
    push(client)
    assert stands(registry)
    assert client.profile.mode is Mode.MONOLITHIC


def test_what_the_user_chose_stays(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(405), times=99)
    with pytest.raises(RegistryResponseError, match="405"):
        push(connect(registry, upload="chunked"))


@pytest.mark.parametrize("status", [301, 302, 303])
def test_redirects_that_lose_the_method_are_refused(registry: FakeRegistry, connect: Connect, status: int) -> None:
    registry.on("PATCH", UPLOADS, answer(status, Location="/elsewhere"))
    with pytest.raises(RegistryResponseError, match=str(status)):
        push(connect(registry))


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_that_keep_it_are_followed(registry: FakeRegistry, connect: Connect, status: int) -> None:
    def elsewhere(handler: Handler) -> Reply:
        return answer(status, Location=handler.path)(handler)

    registry.on("PATCH", UPLOADS, elsewhere, times=5)
    push(connect(registry))
    assert stands(registry)


def test_redirects_in_a_loop(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, lambda handler: answer(307, Location=handler.path)(handler), times=99)
    with pytest.raises(RegistryError, match="redirects"):
        push(connect(registry))
    assert len(registry.requests("PATCH")) == 6


# What registries say about how far they are.


def test_a_part_of_a_chunk_is_taken(registry: FakeRegistry, connect: Connect) -> None:
    def half(handler: Handler) -> Reply:
        handler.unread, rest = handler.unread // 2, handler.unread - handler.unread // 2
        content_range = handler.headers["Content-Range"]
        start = int(content_range.partition("-")[0])
        handler.headers.replace_header("Content-Range", f"{start}-{start + handler.unread - 1}")
        reply = handler.dispatch()
        handler.unread = rest
        with registry.lock:
            handler.read(rest)
        return reply

    registry.on("PATCH", UPLOADS, half, skip=1)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert ranges(registry)[2] == "150000-249999"


@pytest.mark.parametrize("said", [None, "0-0", "garbage", "0--1"])
def test_a_range_that_is_missing_or_stuck(registry: FakeRegistry, connect: Connect, said: str | None) -> None:
    registry.on("PATCH", UPLOADS, change(Range=said), times=99)
    client = connect(registry, chunk_size=CHUNK)
    push(client)
    assert stands(registry)
    # The registry is asked once; then it is known that it does not matter.
    assert len(registry.requests("GET", UPLOADS)) == 1
    assert client.profile.patch_range == "ignored"


def test_a_stuck_range_and_no_way_to_ask(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, change(Range="0-0"), times=99)
    registry.on("GET", UPLOADS, answer(405), times=99)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)


def test_bytes_that_are_taken_and_not_kept(registry: FakeRegistry, connect: Connect) -> None:
    def forgets(handler: Handler) -> Reply:
        handler.read_all()
        key = handler.path.partition("?")[0].rpartition("/")[2]
        return handler.session_reply(202, "me/base", key)

    registry.on("PATCH", UPLOADS, forgets, times=2, skip=1)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert ranges(registry).count("100000-199999") == 3


def test_a_registry_that_keeps_nothing(registry: FakeRegistry, connect: Connect) -> None:
    def forgets(handler: Handler) -> Reply:
        handler.read_all()
        key = handler.path.partition("?")[0].rpartition("/")[2]
        return handler.session_reply(202, "me/base", key)

    registry.on("PATCH", UPLOADS, forgets, times=9999)
    with pytest.raises(RegistryError, match="sessions got no further"):
        push(connect(registry, chunk_size=CHUNK))


@pytest.mark.parametrize("form", ["0-{}", "bytes=0-{}"])
def test_off_by_one(registry: FakeRegistry, connect: Connect, form: str) -> None:
    """Quay: the Range of GET and of a 416 is one too high."""
    registry.on("PATCH", UPLOADS, reset_at(5000), skip=1)

    def one_high(handler: Handler) -> Reply:
        reply = handler.dispatch()
        held = int(reply.headers["Range"].rpartition("-")[2]) + 1
        reply.headers["Range"] = form.format(held)
        return reply

    registry.on("GET", UPLOADS, one_high, times=99)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert ranges(registry)[2].startswith("105001-")  # type: ignore[union-attr]  # every PATCH has one here
    assert ranges(registry)[3].startswith("105000-")  # type: ignore[union-attr]
    assert len(registry.requests("POST")) == 1


@pytest.mark.parametrize("cut", [0, 1])
def test_none_or_one_byte(registry: FakeRegistry, connect: Connect, cut: int) -> None:
    """`0-0` is one byte by the letter, and none as distribution means it."""
    registry.on("PATCH", UPLOADS, reset_at(cut) if cut else answer(500))
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("POST")) == 1


def test_a_range_that_goes_back_is_believed(registry: FakeRegistry, connect: Connect) -> None:
    def loses(handler: Handler) -> Reply:
        handler.read_all()
        session = next(iter(registry.sessions.values()))
        del session.data[150_000:]
        return Reply(500)

    registry.on("PATCH", UPLOADS, loses, skip=3)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert "150000-249999" in ranges(registry)


def test_416_for_ever(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(416), times=999, skip=1)
    with pytest.raises(RegistryError):
        push(connect(registry, chunk_size=CHUNK))
    assert len(registry.requests("PATCH")) < 30


@pytest.mark.parametrize("status", [405, 501])
def test_a_registry_that_does_not_say_how_far(registry: FakeRegistry, connect: Connect, status: int) -> None:
    registry.on("PATCH", UPLOADS, answer(500), skip=1)
    registry.on("GET", UPLOADS, answer(status), times=99)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("POST")) == 1  # one optimistic PATCH was enough


@pytest.mark.parametrize("claim", ["0-99999999", "0-9999999999999999999"])
def test_more_than_there_is(registry: FakeRegistry, connect: Connect, claim: str) -> None:
    registry.on("PATCH", UPLOADS, answer(500))
    registry.on("GET", UPLOADS, change(Range=claim))
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("POST")) == 2


# The commit.


def test_a_commit_whose_answer_is_lost(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", UPLOADS, lose_answer)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("PUT")) == 1


def test_a_commit_that_failed_is_made_again(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", UPLOADS, answer(500), times=2)
    assert push(connect(registry, chunk_size=CHUNK)).repeated == 0
    assert stands(registry)
    assert len(registry.requests("PUT")) == 3


def test_a_registry_that_is_still_assembling(registry: FakeRegistry, connect: Connect, time: Time) -> None:
    def late(handler: Handler) -> Reply:
        handler.dispatch()
        registry.on("HEAD", "/blobs/", answer(404), times=5)
        return Reply(504)

    registry.on("PUT", UPLOADS, late)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("PUT")) == 1
    assert 1.0 + 2.0 + 4.0 + 8.0 <= sum(time.slept) <= 60


def test_a_commit_of_a_session_that_is_gone(registry: FakeRegistry, connect: Connect) -> None:
    def gone(handler: Handler) -> Reply:
        registry.sessions.clear()
        return handler.dispatch()

    registry.on("PUT", UPLOADS, gone)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(registry.requests("POST")) == 2


def test_a_proxy_that_sent_the_commit_twice(registry: FakeRegistry, connect: Connect) -> None:
    def twice(handler: Handler) -> Reply:
        handler.dispatch()
        return handler.dispatch()  # 404: the session is the blob by now

    registry.on("PUT", UPLOADS, twice)
    push(connect(registry, chunk_size=CHUNK))
    assert len(registry.requests("POST")) == 1


def test_the_answer_names_another_digest(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", UPLOADS, answer(201, Docker_Content_Digest="sha256:" + "0" * 64))
    with pytest.raises(BlobMismatchError, match="something else"):
        push(connect(registry, chunk_size=CHUNK))


def test_the_answer_names_no_digest(registry: FakeRegistry, connect: Connect) -> None:
    registry.digest_header = False
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)


def test_a_blob_that_arrived_wrong_is_sent_once_more(registry: FakeRegistry, connect: Connect) -> None:
    def spoils(handler: Handler) -> Reply:
        next(iter(registry.sessions.values())).data[7] ^= 1
        return handler.dispatch()

    registry.on("PUT", UPLOADS, spoils)
    client = connect(registry, chunk_size=CHUNK)
    push(client)
    assert stands(registry)
    assert ranges(registry)[-1] is None  # in another mode


def test_a_blob_that_always_arrives_wrong(registry: FakeRegistry, connect: Connect) -> None:
    def spoils(handler: Handler) -> Reply:
        next(iter(registry.sessions.values())).data[7] ^= 1
        # The registry may serve it all the same, as Artifactory does; that is not believed.
        registry.put_blob("me/base", DATA)
        return handler.dispatch()

    registry.on("PUT", UPLOADS, spoils, times=99)
    with pytest.raises(BlobMismatchError, match="does not receive"):
        push(connect(registry, chunk_size=CHUNK))
    assert len(registry.requests("PUT")) == 2


def test_monolithic_is_too_large(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(405))
    registry.on("PUT", UPLOADS, answer(413))
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)


def test_a_monolithic_upload_is_cut(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", UPLOADS, reset_at(1000), times=2)
    push(connect(registry, upload="monolithic"))
    assert stands(registry)
    assert len(registry.requests("POST")) == 3


# Sources, sessions, threads.


def test_a_source_that_fails_is_what_is_raised(registry: FakeRegistry, connect: Connect) -> None:
    class Changed(Bytes):
        def read_at(self, offset: int, size: int) -> memoryview:
            if offset >= 200_000:
                raise TreeChangedError("it changed", path="a/b")
            return super().read_at(offset, size)

    with pytest.raises(TreeChangedError) as caught:
        upload_blob(
            connect(registry, chunk_size=CHUNK), "me/base", described(DATA), Changed(DATA), title="x", sink=print
        )
    assert caught.value.path == "a/b"
    assert not registry.sessions  # aborted


def test_a_source_that_shrank(registry: FakeRegistry, connect: Connect) -> None:
    source = Bytes(DATA)
    source.data = DATA[:-1]
    with pytest.raises(BlobMismatchError, match="changed while it was sent"):
        upload_blob(connect(registry), "me/base", described(DATA), source, title="x", sink=lambda event: None)


def test_a_source_that_changed(registry: FakeRegistry, connect: Connect) -> None:
    source = Bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
    with pytest.raises(BlobMismatchError, match=r"is not what it should be: .*its bytes have the digest sha256:"):
        upload_blob(connect(registry), "me/base", described(DATA), source, title="x", sink=lambda event: None)
    assert not stands(registry)


def test_a_session_without_location(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("POST", UPLOADS, change(Location=None))
    with pytest.raises(RegistryResponseError, match="without a Location"):
        push(connect(registry))


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/v2/x",
        "http://user:pass@example.com/",
        "file:///etc/passwd",
        "http://example.com/a b",
        "http://example.com:99999/",
        "http://[::ffff:10.0.0.1]/",
        "http://2852039166/",
    ],
)
def test_locations_where_we_do_not_go(registry: FakeRegistry, connect: Connect, location: str) -> None:
    registry.on("POST", UPLOADS, answer(202, Location=location))
    with pytest.raises(RegistryError, match="sends us where we do not go") as caught:
        push(connect(registry))
    assert "pass" not in str(caught.value).replace("passwd", "")
    assert len(registry.requests("POST")) == 1


def test_another_origin_gets_the_bytes_and_no_credentials(
    registry: FakeRegistry, start_registry: Callable[[], FakeRegistry], connect: Connect
) -> None:
    registry.auth = "basic"
    storage = start_registry()

    def away(handler: Handler) -> Reply:
        reply = handler.dispatch()
        storage.sessions.update(registry.sessions)
        reply.headers["Location"] = reply.headers["Location"].replace(registry.url, storage.url)
        return reply

    registry.on("POST", UPLOADS, away)
    storage.blobs = registry.blobs
    push(connect(registry, chunk_size=CHUNK, credentials=(USER, PASSWORD)))
    assert len(storage.requests("PATCH")) == 5
    assert all("authorization" not in seen.headers for seen in storage.seen)
    assert any("authorization" in seen.headers for seen in registry.seen)


def test_cancelled_from_another_thread(registry: FakeRegistry, connect: Connect) -> None:
    client = connect(registry, chunk_size=CHUNK)
    reached, go = threading.Event(), threading.Event()

    def hangs(handler: Handler) -> Reply:
        reached.set()
        go.wait(20)
        return Reply(500)

    registry.on("PATCH", UPLOADS, hangs)
    failures: list[FastociError] = []

    def work() -> None:
        try:
            push(client)
        except RegistryError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(10)
    client.cancel()
    thread.join(5)
    go.set()
    assert not thread.is_alive()
    assert failures[0].cause == "cancelled"


def test_several_blobs_at_once_share_the_client(registry: FakeRegistry, connect: Connect) -> None:
    registry.auth = "token"
    client = connect(registry, chunk_size=CHUNK, credentials=(USER, PASSWORD))
    blobs = [noise(250_000, seed) for seed in range(8)]
    registry.on("PATCH", UPLOADS, reset_at(30_000), times=5, skip=3)
    threads = [threading.Thread(target=push, args=(client, blob)) for blob in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(stands(registry, blob) for blob in blobs)
    assert len(registry.requests("GET", "/token")) == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_line_that_breaks_at_random(registry: FakeRegistry, connect: Connect, seed: int) -> None:
    rng = random.Random(seed)
    faults = [reset_at(rng.randrange(CHUNK)), lose_answer, answer(503), answer(429), answer(500, read=False)]
    chances = random.Random(seed + 100)

    def maybe(handler: Handler) -> Reply | None:
        if chances.random() < 0.4:
            return rng.choice(faults)(handler)
        return handler.dispatch()

    for method in ("HEAD", "POST", "PATCH", "PUT", "GET"):
        registry.on(method, "/me/base/", maybe, times=10_000)
    result = push(connect(registry, chunk_size=CHUNK, retry=20))
    assert stands(registry)
    assert result.sent - result.repeated == len(DATA)
