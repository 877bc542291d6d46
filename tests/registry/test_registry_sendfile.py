"""Files that the kernel sends, or that are copied to a peer near by: the bytes, and what is said of what goes wrong."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from fake_registry import FakeRegistry, Handler, answer, error, reset_at
from registrykit import BEFORE, Bytes, File, described, noise, server_context

from fastoci.errors import BlobMismatchError, RegistryError, StoreError
from fastoci.registry.chunks import Chunk, FilePart, SourceError
from fastoci.registry.client import RegistryClient
from fastoci.registry.upload import UploadResult, upload_blob

Connect = Callable[..., RegistryClient]

DATA = noise(1_500_001)
CHUNK = 400_000
UPLOADS = "/blobs/uploads/"


@pytest.fixture(autouse=True)
def several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastoci.registry.chunks.FILE_PIECE", 1_000_000)


@pytest.fixture(params=["sendfile", "preadv"], autouse=True)
def call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By which call a file is read: the registry is taken for one far away, or for what it is."""
    if request.param == "sendfile":
        monkeypatch.setattr("fastoci.registry.connections.is_loopback", lambda host: False)
    return request.param


@pytest.fixture
def source(tmp_path: Path) -> Iterator[File]:
    source = File(tmp_path / "file", DATA)
    yield source
    os.close(source.fd)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, call: str) -> list[int]:
    """How many bytes each call took."""
    counts: list[int] = []
    real = getattr(os, call)

    def counted(*arguments: object) -> int:
        counts.append(real(*arguments))
        return counts[-1]

    monkeypatch.setattr(os, call, counted)
    return counts


def push(client: RegistryClient, source: Bytes) -> UploadResult:
    described_as = described(DATA)
    return upload_blob(client, "me/base", described_as, source, title="layer", sink=lambda event: None)


def stands(registry: FakeRegistry) -> bool:
    return registry.blobs.get("me/base", {}).get(str(described(DATA).digest)) == DATA


@pytest.mark.parametrize("upload", ["chunked", "monolithic"])
def test_all_of_it_is_sent_so(
    registry: FakeRegistry, connect: Connect, source: File, sent: list[int], upload: str
) -> None:
    result = push(connect(registry, chunk_size=CHUNK, upload=upload), source)
    assert stands(registry)
    assert (sum(sent), result.sent, source.reads) == (len(DATA), len(DATA), [])


def test_a_source_that_is_no_file_after_all(
    registry: FakeRegistry, connect: Connect, source: File, sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "file_at", lambda offset: None)
    push(connect(registry, chunk_size=CHUNK), source)
    assert stands(registry)
    assert sent == []


def test_tls_reads_it(
    start_registry: Callable[..., FakeRegistry], connect: Connect, source: File, sent: list[int]
) -> None:
    secure = start_registry(server_context(trustme.CA().issue_cert("127.0.0.1")))
    push(connect(secure, chunk_size=CHUNK, tls_verify=False), source)
    assert stands(secure)
    assert sent == []


@pytest.mark.parametrize("cut", [0, 1, 300_000, 399_999])
def test_a_line_that_breaks(registry: FakeRegistry, connect: Connect, source: File, sent: list[int], cut: int) -> None:
    registry.on("PATCH", UPLOADS, reset_at(cut), skip=1, times=2)
    result = push(connect(registry, chunk_size=CHUNK), source)
    assert stands(registry)
    assert result.sent - result.repeated == len(DATA)
    assert source.reads == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO, errno.ENOSYS])
@pytest.mark.parametrize("after", [0, 1])
def test_a_file_that_cannot_be_sent_so_is_read(
    registry: FakeRegistry,
    connect: Connect,
    source: File,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    after: int,
) -> None:
    """From where the call came to: a part may have gone out before."""
    real, calls = getattr(os, call), iter(range(10**6))

    def refused(*arguments: Any) -> int:
        if next(calls) % 2 >= after:
            raise OSError(number, os.strerror(number))
        if call == "sendfile":
            return real(*arguments[:3], min(arguments[3], 1000))
        fd, [room], offset = arguments
        return real(fd, [room[:1000]], offset)

    monkeypatch.setattr(os, call, refused)
    push(connect(registry, chunk_size=CHUNK), source)
    assert stands(registry)
    assert source.reads


