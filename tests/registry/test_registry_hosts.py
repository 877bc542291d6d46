"""What is known of a registry before it is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_registry import FakeRegistry, Handler, Reply, answer, change
from registrykit import Bytes, described, noise

from fastoci.registry.client import RegistryClient
from fastoci.registry.hosts import recall_profile
from fastoci.registry.session import HostProfile, Mode
from fastoci.registry.statedir import StateDirectory
from fastoci.registry.upload import upload_blob

UPLOADS = "/blobs/uploads/"

Connect = Callable[..., RegistryClient]


def push(client: RegistryClient, data: bytes) -> None:
    upload_blob(client, "me/base", described(data), Bytes(data), title="layer", sink=lambda event: None)


def profile(host: str, **options: float) -> HostProfile:
    return recall_profile(host, StateDirectory("hosts", [].append, **{"life": 1000.0, **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize(("host", "mode", "chunk", "patch_range"), [
    ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", None, 20 << 20, "ignored"),
    ("public.ecr.aws", None, 20 << 20, "ignored"),
    ("ghcr.io", None, 4 << 20, "unknown"),
    ("gcr.io", Mode.STREAMED, None, "unknown"),
    ("eu.gcr.io", Mode.STREAMED, None, "unknown"),
    ("europe-docker.pkg.dev", Mode.STREAMED, None, "unknown"),
    ("ghcr.io.example.com", None, None, "unknown"),
    ("notgcr.io", None, None, "unknown"),
    ("quay.io", None, None, "unknown"),
])  # fmt: skip
def test_hints(host: str, mode: Mode | None, chunk: int | None, patch_range: str) -> None:
    found = profile(host)
    assert (found.mode, found.chunk, found.patch_range) == (mode, chunk, patch_range)


def test_what_was_learnt_counts_more_than_the_name() -> None:
    profile("ghcr.io").learn_chunk(1 << 20)
    assert profile("ghcr.io").chunk == 1 << 20
    profile("ghcr.io").learn_mode(Mode.STREAMED)
    found = profile("ghcr.io")
    assert (found.mode, found.chunk) == (Mode.STREAMED, 1 << 20)


def test_a_month_later_it_is_forgotten() -> None:
    profile("registry.example").learn_mode(Mode.MONOLITHIC)
    assert profile("registry.example").mode is Mode.MONOLITHIC
    assert profile("registry.example", life=0.0).mode is None


@pytest.mark.parametrize("values", [
    {"host": "other.example"}, {"mode": "fast"}, {"mode": 3}, {"chunk": 1}, {"chunk": "4"}, {"chunk": 1 << 50},
    {"minimum": 0}, {"minimum": None}, {"minimum": 1 << 40}, {"minimum": True},
    {"patch_range": "maybe"}, {"patch_range": None},
], ids=str)  # fmt: skip
def test_what_cannot_be_is_ignored(values: dict[str, object]) -> None:
    profile("registry.example").learn_mode(Mode.MONOLITHIC)
    [path] = Path(os.environ["FASTOCI_STATE_DIR"], "hosts").glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    assert profile("registry.example").mode is None


def test_the_next_run_begins_with_what_worked(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, answer(405), skip=1)
    push(connect(registry, chunk_size=100_000), noise(300_000))
    before = len(registry.requests("PATCH"))
    push(connect(registry, chunk_size=100_000), noise(300_000, 2))
    assert len(registry.requests("PATCH")) == before + 1


def test_the_next_run_begins_with_chunks_that_are_taken(registry: FakeRegistry, connect: Connect) -> None:
    def at_most(handler: Handler) -> Reply:
        if handler.unread > 120_000:
            handler.read_all()
            return Reply(413)
        return handler.dispatch()

    registry.on("PATCH", UPLOADS, at_most, times=99)
    push(connect(registry, chunk_size=400_000), noise(400_000))
    before = len(registry.requests("PATCH"))
    push(connect(registry, chunk_size=400_000), noise(300_000, 2))
    assert len(registry.requests("PATCH")) == before + 3


def test_the_next_run_does_not_ask_whether_a_range_is_true(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("PATCH", UPLOADS, change(Range=None), times=99)
    push(connect(registry, chunk_size=100_000), noise(300_000))
    asked = len(registry.requests("GET", UPLOADS))
    assert asked
    push(connect(registry, chunk_size=100_000), noise(300_000, 2))
    assert len(registry.requests("GET", UPLOADS)) == asked


def test_chunks_are_no_smaller_than_the_host_takes(registry: FakeRegistry, connect: Connect) -> None:
    """Even where the user says so: the blob would be refused at its end."""
    assert profile("public.ecr.aws").minimum == 5 << 20
    profile("public.ecr.aws").learn_mode(Mode.CHUNKED)
    assert profile("public.ecr.aws").minimum == 5 << 20
    client = connect(registry, chunk_size=50_000)
    client.profile.minimum = 120_000
    push(client, noise(300_000))
    assert [seen.headers["content-range"] for seen in registry.requests("PATCH")] == [
        "0-119999", "120000-239999", "240000-299999",
    ]  # fmt: skip


def test_what_the_user_says_counts_most(registry: FakeRegistry, connect: Connect) -> None:
    profile(registry.host).learn_mode(Mode.STREAMED)
    push(connect(registry, chunk_size=100_000, upload="chunked"), noise(300_000))
    assert len(registry.requests("PATCH")) == 3
