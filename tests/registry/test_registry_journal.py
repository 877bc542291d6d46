"""The journal: an upload goes on in another run, and nothing that stands there can stop or mislead it."""

from __future__ import annotations

import json
import os
import stat
import threading
import time as real_time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_registry import FakeRegistry, answer, error, reset_at
from registrykit import Bytes, described, noise

from fastoci.errors import BlobMismatchError, RegistryError
from fastoci.events import Event, Resumed, Retry, Warned
from fastoci.registry.client import RegistryClient
from fastoci.registry.journal import open_journal
from fastoci.registry.statedir import StateDirectory, default_path
from fastoci.registry.upload import UploadResult, upload_blob
from oracles.kills import killed_from

CHUNK = 100_000
DATA = noise(450_001)
UPLOADS = "/blobs/uploads/"

Connect = Callable[..., RegistryClient]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state"
    monkeypatch.setenv("FASTOCI_STATE_DIR", str(path))
    return path


def push(client: RegistryClient, data: bytes = DATA, events: list[Event] | None = None) -> UploadResult:
    sink = (events if events is not None else []).append
    return upload_blob(client, "me/base", described(data), Bytes(data), title="layer", sink=sink)


def push_until(client: RegistryClient, offset: int, data: bytes = DATA) -> None:
    """Push, and be killed where the chunk at `offset` would be sent."""
    with killed_from(offset):
        push(client, data)


def documents(state: Path) -> list[Path]:
    return sorted((state / "uploads").glob("*.json"))


def edit(state: Path, **values: object) -> None:
    [path] = documents(state)
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def stands(registry: FakeRegistry, data: bytes = DATA) -> bool:
    return registry.blobs.get("me/base", {}).get(str(described(data).digest)) == data


def ranges(registry: FakeRegistry) -> list[str]:
    return [seen.headers["content-range"] for seen in registry.requests("PATCH")]


@pytest.mark.parametrize("style", ["3.1", "2.8", "zot"])
def test_goes_on_after_being_killed_between_chunks(
    registry: FakeRegistry, connect: Connect, state: Path, style: str
) -> None:
    registry.style = style
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    events: list[Event] = []
    result = push(connect(registry, chunk_size=CHUNK), events=events)
    assert stands(registry)
    assert result.sent == len(DATA) - 200_000
    assert result.resumed == 1
    assert [event for event in events if isinstance(event, Resumed | Retry)] == [Resumed("layer", 200_000, len(DATA))]
    assert len(registry.requests("POST")) == 1
    assert list((state / "uploads").iterdir()) == []


@pytest.mark.parametrize(("style", "sent"), [("3.1", len(DATA) - 250_000), ("2.8", len(DATA)), ("zot", len(DATA))])
def test_killed_in_the_middle_of_a_chunk(
    registry: FakeRegistry, connect: Connect, state: Path, style: str, sent: int
) -> None:
    """Only where the registry cannot go on does the blob start over, and what is said tells which it was."""
    registry.style = style
    registry.on("PATCH", UPLOADS, reset_at(50_000), skip=2)
    registry.on("GET", UPLOADS, answer(503), times=99)
    with pytest.raises(RegistryError) as caught:
        push(connect(registry, chunk_size=CHUNK, retry=1))
    assert caught.value.hint == "run the same command again: 195.3 of 439.5 KiB stand already"
    registry.rules.clear()
    events: list[Event] = []
    result = push(connect(registry, chunk_size=CHUNK), events=events)
    assert stands(registry)
    assert result.sent == sent
    if style == "3.1":
        assert Resumed("layer", 250_000, len(DATA)) in events
    else:
        [retry] = [event for event in events if isinstance(event, Retry)]
        assert "the upload of an earlier run is lost" in retry.reason
        assert retry.resumed_at == 0