def test_a_disk_that_fails_is_told_as_such(
    registry: FakeRegistry, connect: Connect, source: File, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    failure = StoreError("cannot read it", path="x", cause="Input/output error")

    def fails(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def read_at(offset: int, size: int) -> memoryview:
        raise failure

    monkeypatch.setattr(os, call, fails)
    monkeypatch.setattr(source, "read_at", read_at)
    with pytest.raises(StoreError) as caught:
        push(connect(registry, chunk_size=CHUNK), source)
    assert caught.value is failure
    assert not registry.sessions, "its session was closed"


def test_a_file_that_shrinks_in_the_middle(registry: FakeRegistry, connect: Connect, source: File) -> None:
    def shrinks(handler: Handler) -> object:
        os.truncate(source.path, BEFORE + 500_000)
        source.data = source.data[:500_000]
        return handler.dispatch()

    registry.on("PATCH", UPLOADS, shrinks, skip=1)  # type: ignore[arg-type]  # what `dispatch` returns
    with pytest.raises(BlobMismatchError, match="changed while it was sent"):
        push(connect(registry, chunk_size=CHUNK), source)
    assert not stands(registry)


def test_what_the_source_says_against_it_ends_the_upload(
    registry: FakeRegistry, connect: Connect, source: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(offset: int) -> tuple[int, int]:
        raise BlobMismatchError("it changed while it was sent")

    monkeypatch.setattr(source, "file_at", changed)
    with pytest.raises(BlobMismatchError):
        push(connect(registry, chunk_size=CHUNK), source)


def test_an_early_answer_is_heard(registry: FakeRegistry, connect: Connect, source: File) -> None:
    registry.on("PATCH", UPLOADS, answer(413, read=False))
    result = push(connect(registry, chunk_size=len(DATA)), source)
    assert stands(registry)
    assert result.sent < 2 * len(DATA)


def test_a_server_that_reads_nothing(
    registry: FakeRegistry, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's buffers are full, and nothing more goes out for too long."""
    monkeypatch.setattr("fastoci.registry.connections.SEND_TIMEOUT", 0.05)
    over = threading.Event()

    def sleeps(handler: Handler) -> None:
        over.wait(20)
        handler.unread = 0
        handler.close_connection = True

    registry.on("PATCH", UPLOADS, sleeps, times=99)
    data = noise(32 << 20)
    source = File(tmp_path / "large", data)
    try:
        with pytest.raises(RegistryError, match="stopped at 0") as caught:
            upload_blob(
                connect(registry, chunk_size=len(data), retry=2),
                "me/base",
                described(data),
                source,
                title="layer",
                sink=lambda event: None,
            )
    finally:
        over.set()
        os.close(source.fd)
    assert "no answer in time" in str(caught.value.cause)


def test_a_digest_that_is_refused_is_looked_into(registry: FakeRegistry, connect: Connect, source: File) -> None:
    """The source is hashed then, which takes reading it."""
    registry.on("PUT", UPLOADS, error(400, "DIGEST_INVALID"))
    push(connect(registry, chunk_size=CHUNK), source)
    assert stands(registry)
    assert sum(size for _, size in source.reads) >= len(DATA)


def test_a_part_by_itself(source: File) -> None:
    seen: list[tuple[int, int]] = []
    [part, last] = Chunk(source, 5, 1_400_000, lambda at, size: seen.append((at, size))).open()
    assert isinstance(part, FilePart)
    assert isinstance(last, FilePart)
    assert (part.fd, part.offset, part.size, last.size) == (source.fd, BEFORE + 5, 1_000_000, 399_995)
    assert b"".join(map(bytes, last.read(99_995))) == DATA[1_100_000:1_400_000]
    assert seen == [(1_100_000, 256 << 10), (1_100_000 + (256 << 10), 300_000 - (256 << 10))]
    part.told(10, 20)
    assert seen[2:] == [(15, 20)]
    source.data = b""
    with pytest.raises(SourceError):
        next(part.read(0))
