"""How large chunks are: larger where the line is fast, and again as they began where that does not do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_registry import PROFILES, FakeRegistry, Handler, Reply, answer, error, reset_at
from registrykit import Bytes, Time, described, noise

from fastoci.errors import AccessDeniedError, RegistryError
from fastoci.events import BlobProgress, Event
from fastoci.registry.client import RegistryClient
from fastoci.registry.session import Mode, UploadSession
from fastoci.registry.upload import UploadResult, upload_blob
from oracles.kills import KilledError

FIRST, LARGEST = 100_000, 400_000
DATA = noise(1_950_001)
UPLOADS = "/blobs/uploads/"

Connect = Callable[..., RegistryClient]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sizes of a thousandth or so of the real ones, and a state directory of its own."""
    for module in ("session", "upload_work"):
        monkeypatch.setattr(f"fastoci.registry.{module}.DEFAULT_CHUNK", FIRST)
    monkeypatch.setattr("fastoci.registry.upload_work.LARGEST_CHUNK", LARGEST)
    monkeypatch.setenv("FASTOCI_STATE_DIR", str(tmp_path / "state"))


def push(
    client: RegistryClient, data: bytes = DATA, sink: Callable[[Event], None] = lambda event: None
) -> UploadResult:
    return upload_blob(client, "me/base", described(data), Bytes(data), title="layer", sink=sink)


def stands(registry: FakeRegistry, data: bytes = DATA) -> bool:
    return registry.blobs.get("me/base", {}).get(str(described(data).digest)) == data


def sizes(registry: FakeRegistry) -> list[int]:
    return [int(seen.headers["content-length"]) for seen in registry.requests("PATCH")]


def refuse_over(most: int, reply: Callable[[Handler], Reply | None]) -> Callable[[Handler], Reply | None]:
    return lambda handler: reply(handler) if handler.unread > most else handler.dispatch()


def test_they_grow_on_a_fast_line(registry: FakeRegistry, connect: Connect) -> None:
    push(connect(registry))
    assert stands(registry)
    assert sizes(registry) == [100_000, 200_000, 400_000, 400_000, 400_000, 400_000, 50_001]


def test_they_stay_on_a_slow_one(registry: FakeRegistry, connect: Connect, time: Time) -> None:
    def slowly(handler: Handler) -> Reply:
        time.now += 1.5
        return handler.dispatch()

    registry.on("PATCH", UPLOADS, slowly, times=99)
    push(connect(registry))
    assert set(sizes(registry)) == {100_000, 50_001}


def test_they_stay_where_the_user_says_how_large_they_are(registry: FakeRegistry, connect: Connect) -> None:
    push(connect(registry, chunk_size=150_000))
    assert sizes(registry) == [150_000] * 13 + [1]


@pytest.mark.parametrize("style", PROFILES)
def test_they_grow_where_a_registry_says_nothing_of_them(registry: FakeRegistry, connect: Connect, style: str) -> None:
    """Who says how small they may be puts objects together from parts, which are to be of one size."""
    registry.style = style
    registry.repositories = {"me/base"}
    client = connect(registry)
    push(client)
    assert stands(registry)
    if registry.min_chunk is not None:
        assert len(set(sizes(registry)[:-1])) == 1
    if style == "ecr":  # which says nothing of them under a name that is not its own, and so had the blob sent twice
        assert client.profile.chunk == FIRST
        assert len(registry.requests("POST", UPLOADS)) == 2


@pytest.mark.parametrize("said", [150_000, 250_000])
def test_they_grow_to_what_a_registry_says_is_the_most(registry: FakeRegistry, connect: Connect, said: int) -> None:
    registry.max_chunk = str(said)
    push(connect(registry))
    assert stands(registry)
    assert max(sizes(registry)) == said


def test_a_line_that_breaks_makes_them_small_again(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, reset_at(399_999), skip=3)
    result = push(connect(registry))
    assert stands(registry)
    assert sizes(registry) == [100_000, 200_000, 400_000, 400_000, 100_000, 200_000, 400_000, 150_002]
    assert (result.repeated, result.resumed) == (1, 1)  # the byte that was cut off


