"""Uploads of blobs that are still being made: against a registry that breaks, forgets, or has them already."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_registry import FakeRegistry, Handler, Reply, answer, change, error, lose_answer, reset_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registrykit import Growing, described, noise

from fastoci.errors import BlobMismatchError, RegistryError, TreeError
from fastoci.events import BlobDone, BlobProgress, Event, Resumed
from fastoci.registry.client import RegistryClient
from fastoci.registry.upload import UploadResult, upload_growing
from oracles.kills import killed_from

CHUNK = 100_000
DATA = noise(450_001, 7)
DIGEST = str(described(DATA).digest)
UPLOADS = "/blobs/uploads/"

Connect = Callable[..., RegistryClient]


def push(
    client: RegistryClient, source: Growing, events: list[Event] | None = None, mount_from: str | None = None
) -> UploadResult:
    sink = (events if events is not None else []).append
    return upload_growing(client, "me/base", source, title="rootfs", sink=sink, mount_from=mount_from)


def stands(registry: FakeRegistry, data: bytes = DATA) -> bool:
    return registry.blobs.get("me/base", {}).get(str(described(data).digest)) == data


def heads(registry: FakeRegistry) -> int:
    return len(registry.requests("HEAD"))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state"
    monkeypatch.setenv("FASTOCI_STATE_DIR", str(path))
    return path


def documents(state: Path) -> list[Path]:
    return sorted((state / "uploads").glob("*.json"))


@pytest.mark.parametrize("style", ["3.1", "2.8", "zot"])
def test_chunks_go_out_as_they_are_made(registry: FakeRegistry, connect: Connect, style: str) -> None:
    registry.style = style
    source, events = Growing(DATA, made=0), []
    done: list[UploadResult] = []
    thread = threading.Thread(target=lambda: done.append(push(connect(registry, chunk_size=CHUNK), source, events)))
    thread.start()
    for number in range(4):
        source.grow((number + 1) * CHUNK)
    source.grow()
    thread.join(30)
    assert stands(registry)
    [result] = done
    assert (result.how, result.size, result.sent, result.repeated) == ("pushed", len(DATA), len(DATA), 0)
    assert heads(registry) == 1  # when it was whole
    progress = [event for event in events if isinstance(event, BlobProgress)]
    assert {event.total for event in progress} <= {None, len(DATA)}
    assert (progress[0].total, progress[-1].total, progress[-1].done) == (None, len(DATA), len(DATA))
    assert events[-1] == BlobDone(DIGEST, "rootfs", len(DATA), "pushed", result.seconds, "place:1")


def test_a_chunk_is_sent_before_the_next_is_made(registry: FakeRegistry, connect: Connect) -> None:
    source = Growing(DATA, made=CHUNK)
    arrived = threading.Event()

    def take(handler: Handler) -> Reply | None:
        arrived.set()
        return handler.dispatch()

    registry.on("PATCH", UPLOADS, take)
    thread = threading.Thread(target=push, args=(connect(registry, chunk_size=CHUNK), source))
    thread.start()
    assert arrived.wait(30), "the first chunk is on its way, and no more has been made"
    assert not source.whole
    source.grow()
    thread.join(30)
    assert stands(registry)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.tuples(st.integers(0, 4), st.integers(0, CHUNK - 1)), min_size=1, max_size=4),
    style=st.sampled_from(["3.1", "2.8", "zot"]),
)
def test_cut_at_any_byte(
    start_registry: Callable[[], FakeRegistry], connect: Connect, cuts: list[tuple[int, int]], style: str
) -> None:
    registry = start_registry()
    registry.style = style
    for skip, at in cuts:
        registry.on("PATCH", UPLOADS, reset_at(at), skip=skip)
    result = push(connect(registry, chunk_size=CHUNK), Growing(DATA))
    assert stands(registry)
    assert registry.sessions == {} or style != "3.1"
    assert result.sent - result.repeated <= len(DATA)


def test_an_answer_that_is_lost(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, lose_answer, times=2)
    registry.on("PUT", UPLOADS, lose_answer)
    result = push(connect(registry, chunk_size=CHUNK), Growing(DATA))
    assert stands(registry)
    assert (result.sent, result.repeated) == (len(DATA), 0)


# The digest becomes known in the middle.


def has_it_when_asked(registry: FakeRegistry, source: Growing, at: int, name: str = "me/base") -> None:
    """Have the blob made, and stand, when the PATCH number `at` has come in whole."""

    def act(handler: Handler) -> Reply | None:
        reply = handler.dispatch()
        registry.put_blob(name, DATA)
        source.grow()
        return reply

    registry.on("PATCH", UPLOADS, act, skip=at)


@pytest.mark.parametrize("at", [0, 2])
def test_a_blob_that_stands_is_not_sent_on(registry: FakeRegistry, connect: Connect, state: Path, at: int) -> None:
    source = Growing(DATA, made=(at + 1) * CHUNK)
    has_it_when_asked(registry, source, at)
    events: list[Event] = []
    result = push(connect(registry, chunk_size=CHUNK), source, events)
    assert (result.how, result.sent) == ("skipped", (at + 1) * CHUNK)
    assert registry.sessions == {}, "the session was closed"
    assert len(registry.requests("DELETE")) == 1
    assert registry.requests("PUT") == []
    assert isinstance(events[-1], BlobDone)
    assert events[-1].how == "skipped"
    assert list((state / "uploads").iterdir()) == []


def test_a_blob_that_stands_ends_a_chunk_on_its_way(registry: FakeRegistry, connect: Connect) -> None:
    """In the middle of a PATCH, which the registry sees broken off."""
    data = noise(2_000_000, 9)
    source = Growing(data, made=1_900_000)
    read = source.read_at

    def read_at(offset: int, size: int) -> bytes:
        if offset >= 1_000_000:
            source.grow()
        return read(offset, size)

    source.read_at = read_at  # type: ignore[method-assign]
    registry.put_blob("me/base", data)
    result = push(connect(registry, chunk_size=1_900_000), source)
    assert result.how == "skipped"
    assert 1_000_000 <= result.sent < 1_500_000
    assert registry.requests("PUT") == []


def test_a_blob_that_can_be_mounted_is_not_sent_on(registry: FakeRegistry, connect: Connect) -> None:
    source = Growing(DATA, made=CHUNK)
    has_it_when_asked(registry, source, 0, "you/other")
    result = push(connect(registry, chunk_size=CHUNK), source, mount_from="you/other")
    assert (result.how, result.sent) == ("mounted", CHUNK)
    assert stands(registry)
    assert registry.sessions == {}


def test_a_mount_that_is_not_made_changes_nothing(registry: FakeRegistry, connect: Connect) -> None:
    source = Growing(DATA, made=CHUNK)
    registry.on("PATCH", UPLOADS, lambda handler: (source.grow(), handler.dispatch())[1])
    result = push(connect(registry, chunk_size=CHUNK), source, mount_from="you/other")
    assert (result.how, result.sent) == ("pushed", len(DATA))
    assert stands(registry)
    assert registry.sessions == {}, "the session that the refused mount opened was closed as well"


@pytest.mark.parametrize("how", [answer(503), error(403, "DENIED"), lose_answer])
def test_no_answer_to_the_question_is_no(
    registry: FakeRegistry, connect: Connect, how: Callable[[Handler], Reply | None]
) -> None:
    registry.on("HEAD", "/blobs/", how)
    result = push(connect(registry, chunk_size=CHUNK), Growing(DATA))
    assert (result.how, result.sent) == ("pushed", len(DATA))
    assert stands(registry)


@pytest.mark.parametrize("mode", ["monolithic", "streamed"])
def test_what_travels_as_a_whole_waits_until_it_is_whole(registry: FakeRegistry, connect: Connect, mode: str) -> None:
    client = connect(registry, chunk_size=CHUNK, **({"upload": mode} if mode == "monolithic" else {}))
    if mode == "streamed":  # Google: no second PATCH
        registry.on("PATCH", UPLOADS, answer(405), skip=1)
    source = Growing(DATA, made=0)
    asked: list[int] = []
    wait = source.wait

    def waited(offset: int | None) -> int:
        asked.append(len([seen for seen in registry.seen if seen.method in {"PATCH", "PUT"}]))
        source.grow()
        return wait(offset)

    source.wait = waited  # type: ignore[method-assign]
    push(client, source)
    assert stands(registry)
    assert asked[0] == 0
    last = registry.requests("PUT" if mode == "monolithic" else "PATCH")[-1]
    assert int(last.headers["content-length"]) == len(DATA)


# A source that fails.


def test_a_source_that_is_at_fault_closes_the_session(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    source = Growing(DATA, made=CHUNK)
    registry.on("PATCH", UPLOADS, lambda handler: (source.fail(TreeError("changed", path="x")), handler.dispatch())[1])
    with pytest.raises(TreeError, match="changed"):
        push(connect(registry, chunk_size=CHUNK), source)
    assert registry.sessions == {}
    assert list((state / "uploads").iterdir()) == []


def test_a_source_that_only_stops_leaves_the_session(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    class StoppedError(Exception):
        pass

    source = Growing(DATA, made=CHUNK)
    registry.on("PATCH", UPLOADS, lambda handler: (source.fail(StoppedError()), handler.dispatch())[1])
    with pytest.raises(StoppedError):
        push(connect(registry, chunk_size=CHUNK), source)
    assert len(registry.sessions) == len(documents(state)) == 1


# Killed, and run again.


def push_until(client: RegistryClient, source: Growing, offset: int) -> None:
    """Push, and be killed where the chunk at `offset` would be sent."""
    with killed_from(offset):
        push(client, source)


@pytest.mark.parametrize("style", ["3.1", "2.8", "zot"])
def test_goes_on_after_being_killed_between_chunks(
    registry: FakeRegistry, connect: Connect, state: Path, style: str
) -> None:
    registry.style = style
    push_until(connect(registry, chunk_size=CHUNK), Growing(DATA, made=300_000), 200_000)
    events: list[Event] = []
    result = push(connect(registry, chunk_size=CHUNK), Growing(DATA), events)
    assert stands(registry)
    assert (result.sent, result.repeated, result.resumed) == (len(DATA) - 200_000, 0, 1)
    assert [event for event in events if isinstance(event, Resumed)] == [Resumed("rootfs", 200_000, None)]
    assert len(registry.requests("POST")) == 1
    assert list((state / "uploads").iterdir()) == []


def kill_in_the_middle(registry: FakeRegistry, connect: Connect, source: Growing, kept: int) -> None:
    """Leave a session that holds two chunks and `kept` bytes more, and a journal that knows of two chunks."""
    registry.on("PATCH", UPLOADS, reset_at(kept), skip=2)
    registry.on("GET", UPLOADS, answer(503), times=99)
    with pytest.raises(RegistryError) as caught:
        push(connect(registry, chunk_size=CHUNK, retry=1), source)
    assert caught.value.hint == "run the same command again: 195.3 KiB stand already"
    assert caught.value.what == "upload of rootfs stopped at 195.3 KiB"
    registry.rules.clear()


def test_goes_on_in_the_middle_of_a_chunk_that_is_still_to_be_made(
    registry: FakeRegistry, connect: Connect, state: Path
) -> None:
    """The registry holds more than the journal knows of, and more than this run has made when it asks."""
    kill_in_the_middle(registry, connect, Growing(DATA, made=300_000), 50_000)
    source = Growing(DATA, made=0)
    wait = source.wait

    def waited(offset: int | None) -> int:
        source.grow(None if offset is not None and offset >= len(DATA) else offset)
        return wait(offset)

    source.wait = waited  # type: ignore[method-assign]
    result = push(connect(registry, chunk_size=CHUNK), source)
    assert stands(registry)
    assert (result.sent, result.resumed) == (len(DATA) - 250_000, 1)
    assert len(registry.requests("POST")) == 1
    assert list((state / "uploads").iterdir()) == []


@pytest.mark.parametrize("at", [0, 199_999, 240_000])
def test_other_bytes_begin_anew(registry: FakeRegistry, connect: Connect, state: Path, at: int) -> None:
    """Where the tree has changed in what was acknowledged, or in the chunk that was on its way."""
    kill_in_the_middle(registry, connect, Growing(DATA, made=300_000), 50_000)
    data = DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :]
    result = push(connect(registry, chunk_size=CHUNK), Growing(data))
    assert stands(registry, data)
    assert (result.sent, result.resumed) == (len(data), 0)
    assert registry.sessions == {}, "that of the earlier run was closed"


def test_a_change_behind_what_was_sent_costs_nothing(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    kill_in_the_middle(registry, connect, Growing(DATA, made=300_000), 50_000)
    data = DATA[:300_000] + noise(99_999, 8)
    result = push(connect(registry, chunk_size=CHUNK), Growing(data))
    assert stands(registry, data)
    assert (result.sent, result.resumed) == (len(data) - 250_000, 1)


def test_a_shorter_blob_than_was_sent(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    kill_in_the_middle(registry, connect, Growing(DATA, made=300_000), 50_000)
    result = push(connect(registry, chunk_size=CHUNK), Growing(DATA[:150_000]))
    assert stands(registry, DATA[:150_000])
    assert result.sent == 150_000


@pytest.mark.parametrize("said", ["0-399999", "0-99999999999999", "bytes=0-9", "0-0", "junk"])
def test_a_registry_that_claims_other_bytes_than_it_holds(
    registry: FakeRegistry, connect: Connect, state: Path, said: str
) -> None:
    """What a session is said to hold is believed until the digest decides; then all is sent again, once."""
    push_until(connect(registry, chunk_size=CHUNK), Growing(DATA, made=300_000), 200_000)
    registry.on("GET", UPLOADS, change(Range=said))
    push(connect(registry, chunk_size=CHUNK), Growing(DATA))
    assert stands(registry)


def test_a_journal_with_a_proof_that_is_none(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    push_until(connect(registry, chunk_size=CHUNK), Growing(DATA, made=300_000), 200_000)
    [path] = documents(state)
    path.write_text(json.dumps({**json.loads(path.read_text()), "proof": "200000:0"}))
    result = push(connect(registry, chunk_size=CHUNK), Growing(DATA))
    assert stands(registry)
    assert result.sent == len(DATA)


def test_two_at_once_do_not_share_a_session(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    first, second = Growing(DATA, made=CHUNK), Growing(DATA)
    thread = threading.Thread(target=push, args=(connect(registry, chunk_size=CHUNK), first))
    thread.start()
    first.grow(2 * CHUNK)
    push(connect(registry, chunk_size=CHUNK), second)
    assert stands(registry)
    first.grow()
    thread.join(30)
    assert not thread.is_alive()
    assert len(registry.requests("POST")) == 2
    assert list((state / "uploads").iterdir()) == []


def test_a_state_directory_that_is_full(
    registry: FakeRegistry, connect: Connect, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal fails in the middle: one warning, and the upload goes on."""
    push_until(connect(registry, chunk_size=CHUNK), Growing(DATA, made=300_000), 200_000)
    replaced: list[str] = []

    def replace(source: str, target: str) -> None:
        replaced.append(target)
        raise OSError(28, "No space left on device")

    client = connect(registry, chunk_size=CHUNK)
    monkeypatch.setattr("fastoci.registry.statedir.os.replace", replace)
    push(client, Growing(DATA))
    assert stands(registry)
    assert replaced
    assert documents(state) == [], "an old note would be worse than none"


def test_a_digest_that_is_refused_is_looked_into(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PUT", UPLOADS, error(400, "DIGEST_INVALID"), times=2)
    with pytest.raises(BlobMismatchError, match="does not receive rootfs as it was sent"):
        push(connect(registry, chunk_size=CHUNK), Growing(DATA))
    assert not stands(registry)
