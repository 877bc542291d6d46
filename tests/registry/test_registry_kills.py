"""The client killed at every step of an upload, and run again: the blob stands, and little was sent twice.

What SIGKILL does is done here by an exception that nothing of ours catches: nothing is tidied up, the connection
breaks, and the lock goes. Real processes are killed in the end-to-end tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_registry import PASSWORD, PROFILES, USER, FakeRegistry
from registrykit import Bytes, described, noise

from fastoci.registry.client import RegistryClient
from fastoci.registry.transport import Transport
from fastoci.registry.upload import UploadResult, upload_blob
from oracles.kills import KilledError

CHUNK = 120_000
SIZE = 300_001
LOGIN = (USER, PASSWORD)

Connect = Callable[..., RegistryClient]


def push(client: RegistryClient, data: bytes) -> UploadResult:
    return upload_blob(client, "me/base", described(data), Bytes(data), title="layer", sink=lambda event: None)


class Killer:
    """Ends a client at its `number`-th request: `before` it goes out, `within` its body, or `after` its answer came."""

    def __init__(self, number: int, moment: str) -> None:
        self.left = number
        self.moment = moment

    def kill(self, transport: Transport, send: Callable[..., Any]) -> Callable[..., Any]:
        def sends(method: str, url: object, **options: Any) -> object:
            if self.left > 0:
                self.left -= 1
                return send(method, url, **options)
            if self.moment == "before":
                raise KilledError
            body = options.get("body")
            if self.moment == "within" and body is not None:
                options["body"] = Torn(body)
            send(method, url, **options).drop()
            raise KilledError

        return sends


class Torn:
    """A body in the middle of which the process ends."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.size = body.size

    def open(self) -> Iterator[bytes]:
        [first, *_] = self.body.open()
        yield bytes(first[: len(first) // 2])
        raise KilledError


def killed(client: RegistryClient, data: bytes, killer: Killer) -> bool:
    """Push, and be killed; say whether that came to pass."""
    transport = client._transport
    transport.send = killer.kill(transport, transport.send)  # type: ignore[method-assign]  # what is to be torn
    try:
        push(client, data)
    except KilledError:
        return True
    finally:
        client.close()
    return False


@pytest.mark.parametrize("style", PROFILES)
@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_killed_at_every_request(registry: FakeRegistry, connect: Connect, style: str, moment: str) -> None:
    registry.style, registry.auth = style, "token"
    registry.repositories = {"me/base"}
    push(connect(registry, chunk_size=CHUNK, credentials=LOGIN), noise(SIZE, 999))  # what it wants is known
    for number in range(2, 99):  # after the first word and the token
        data = noise(SIZE, number)
        registry.received = 0
        client = connect(registry, chunk_size=CHUNK, credentials=LOGIN)
        if not killed(client, data, Killer(number, moment)):
            break
        at_first = registry.received
        before = len(registry.seen)
        push(connect(registry, chunk_size=CHUNK, credentials=LOGIN), data)
        assert registry.blobs["me/base"][str(described(data).digest)] == data
        assert len(registry.seen) - before <= 16
        if style == "3.1":
            assert registry.received <= SIZE  # not a byte twice
        elif (moment == "before" and style != "google") or (style == "zot" and moment == "after"):
            # Not where 2.8 has given out a new Location that nobody has noted yet: the old one is no good any more.
            assert registry.received <= SIZE + CHUNK
        assert registry.received - at_first <= 2 * SIZE
    assert number > 4