@pytest.mark.parametrize("style", ["2.8", "zot"])
def test_what_a_lost_session_costs_is_no_more_than_was_sent(
    registry: FakeRegistry, connect: Connect, style: str
) -> None:
    registry.style = style
    registry.on("PATCH", UPLOADS, reset_at(50_000), skip=4)
    result = push(connect(registry))
    assert stands(registry)
    assert result.sent <= len(DATA) + 1_100_000 + LARGEST


@pytest.mark.parametrize("refusal", [answer(413), error(416, "BLOB_UPLOAD_INVALID", "chunk too large")])
def test_one_that_is_too_large_is_halved(
    registry: FakeRegistry, connect: Connect, refusal: Callable[[Handler], Reply | None]
) -> None:
    registry.on("PATCH", UPLOADS, refuse_over(250_000, refusal), times=99)
    client = connect(registry)
    push(client)
    assert stands(registry)
    assert sizes(registry).count(400_000) == 1
    assert client.profile.chunk == 200_000
    registry.seen.clear()
    push(connect(registry), noise(900_000, 2))
    assert max(sizes(registry)) == 200_000  # another run knows it as well


@pytest.mark.parametrize("status", [400, 422])
def test_who_does_not_say_what_is_wrong_with_it_gets_the_first_size(
    registry: FakeRegistry, connect: Connect, status: int
) -> None:
    registry.on("PATCH", UPLOADS, refuse_over(250_000, answer(status)), times=99)
    client = connect(registry)
    push(client)
    assert stands(registry)
    assert client.profile.chunk == FIRST
    assert sizes(registry).count(400_000) == 1


def test_a_no_stays_one(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, error(403, "DENIED", "quota"), skip=2)
    with pytest.raises(AccessDeniedError, match="DENIED: quota"):
        push(connect(registry))
    assert len(sizes(registry)) == 3


def test_an_answer_that_stays_is_the_end(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(422), skip=2, times=99)
    with pytest.raises(RegistryError, match="does not take layer"):
        push(connect(registry))
    assert sizes(registry) == [100_000, 200_000, 400_000, 100_000]


@pytest.mark.parametrize("style", ["3.1", "2.8"])
@pytest.mark.parametrize("number", range(1, 6))
def test_killed_in_a_chunk_that_has_grown(
    registry: FakeRegistry, connect: Connect, style: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run goes on in the middle of it, where the registry can."""
    registry.style = style
    kept = 150_000 if number == 1 else 350_000  # more than the chunk before had
    with monkeypatch.context() as patch:
        # The session ends here as by SIGKILL: the registry holds a part of the chunk, and nobody has noted it.
        patch.setattr("fastoci.registry.upload_work.UploadWork.failed", _killed)
        registry.on("PATCH", UPLOADS, reset_at(kept), skip=number)
        with pytest.raises(KilledError):
            push(connect(registry))
    before = sum(itertools.islice((100_000, 200_000, 400_000, 400_000, 400_000), number))
    result = push(connect(registry))
    assert stands(registry)
    assert result.sent == len(DATA) - (before + kept if style == "3.1" else 0)


def _killed(*_: object) -> None:
    raise KilledError


def test_progress_is_told_as_ever(registry: FakeRegistry, connect: Connect) -> None:
    events: list[Event] = []
    push(connect(registry), sink=events.append)
    done = [event.done for event in events if isinstance(event, BlobProgress)]
    assert done == sorted(done)
    assert done[-1] == len(DATA)


def test_a_session_by_itself() -> None:
    session = UploadSession(Mode.CHUNKED, FIRST, LARGEST)
    session.grow_chunk(1.0)
    assert session.chunk == FIRST
    assert not session.shrink_chunk()
    for expected in (2 * FIRST, LARGEST, LARGEST):
        session.grow_chunk(0.9)
        assert session.chunk == expected
    assert session.shrink_chunk()
    assert session.chunk == FIRST
    session.limit_chunk(150_000, None)
    session.grow_chunk(0.0)
    assert (session.chunk, session.shrink_chunk()) == (150_000, False)
