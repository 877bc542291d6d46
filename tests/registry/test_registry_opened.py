"""The session that proves that pushing is allowed, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from fake_registry import FakeRegistry, answer
from registrykit import Bytes, Time, described, noise

from fastoci.events import Event, PushAllowed
from fastoci.push import push as push_image
from fastoci.registry.client import RegistryClient
from fastoci.registry.upload import UploadResult, upload_blob

if TYPE_CHECKING:
    from imagekit import LayoutKit

Connect = Callable[..., RegistryClient]

UPLOADS = "/v2/me/base/blobs/uploads/"
FIRST, SECOND = noise(5000), noise(5000, 2)


@pytest.fixture
def client(registry: FakeRegistry, connect: Connect) -> RegistryClient:
    """One that has opened a session, and found out with it that pushing is allowed."""
    client = connect(registry, chunk_size=2000)
    client.check_push("me/base")
    return client


def push(client: RegistryClient, data: bytes, repository: str = "me/base", **options: str) -> UploadResult:
    return upload_blob(
        client, repository, described(data), Bytes(data), title="layer", sink=lambda event: None, **options
    )


def sessions(registry: FakeRegistry) -> tuple[int, int]:
    """Return how many were opened, and how many closed without a blob."""
    return len(registry.requests("POST")), len(registry.requests("DELETE"))


def test_it_is_told(registry: FakeRegistry, client: RegistryClient, events: list[Event]) -> None:
    assert events[-1] == PushAllowed(f"{registry.host}/me/base")


def test_the_first_upload_takes_it(registry: FakeRegistry, client: RegistryClient) -> None:
    push(client, FIRST)
    assert sessions(registry) == (1, 0)
    push(client, SECOND)
    client.close_opened()
    assert sessions(registry) == (2, 0)
    assert list(registry.blobs["me/base"].values()) == [FIRST, SECOND]


def test_another_repository_does_not(registry: FakeRegistry, client: RegistryClient) -> None:
    push(client, FIRST, "me/other")
    assert sessions(registry) == (2, 0)
    assert len(registry.sessions) == 1


def test_a_blob_that_may_be_mounted_does_not(registry: FakeRegistry, client: RegistryClient) -> None:
    registry.put_blob("me/other", FIRST)
    assert push(client, FIRST, mount_from="me/other").how == "mounted"
    assert len(registry.sessions) == 1
    # And one that could not be mounted has a session of its own by then.
    assert push(client, SECOND, mount_from="me/other").how == "pushed"
    assert sessions(registry) == (3, 0)
    assert len(registry.sessions) == 1


def test_who_needs_none_leaves_it_to_be_closed(registry: FakeRegistry, client: RegistryClient) -> None:
    registry.put_blob("me/base", FIRST)
    assert push(client, FIRST).how == "skipped"
    assert len(registry.sessions) == 1
    client.close_opened()
    assert sessions(registry) == (1, 1)
    assert not registry.sessions


def test_where_it_cannot_be_closed_it_is_left(registry: FakeRegistry, client: RegistryClient) -> None:
    registry.on("DELETE", UPLOADS, answer(405))
    client.close_opened()
    client.close_opened()
    assert sessions(registry) == (1, 1)


def test_one_of_long_ago_is_closed(registry: FakeRegistry, client: RegistryClient, time: Time) -> None:
    time.sleep(60)
    push(client, FIRST)
    assert sessions(registry) == (2, 1)
    assert not registry.sessions


@pytest.mark.parametrize("style", ["3.1", "2.8", "zot", "ecr"])
def test_one_that_the_registry_has_forgotten(registry: FakeRegistry, connect: Connect, style: str) -> None:
    """It costs another, and no byte: what is refused is the first chunk, and all of it is sent again."""
    registry.style, registry.repositories = style, {"me/base"}
    client = connect(registry, chunk_size=100_000)
    client.check_push("me/base")
    registry.sessions.clear()
    push(client, FIRST)
    assert registry.blobs["me/base"][str(described(FIRST).digest)] == FIRST
    assert sessions(registry)[0] == 2


def test_what_it_says_of_chunks_is_heeded(registry: FakeRegistry, connect: Connect) -> None:
    registry.min_chunk = 2500
    client = connect(registry, chunk_size=1000)
    client.check_push("me/base")
    push(client, FIRST)
    assert sessions(registry) == (1, 0)
    assert len(registry.requests("PATCH")) == 2


def test_a_created_without_a_session_is_none(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("POST", UPLOADS, answer(201, Location="/v2/me/base/blobs/x"))
    client = connect(registry)
    client.check_push("me/base")
    push(client, FIRST)
    assert sessions(registry) == (2, 0)


def test_a_push_leaves_none(registry: FakeRegistry, kit: LayoutKit) -> None:
    kit.add(kit.image(), "1")
    for _ in range(2):
        push_image(f"oci:{kit}:1", [f"{registry.host}/{name}:1" for name in ("me/base", "me/other")])
        assert not registry.sessions
