"""Every fault that can be injected into a pull, as a table; see `test_registry_faults`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from fake_registry import (
    PASSWORD,
    USER,
    Action,
    FakeRegistry,
    Handler,
    Reply,
    answer,
    break_off,
    change,
    error,
    lose_answer,
    talk,
)
from faultscene import DATA, EVER
from registrykit import Time, described

from fastoci.errors import (
    AccessDeniedError,
    BlobMismatchError,
    ManifestNotFoundError,
    RegistryError,
    RegistryResponseError,
)
from fastoci.registry.client import RegistryClient

DIGEST = str(described(DATA).digest)
OTHER = DATA[:-1] + bytes([DATA[-1] ^ 1])
AGAIN = "run the same command again"

Connect = Callable[..., RegistryClient]


@dataclass(frozen=True)
class Row:
    """One fault of a pull and what must come of it.

    Args:
        what: In the words of the list of faults.
        faults: Put in the way of the reading requests, one after the other.
        error: What it ends in; None is the right bytes.
        says: Words of the error and of its cause.
        hint: A word of its advice.
        requests: How many may be made.
        waits: Seconds that must be waited for at least, and may be at most.
        style: Whom the registry plays.
    """

    what: str
    faults: tuple[Action, ...]
    error: type[RegistryError] | None = None
    says: str = ""
    hint: str = ""
    requests: int = 6
    waits: tuple[float, float] = (0.0, 3.0)
    style: str = "3.1"


def whole(data: bytes) -> Action:
    """Answer with all of it, whatever was asked for."""
    return lambda handler: Reply(200, {}, data)


def unsaid(data: bytes) -> Action:
    """The same, without a length."""

    def act(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(data)
        handler.close_connection = True

    return act


def cut_whole(handler: Handler) -> None:
    """Begin from the start again, and break off before the part that was wanted."""
    handler.send_head(Reply(200, {"Content-Length": str(len(DATA))}))
    handler.wfile.write(DATA[:500])
    handler.close_connection = True


def good(handler: Handler) -> Reply:
    return handler.dispatch()


def expired(handler: Handler) -> Reply | None:
    """Give out a URL, and let it expire before it is used."""
    reply = handler.dispatch()
    handler.registry.signatures.clear()
    return reply


def moved(handler: Handler) -> Reply | None:
    return answer(307, Location=handler.path)(handler)


def ranged(text: str, data: bytes = DATA[1000:]) -> Action:
    return answer(206, data, Content_Range=text)


RESET = break_off(1000, reset=True)
SHORT = break_off(1000)

PULL = [
    Row("reset before the first byte", (break_off(0, reset=True),), waits=(0.5, 0.5)),
    Row("reset in the middle", (break_off(200_000, reset=True),), waits=(0.5, 0.5)),
    Row("reset before the last byte", (break_off(len(DATA) - 1, reset=True),), waits=(0.5, 0.5)),
    Row("answer cut short", (SHORT,), waits=(0.5, 0.5)),
    Row("cut 40 times, each further", (break_off(10_000),) * 40, requests=45, waits=(20.0, 20.0)),
    Row("cut for ever before the first byte", (SHORT, *[break_off(0)] * EVER), RegistryError,
        "GET http|: connection reset (the answer broke off); 8 failures without progress", AGAIN, 12, (60, 70)),
    Row("answer lost", (lose_answer, lose_answer), waits=(1.5, 1.5)),
    *(Row(f"{status} at first", (answer(status),) * 3, waits=(3.5, 3.5)) for status in (408, 429, 500, 502, 503, 504)),
    *(Row(f"{status} to going on", (SHORT, *[answer(status)] * 3), waits=(7.5, 7.5))
      for status in (408, 416, 429, 500, 502, 503, 504)),
    Row("503 for ever", (answer(503),) * EVER, RegistryError, "503|8 failures in a row", AGAIN, 12, (60, 70)),
    Row("503 for ever to going on", (SHORT, *[answer(503)] * EVER), RegistryError, "503|8 failures without progress",
        AGAIN, 12, (60, 70)),
    Row("429, seconds", (SHORT, answer(429, Retry_After="7")), waits=(7.5, 7.5)),
    Row("429, 10^9", (answer(429, Retry_After="1000000000"),), waits=(300.0, 300.0)),
    # Ranges.
    Row("200 to a range", (SHORT, whole(DATA)), waits=(0.5, 0.5)),
    Row("200 to a range, for ever cut", (SHORT, *[cut_whole] * 3), waits=(7.5, 7.5)),
    Row("a range from the start", (SHORT, ranged(f"bytes 0-{len(DATA) - 1}/{len(DATA)}", DATA)), waits=(1.5, 1.5)),
    Row("a range that was not asked for", (SHORT, ranged(f"bytes 999-{len(DATA) - 1}/*")), waits=(1.5, 1.5)),
    Row("a range without Content-Range", (SHORT, answer(206, DATA[1000:])), waits=(1.5, 1.5)),
    Row("a range in garbage", (SHORT, ranged("bites 1000-")), waits=(1.5, 1.5)),
    Row("a short range", (SHORT, ranged("bytes 1000-1999/450001", DATA[1000:2000])), waits=(1.0, 1.0)),
    # Bytes.
    Row("wrong bytes", (whole(OTHER),), BlobMismatchError, "is not what it should be|its bytes have the digest"),
    Row("wrong bytes after a cut", (SHORT, ranged(f"bytes 1000-450000/{len(DATA)}", OTHER[1000:])), BlobMismatchError,
        "its bytes have the digest"),
    Row("wrong bytes in a whole after a cut", (SHORT, whole(OTHER)), BlobMismatchError, "its bytes have the digest"),
    Row("a longer body", (whole(DATA + b"x"),), BlobMismatchError, "450002 bytes, 450001 were said"),
    Row("a longer body that does not say so", (unsaid(DATA + b"x"),), BlobMismatchError, "it goes on after"),
    Row("an endless body", (unsaid(DATA * 60),), BlobMismatchError, "it goes on after"),
    Row("a shorter body", (whole(DATA[:-1]),), BlobMismatchError, "450000 bytes, 450001 were said"),
    Row("a shorter body that does not say so", (unsaid(DATA[:-9]),), waits=(0.5, 0.5)),
    Row("another digest in the header", (change(Docker_Content_Digest="sha256:" + "0" * 64),)),
    Row("a compressed body", (change(Content_Encoding="gzip"),)),
    # Redirects.
    Row("an expired redirect", (expired, expired), waits=(1.5, 1.5), style="ghcr"),
    Row("an expired redirect after a cut", (SHORT, good, expired, expired), waits=(3.5, 3.5), requests=8, style="ghcr"),
    Row("a redirect that expires for ever", (SHORT, good, *[expired] * EVER), RegistryError,
        "/stored/me/base/|?…: 403; 8 failures without progress", AGAIN, 20, (60, 70), style="ghcr"),
    Row("a redirect that never was good", (expired,) * EVER, RegistryError, "?…: 403; 8 failures in a row", AGAIN, 20,
        (60, 70), style="ghcr"),
    Row("redirects in a loop", (moved,) * EVER, RegistryError, "redirects without end", requests=7),
    *(Row(f"redirected to {where}", (answer(302, Location=where),), RegistryError, "sends us where we do not go")
      for where in ("http://10.0.0.1/", "file:///etc/passwd", "http://u:p@127.0.0.1/", "http://127.0.0.1:0/")),
    Row("a redirect to nowhere", (answer(307),), RegistryResponseError, "307"),
    # Refusals.
    Row("not there", (answer(404),), ManifestNotFoundError, "there is no|404"),
    Row("not allowed", (error(403, "DENIED", "not for you"),), AccessDeniedError, "403 DENIED: not for you",
        "fastoci login"),
    Row("gone in the middle", (SHORT, answer(404)), ManifestNotFoundError, "404", waits=(0.5, 0.5)),
    Row("418", (error(418, "X", "\x1b[2J\r\n" + "y" * 9000),), RegistryResponseError, "418 X"),
    Row("no HTTP at all", (talk(b"\0\1\2\3" * 99),), waits=(0.5, 0.5)),
    Row("headers without end", (talk(b"HTTP/1.1 200 A\r\n" + b"X: y\r\n" * 5000),), waits=(0.5, 0.5)),
]  # fmt: skip


@pytest.mark.parametrize("row", PULL, ids=lambda row: row.what)
def test_pull(row: Row, registry: FakeRegistry, time: Time, connect: Connect) -> None:
    registry.style, registry.auth = row.style, "token"
    registry.put_blob("me/base", DATA)
    client = connect(registry, credentials=(USER, PASSWORD))
    client.ping()
    client.blob_size("me/base", described(DATA).digest)
    before = len(registry.seen) + len(registry.storage_seen)
    # Where a blob is read at another host, a cut happens there, and an answer in its place at the registry.
    for fault in row.faults[:60]:
        registry.on("GET", "/stored/" if row.style != "3.1" and fault is SHORT else "/blobs/", fault)
    got, caught = b"", None
    try:
        with client.open_blob("me/base", described(DATA)) as stream:
            while piece := stream.read(50_000):
                got += piece
    except RegistryError as error:
        caught = error
    if row.error is None:
        assert caught is None
        assert got == DATA
    else:
        assert type(caught) is row.error
        said = f"{caught.what}\n{caught.cause}"
        for words in row.says.split("|"):
            assert words in said
        assert row.hint in str(caught.hint)
        assert said.replace("\n", "").isprintable()
        assert len(said) < 800
        assert "X-Signature=" not in said
        assert got != DATA  # whatever came, it did not come to its end
    assert len(registry.seen) + len(registry.storage_seen) - before <= row.requests
    least, most = row.waits
    assert least <= sum(time.slept) <= most
