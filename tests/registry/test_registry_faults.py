"""Every fault that can be injected into a push, as a table: what is done to it, and what must come of it.

A row ends in the right bytes under the right digest, or in one declared error: its class, its exit code, what it says
and what it advises. Each has bounds: how many requests were made, how many seconds were waited for (by a clock that is
made up), how many bytes the registry got beyond those of the blob. What takes two hosts is in `test_registry_leaks`,
what takes TLS in `test_registry_tls`, two pushers and a journal that cannot be written in `test_registry_journal`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from fake_registry import (
    PASSWORD,
    USER,
    FakeRegistry,
    answer,
    change,
    error,
    lose_answer,
    reset_at,
    shortened,
    silent,
    talk,
)
from faultscene import (
    CHUNK,
    DATA,
    EVER,
    Scene,
    both,
    changed,
    drips,
    early,
    idle_connection_closed,
    keeps_nothing,
    loses_bytes,
    moved,
    on,
    restarted,
    says_it_stands,
    shrank,
    spoils,
    stale_location,
    tokens_run_out,
    too_late,
)
from registrykit import Bytes, Time, described
from urllib3.util import Timeout

from fastoci.errors import AccessDeniedError, BlobMismatchError, RegistryError, RegistryResponseError
from fastoci.registry.client import RegistryClient
from fastoci.registry.upload import upload_blob

Connect = Callable[..., RegistryClient]


@dataclass(frozen=True)
class Row:
    """One fault and what must come of it.

    Args:
        what: In the words of the list of faults.
        inject: Does it.
        error: What it ends in; None is the blob.
        says: Words of the error and of its cause.
        hint: A word of its advice.
        again: Bytes that the registry may get beyond those of the blob.
        requests: How many may be made.
        waits: Seconds that must be waited for at least, and may be at most.
        style: Whom the registry plays.
        auth: How it lets in.
        hasty: Whether time limits are a third of a second, for servers that say nothing. On a busy machine more than
            what is meant may run into them: the bounds leave room for that.
    """

    what: str
    inject: Callable[[Scene], None]
    error: type[RegistryError] | None = None
    says: str = ""
    hint: str = ""
    again: int = 0
    requests: int = 30
    waits: tuple[float, float] = (0.0, 10.0)
    style: str = "3.1"
    auth: str | None = None
    hasty: bool = False


GARBAGE = b'{"errors": [{"code": "' + b"x" * (8 << 20)
UNKNOWN = "no space left on device"
AGAIN = "run the same command again"
OPENED = b"HTTP/1.1 202 A\r\nContent-Length: 0\r\nLocation: /v2/"

PUSH = [
    # Reset at byte N of a PATCH: first, middle, last, after.
    Row("reset before the first byte", on("PATCH", reset_at(0)), waits=(1.0, 1.0)),
    Row("reset at the first byte", on("PATCH", reset_at(1)), again=CHUNK, waits=(1.0, 3.0)),
    Row("reset in the middle", on("PATCH", reset_at(50_000), skip=2), waits=(1.0, 1.0)),
    Row("reset at the last byte", on("PATCH", reset_at(99_999), skip=1), waits=(1.0, 1.0)),
    Row("reset after the last byte", on("PATCH", reset_at(100_000), skip=1), waits=(1.0, 1.0)),
    Row("reset in the last chunk", on("PATCH", reset_at(50_000), skip=4), waits=(1.0, 1.0)),
    Row("reset 40 times, each further", on("PATCH", reset_at(10_000), times=40), requests=100, waits=(40.0, 40.0)),
    Row("reset in the middle, 2.8", on("PATCH", reset_at(50_000), skip=2), again=250_000, style="2.8", waits=(1, 2)),
    Row("reset in the middle, zot", on("PATCH", reset_at(50_000), skip=2), again=250_000, style="zot", waits=(1, 2)),
    Row("reset for ever, 2.8", on("PATCH", reset_at(50_000), times=EVER, skip=1), RegistryError,
        "5 sessions got no further", AGAIN, style="2.8", again=10 * CHUNK, waits=(10.0, 60.0)),
    Row("reset for ever before the first byte", on("PATCH", reset_at(0), times=EVER, skip=1), RegistryError,
        "97.7 of 439.5 KiB|connection reset; 8 failures without progress", "97.7 of 439.5 KiB", waits=(60, 70)),
    # The answer is lost.
    Row("answer lost to POST", on("POST", lose_answer), waits=(0.5, 0.5)),
    Row("answer lost to HEAD", on("HEAD", lose_answer), waits=(0.5, 0.5)),
    Row("answer lost to PATCH", on("PATCH", lose_answer, times=5), waits=(5.0, 5.0)),
    Row("answer lost to PATCH and to GET", both(on("PATCH", lose_answer), on("GET", lose_answer)), waits=(2.0, 3.0)),
    Row("answer lost to PUT", on("PUT", lose_answer), waits=(0.0, 1.0)),
    Row("answer lost to PUT, 2.8", on("PUT", lose_answer), style="2.8", waits=(0.0, 1.0)),
    Row("the commit fails, then stands late", too_late, waits=(15.0, 60.0)),
    # The server is killed and started again.
    Row("restarted", restarted(forgets=False), waits=(1.0, 10.0)),
    Row("restarted, sessions forgotten", restarted(forgets=True), again=2 * CHUNK, waits=(1.0, 10.0)),
    # 500, 502, 503, 504; 429.
    *(Row(f"{status} to PATCH", on("PATCH", answer(status), times=3), again=3 * CHUNK, waits=(5.0, 5.0))
      for status in (408, 425, 429, 500, 502, 503, 504)),
    *(Row(f"{status} to {method}", on(method, answer(status), times=3), waits=(3.0, 30.0))
      for status in (429, 500, 503) for method in ("HEAD", "POST", "PUT")),
    Row("503 for ever", on("PATCH", answer(503), times=EVER, skip=1), RegistryError,
        r"97.7 of 439.5 KiB|503; 8 failures without progress", AGAIN, again=8 * CHUNK, waits=(60, 70)),
    Row("503 for ever to HEAD", on("HEAD", answer(503), times=EVER), RegistryError, "503|8 failures in a row", AGAIN,
        waits=(60, 70)),
    Row("503 for ever to PUT", on("PUT", answer(503), times=EVER), RegistryError, "503; 8 failures", AGAIN,
        requests=90, waits=(60, 200)),
    Row("429, seconds", on("PATCH", answer(429, Retry_After="7")), again=CHUNK, waits=(7.0, 8.0)),
    Row("429, a date", on("PATCH", answer(429, Retry_After="Thu, 01 Jan 1970 00:17:00 GMT")), again=CHUNK,
        waits=(19.0, 22.0)),
    Row("429, a date gone by", on("PATCH", answer(429, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT")), again=CHUNK,
        waits=(1.0, 1.0)),
    Row("429, garbage", on("PATCH", answer(429, Retry_After="soon")), again=CHUNK, waits=(1.0, 1.0)),
    Row("429, 10^9", on("PATCH", answer(429, Retry_After="1000000000")), again=CHUNK, waits=(300.0, 301.0)),
    Row("429, 10^999", on("PATCH", answer(429, Retry_After="9" * 999)), again=CHUNK, waits=(1.0, 301.0)),
    Row("429 for ever", on("PATCH", answer(429, Retry_After="60"), times=EVER), RegistryError, "429; 8 failures", AGAIN,
        again=8 * CHUNK, waits=(420.0, 430.0)),
    # Truncated answers and headers.
    *(Row(f"truncated answer to {method}", on(method, talk(b"HTTP/1.1 202 Acc")), again=CHUNK, waits=(0.5, 10.0))
      for method in ("HEAD", "POST", "PATCH")),
    Row("truncated headers", on("PATCH", talk(b"HTTP/1.1 202 A\r\nRange: 0-9\r\nLocat")), again=CHUNK, waits=(1, 1)),
    Row("truncated body", on("PATCH", talk(b"HTTP/1.1 500 A\r\nContent-Length: 99\r\n\r\nx")), again=CHUNK,
        waits=(1.0, 1.0)),
    Row("no HTTP at all", on("PATCH", talk(b"\0\1\2\3" * 99)), again=CHUNK, waits=(1.0, 1.0)),
    # Tokens.
    Row("tokens that expire between each pair of requests", tokens_run_out, auth="token", again=EVER * CHUNK,
        requests=60, waits=(0.0, 0.0)),
    Row("401 for ever", on("PATCH", answer(401, WWW_Authenticate='Bearer realm="/token"'), times=EVER),
        AccessDeniedError, "not allowed to push|401", "fastoci login", auth="token", again=3 * CHUNK, waits=(0, 0)),
    Row("early 401 in mid-body", early(401), auth="token", waits=(0.0, 0.0)),
    # Location.
    Row("stale Location", stale_location, waits=(0.0, 0.0)),
    Row("stale Location, 2.8", stale_location, style="2.8", again=3 * CHUNK, waits=(0.0, 10.0)),
    # 416.
    *(Row(f"416, Range {said}", on("PATCH", answer(416, **({} if said is None else {"Range": said})), skip=1),
          again=CHUNK, waits=(0.5, 0.5)) for said in ("0-49999", "0-149999", "0-99999", "0-0", None)),
    Row("416 for ever", on("PATCH", answer(416), times=EVER, skip=1), RegistryError, "416|got no further",
        AGAIN, again=40 * CHUNK, requests=90, waits=(1.0, 90.0)),
    Row("416, too large", on("PATCH", error(416, "BLOB_UPLOAD_INVALID", "chunk too large")), again=CHUNK,
        waits=(0.5, 0.5)),
    # Range: stuck, off by one, prefixed.
    *(Row(f"Range {said}", on("PATCH", change(Range=said), times=EVER), waits=(0.0, 0.0))
      for said in ("0-0", None, "0--1", "garbage", "bytes=0-0", "1-5")),
    Row("Range stuck, and no GET", both(on("PATCH", change(Range="0-0"), times=EVER), on("GET", answer(404), times=9)),
        waits=(0.0, 0.0)),
    Row("Range prefixed", lambda scene: setattr(scene.registry, "reported_range", lambda held: f"bytes=0-{held - 1}"),
        waits=(0.0, 0.0)),
    Row("Range off by one after a reset", on("PATCH", reset_at(5000), skip=1), style="quay", again=CHUNK, waits=(1, 3)),
    Row("Range that goes back", loses_bytes, again=CHUNK + 150_000, waits=(1.0, 1.0)),
    *(Row(f"Range beyond what was sent, {said}", both(on("PATCH", answer(500), skip=1), on("GET", change(Range=said))),
          again=2 * CHUNK, waits=(1.0, 3.0)) for said in ("0-299999", "0-450000", "0-99999999", "0-" + "9" * 19)),
    Row("PATCH says more than was sent", on("PATCH", change(Range="0-400000"), skip=1), waits=(0.0, 1.0)),
    Row("part of a chunk", on("PATCH", shortened(0.5), skip=1), again=50_000, waits=(0.0, 0.0)),
    Row("parts of every chunk", on("PATCH", shortened(0.7), times=EVER), again=400_000, requests=60, waits=(0.0, 0.0)),
    Row("a few bytes of every chunk", on("PATCH", shortened(0.00001), times=EVER), RegistryError,
        "a few bytes|sessions got no further", AGAIN, again=90 * CHUNK, requests=120, waits=(5.0, 60.0)),
    Row("taken and not kept, twice", lambda scene: keeps_nothing(scene, 2), again=2 * CHUNK, waits=(0.0, 0.0)),
    Row("taken and never kept", lambda scene: keeps_nothing(scene, EVER), RegistryError, "sessions got no further",
        AGAIN, again=40 * CHUNK, requests=60, waits=(5.0, 60.0)),
    # The digest.
    Row("digest refused", lambda scene: spoils(scene, 1), again=len(DATA), waits=(0.5, 0.5)),
    Row("digest refused for ever", lambda scene: spoils(scene, EVER), BlobMismatchError,
        "does not receive layer as it was sent|DIGEST_INVALID", "proxy", again=len(DATA), waits=(0.5, 0.5)),
    Row("another digest in the answer", on("PUT", change(Docker_Content_Digest="sha256:" + "0" * 64), times=9)),
    Row("another digest, and it does not stand", both(
        on("PUT", answer(201, Docker_Content_Digest="sha256:" + "0" * 64)), on("HEAD", answer(404), times=9)),
        BlobMismatchError, "for something else|sha256:0000", waits=(7.0, 7.0)),
    Row("201 without the bytes", says_it_stands, BlobMismatchError, "does not stand", waits=(7.0, 7.0)),
    # The source.
    Row("source changed", changed, BlobMismatchError,
        "layer is not what it should be|DIGEST_INVALID|its bytes have the digest sha256:", "copy the image again"),
    Row("source shrank", shrank, BlobMismatchError, "changed while it was sent"),
    # Servers that do not read, drip, or say nothing.
    Row("a server that never reads", lambda scene: scene.on("PATCH", silent(scene.over, read=False), skip=1),
        hasty=True, again=CHUNK, waits=(1.0, 10.0)),
    Row("a server that drips", drips, hasty=True, again=2 * CHUNK, waits=(1.0, 10.0)),
    *(Row(f"silence after {method}", lambda scene, method=method: scene.on(method, silent(scene.over)), hasty=True,
          again=2 * CHUNK, waits=(0.5, 140.0)) for method in ("HEAD", "POST", "PATCH", "PUT")),
    # The server's disk.
    Row("no room at the server", on("PATCH", error(500, "UNKNOWN", UNKNOWN), times=EVER, skip=2), RegistryError,
        f"stopped at 195.3 of|{UNKNOWN}", AGAIN, again=8 * CHUNK, waits=(60, 70)),
    Row("no room at the server, 507", on("PATCH", error(507, "UNKNOWN", UNKNOWN), times=EVER), RegistryError,
        f"507|{UNKNOWN}", AGAIN, again=8 * CHUNK, waits=(60, 70)),
    Row("over the quota", on("PATCH", error(403, "DENIED", "quota exceeded")), AccessDeniedError, "quota exceeded",
        "fastoci login", again=CHUNK),
    # Redirects.
    Row("redirected and back", on("PATCH", moved, times=5), again=5 * CHUNK, waits=(0.0, 0.0)),
    Row("redirects in a loop", on("PATCH", moved, times=EVER), RegistryError, "redirects without end", again=6 * CHUNK),
    Row("redirected within", on("PATCH", answer(307, Location="http://10.1.2.3/x")), RegistryError, "private network",
        again=CHUNK),
    *(Row(f"{status} to PATCH", on("PATCH", answer(status, Location="/x")), RegistryResponseError, str(status),
          again=CHUNK) for status in (301, 302, 303)),
    # A Location that is no place to go to.
    *(Row(f"Location {where[:30]!r}", on("POST", answer(202, Location=where)), RegistryError,
          "sends us where we do not go") for where in (
        "file:///etc/passwd", "ftp://127.0.0.1/x", "http://u:p@127.0.0.1/x", "http://10.0.0.1/x", "http:///x",
        "http://169.254.169.254/x", "http://127.0.0.1:99999/x", "//[::ffff:10.0.0.1]/x", "http://0x0a000001/x")),
    *(Row(f"Location with {name}", on("POST", talk(OPENED + where + b"\r\n\r\n")), RegistryError,
          "sends us where we do not go|control or non-ASCII character")
      for name, where in (("NUL", b"\0x"), ("a tab", b"a\tb"), ("a space", b"a b"), ("Latin-1", b"\xe4"))),
    Row("Location with CR LF", on("POST", talk(OPENED + b"x\r\n /y\r\n\r\n")), RegistryError, "where we do not go"),
    Row("Location with ..", on("POST", answer(202, Location="/v2/me/base/../../../etc"), times=EVER), RegistryError,
        "404|no further", AGAIN, again=6 * CHUNK, waits=(1.0, 60.0)),
    Row("no Location", on("POST", change(Location=None)), RegistryResponseError, "opens no upload session"),
    # Bodies and headers without end.
    Row("an endless error", on("PATCH", talk(b"HTTP/1.1 400 A\r\n\r\n" + GARBAGE)), RegistryResponseError, "400",
        again=CHUNK),
    Row("10 GB of error", on("PATCH", talk(b"HTTP/1.1 400 A\r\nContent-Length: 10000000000\r\n\r\n" + GARBAGE)),
        RegistryResponseError, "400", again=CHUNK),
    Row("headers without end", on("PATCH", talk(b"HTTP/1.1 202 A\r\n" + b"X: y\r\n" * 5000)), again=CHUNK,
        waits=(1.0, 1.0)),
    Row("a header without end", on("PATCH", talk(b"HTTP/1.1 202 A\r\nX: " + b"y" * 200_000)), again=CHUNK,
        waits=(1.0, 1.0)),
    # Absurd chunks.
    *(Row(f"OCI-Chunk-Min-Length {said}", on("POST", change(OCI_Chunk_Min_Length=said)))
      for said in ("-1", "0", "x", "1e3", "9" * 18, "9" * 40)),
    *(Row(f"OCI-Chunk-Max-Length {said}", on("POST", change(OCI_Chunk_Max_Length=said)))
      for said in ("-1", "0", "1", "x", "9" * 40)),
    Row("early 413 in mid-body", early(413), waits=(0.5, 0.5)),
    Row("413 for ever", early(413, once=False), RegistryResponseError, "413", "smaller requests", waits=(0.5, 0.5)),
    Row("an idle connection that was closed", idle_connection_closed, waits=(0.0, 5.0)),
]  # fmt: skip


@pytest.fixture
def scene(registry: FakeRegistry, time: Time) -> Iterator[Scene]:
    over = threading.Event()
    yield Scene(registry, time, Bytes(DATA), over)
    over.set()


def connected(row: Row, scene: Scene, connect: Connect) -> RegistryClient:
    client = connect(scene.registry, chunk_size=CHUNK, credentials=(USER, PASSWORD))
    client.pacer.wall = scene.time.clock
    client.ping()
    return client


@pytest.mark.parametrize("row", PUSH, ids=lambda row: row.what)
def test_push(row: Row, scene: Scene, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = scene.registry
    registry.style, registry.auth = row.style, row.auth
    if row.hasty:
        monkeypatch.setattr("fastoci.registry.transport.Timeout", lambda connect, read: Timeout(connect=0.3, read=0.3))
        monkeypatch.setattr("fastoci.registry.connections.SEND_TIMEOUT", 0.3)
        monkeypatch.setattr("fastoci.registry.connections.HEADER_SECONDS", 0.1)
    client = connected(row, scene, connect)
    row.inject(scene)
    before, caught = len(registry.seen), None
    try:
        result = upload_blob(client, "me/base", described(DATA), scene.source, title="layer", sink=lambda event: None)
    except RegistryError as error:
        caught = error
    if row.error is None:
        assert caught is None
        assert result.how == "pushed"
        assert registry.blobs["me/base"] == {str(described(DATA).digest): DATA}
    else:
        check_error(row, caught)
        assert not registry.blobs.get("me/base")
    assert registry.received <= len(DATA) + row.again
    assert len(registry.seen) - before <= row.requests
    least, most = row.waits
    assert least <= sum(scene.time.slept) <= most


def check_error(row: Row, caught: RegistryError | None) -> None:
    assert type(caught) is row.error
    codes = {AccessDeniedError: 5, BlobMismatchError: 1}
    assert caught.exit_code == codes.get(type(caught), 4)
    said = f"{caught.what}\n{caught.cause}"
    for words in row.says.split("|"):
        assert words in said
    assert row.hint in str(caught.hint)
    assert said.replace("\n", "").isprintable()
    assert len(said) < 800
    assert "_state" not in said