def test_killed_before_the_commit(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    registry.on("PUT", UPLOADS, answer(503), times=99)
    with pytest.raises(RegistryError):
        push(connect(registry, chunk_size=CHUNK, retry=1))
    registry.rules.clear()
    assert push(connect(registry, chunk_size=CHUNK)).sent == 0
    assert stands(registry)


def test_a_blob_that_came_to_stand_meanwhile(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    registry.put_blob("me/base", DATA)
    assert push(connect(registry, chunk_size=CHUNK)).how == "skipped"
    assert documents(state) == []


def test_a_session_is_gone_on_with_in_its_own_chunks(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    push(connect(registry, chunk_size=2 * CHUNK))
    assert ranges(registry)[-3:] == ["200000-299999", "300000-399999", "400000-450000"]


def test_nobody_else_can_read_it(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    [path] = documents(state)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    noted = json.loads(path.read_text())
    assert (noted["offset"], noted["size"], noted["mode"], noted["repository"]) == (
        200_000, 450_001, "chunked", "me/base",
    )  # fmt: skip
    assert "_state" in noted["location"]


def test_no_credential_is_in_it(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    registry.auth = "token"
    push_until(connect(registry, chunk_size=CHUNK, credentials=("me", "sec:ret")), 200_000)
    [path] = documents(state)
    text = path.read_text()
    assert "sec:ret" not in text
    assert not any(token in text for token in registry.tokens)


@pytest.mark.parametrize("values", [
    {"repository": "you/base"}, {"origin": "http://127.0.0.2:1"}, {"subject": "sha256:" + "0" * 64}, {"size": 1},
    {"format": 2}, {"time": 1.0}, {"time": "now"}, {"time": 1e12}, {"offset": -1}, {"offset": 450_002},
    {"offset": "200000"}, {"offset": True}, {"offset": 1 << 80}, {"chunk": 0}, {"minimum": 0}, {"minimum": 1 << 60},
    {"mode": "other"}, {"mode": None}, {"proof": 3}, {"location": 3}, {"location": ""},
    {"location": "http://user:pass@127.0.0.1/"}, {"location": "http://10.0.0.1/v2/me/base/blobs/uploads/x"},
    {"location": "http://127.0.0.1/\r\nX: y"}, {"location": "file:///etc/passwd"},
], ids=str)  # fmt: skip
def test_what_is_not_ours_is_ignored(
    registry: FakeRegistry, connect: Connect, state: Path, values: dict[str, object]
) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    edit(state, **values)
    assert push(connect(registry, chunk_size=CHUNK)).sent == len(DATA)
    assert stands(registry)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\0" * 300, b"[" * 60_000, b"{}", b"\xff\xfe"])
def test_what_is_torn_is_ignored(registry: FakeRegistry, connect: Connect, state: Path, text: bytes) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    [path] = documents(state)
    path.write_bytes(text)
    assert push(connect(registry, chunk_size=CHUNK)).sent == len(DATA)


def test_what_others_could_have_written_is_ignored(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    [path] = documents(state)
    path.chmod(0o622)
    assert push(connect(registry, chunk_size=CHUNK)).sent == len(DATA)


def test_no_link_and_no_pipe_is_followed(registry: FakeRegistry, connect: Connect, state: Path, tmp_path: Path) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    [path] = documents(state)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert push(connect(registry, chunk_size=CHUNK)).sent == len(DATA)
    os.mkfifo(path)
    assert push(connect(registry, chunk_size=CHUNK)).how == "skipped"


def test_a_wrong_offset_is_corrected_by_the_registry(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    edit(state, offset=300_000)
    assert push(connect(registry, chunk_size=CHUNK)).sent == len(DATA) - 200_000
    assert stands(registry)


def test_a_session_of_other_bytes_does_not_become_the_blob(
    registry: FakeRegistry, connect: Connect, state: Path
) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    [session] = registry.sessions.values()
    session.data[100] ^= 1
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)


def test_another_way_asked_for_begins_anew(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    assert push(connect(registry, upload="monolithic")).sent == len(DATA)
    assert stands(registry)


def test_two_pushers_of_one_blob(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    meet = threading.Barrier(2, timeout=20)

    def slow(handler: object) -> None:
        meet.wait()
        return handler.dispatch()  # type: ignore[attr-defined]  # a Handler

    registry.on("PATCH", UPLOADS, slow, times=2)
    results: list[UploadResult] = []
    threads = [
        threading.Thread(target=lambda: results.append(push(connect(registry, chunk_size=CHUNK)))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.how for result in results] == ["pushed", "pushed"]
    assert stands(registry)
    assert list((state / "uploads").iterdir()) == []


def test_a_lock_that_another_has(state: Path) -> None:
    directory = StateDirectory("uploads", [].append, life=10.0)
    first = directory.lock("a")
    assert first is not None
    assert directory.lock("a") is None
    first.release()
    second = directory.lock("a")
    assert second is not None
    second.release()


def test_small_blobs_are_not_worth_it(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    push(connect(registry), noise(10_000))
    assert not (state / "uploads").exists()


def test_a_directory_that_cannot_be_made(
    registry: FakeRegistry, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASTOCI_STATE_DIR", str(tmp_path / "file/state"))
    events: list[Event] = []
    client = connect(registry, chunk_size=CHUNK)
    client.journals = StateDirectory("uploads", events.append, life=10.0)
    push(client, events=events)
    push(client, noise(450_000, 2), events=events)
    assert stands(registry)
    [warning] = [event for event in events if isinstance(event, Warned)]
    assert "not a directory" in warning.message
    assert "FASTOCI_STATE_DIR" in str(warning.hint)


def test_a_disk_that_fills_up(
    registry: FakeRegistry, connect: Connect, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was noted before is taken away: it would be of the past."""
    real, calls = os.write, []

    def full(fd: int, data: bytes) -> int:
        calls.append(fd)
        return real(fd, data) if len(calls) < 3 else real(fd, data[:10])

    monkeypatch.setattr("fastoci.registry.statedir.os.write", full)
    push(connect(registry, chunk_size=CHUNK))
    assert stands(registry)
    assert len(calls) > 3  # what is known of the host went in, too
    assert list((state / "uploads").iterdir()) == []


def test_what_is_too_old_is_swept(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    (state / "uploads").mkdir(parents=True)
    long_ago = real_time.time() - 8 * 86400
    for name in ("a.json", ".b", "c.lock"):
        (state / "uploads" / name).write_text("")
        os.utime(state / "uploads" / name, (long_ago, long_ago))
    (state / "uploads/young.json").write_text("{}")
    push(connect(registry, chunk_size=CHUNK))
    assert [path.name for path in (state / "uploads").iterdir()] == ["young.json"]


def test_what_is_refused_for_good_is_forgotten(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    registry.on("PUT", UPLOADS, error(400, "DIGEST_INVALID"), times=99)
    with pytest.raises(BlobMismatchError):
        push(connect(registry, chunk_size=CHUNK))
    assert documents(state) == []


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.delenv("FASTOCI_STATE_DIR")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_path() == f"{home}/.local/state/fastoci"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_path() == f"{home}/.local/state/fastoci"
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert default_path() == "/x/fastoci"
    monkeypatch.setenv("FASTOCI_STATE_DIR", "/y")
    assert default_path() == "/y"


def test_a_journal_is_of_one_place(registry: FakeRegistry, connect: Connect, state: Path) -> None:
    client = connect(registry)
    digest = str(described(DATA).digest)
    names = set()
    for repository, subject in (("a", digest), ("b", digest), ("a", "plan:1")):
        journal = open_journal(client.journals, client.origin, repository, subject, 1 << 20)
        names.add(journal._name)
        journal.close()
    assert len(names) == 3


@pytest.mark.parametrize(
    "trouble", ["nobody is there", "not allowed", "away for ever", "redirected where we do not go"]
)
def test_a_session_that_cannot_be_asked_about_is_no_reason_to_fail(
    registry: FakeRegistry, connect: Connect, state: Path, trouble: str
) -> None:
    """Else every later run would fail in the same way, for as long as the journal lives."""
    push_until(connect(registry, chunk_size=CHUNK), 200_000)
    if trouble == "nobody is there":
        edit(state, location="http://127.0.0.1:1/x?_state=1")
    elif trouble == "not allowed":
        registry.on("GET", UPLOADS, error(403, "DENIED"), times=99)
    elif trouble == "away for ever":
        registry.on("GET", UPLOADS, answer(503), times=99)
    else:
        registry.on("GET", UPLOADS, answer(307, Location="http://10.0.0.1/"), times=99)
    events: list[Event] = []
    assert push(connect(registry, chunk_size=CHUNK), events=events).sent == len(DATA)
    assert stands(registry)
    assert documents(state) == []
    [lost] = [event for event in events if isinstance(event, Retry) and event.resumed_at == 0]
    assert "the upload of an earlier run is lost" in lost.reason
