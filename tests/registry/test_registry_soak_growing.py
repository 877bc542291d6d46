"""Random faults from a seed while a blob is sent that is still being made; see `test_registry_soak`.

What has failed is run again without faults, as the same command is after a crash: by another client, which makes the
blob once more and finds the journal; and now and then the tree has changed in between.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from fake_registry import PASSWORD, PROFILES, USER, FakeRegistry
from registrykit import Growing, described, noise
from soakscript import LOOPING, PUSH_FAULTS, Script, declared, reset

from fastoci.errors import RegistryError
from fastoci.events import Event
from fastoci.registry.client import RegistryClient
from fastoci.registry.upload import upload_growing
from oracles.longform import LONG, times

LOGIN = (USER, PASSWORD)

Connect = Callable[..., RegistryClient]


class Packed(Growing):
    """A source of which more is made each time that somebody waits: a little ahead of the line, or far."""

    def __init__(self, data: bytes, rng: random.Random) -> None:
        super().__init__(data, made=0)
        self._ahead = rng.choice([1, 40_000, 200_000, 1 << 20])
        self._rng = rng

    def wait(self, offset: int | None) -> int:
        if offset is None or self.there < offset:
            made = len(self.data) if offset is None else offset + self._rng.randrange(self._ahead)
            self.grow(None if made >= len(self.data) else made)
        return super().wait(offset)


def push(client: RegistryClient, source: Growing, sink: Callable[[Event], None], mount: str | None) -> None:
    upload_growing(client, "me/base", source, title="rootfs", sink=sink, mount_from=mount)


@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("style", PROFILES)
def test_pushes_in_one_pass(
    registry: FakeRegistry, connect: Connect, events: list[Event], monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    for name in ("session.DEFAULT_CHUNK", "upload_work.DEFAULT_CHUNK"):
        monkeypatch.setattr(f"fastoci.registry.{name}", 40_000)
    registry.style = style
    outcomes = {"pushed": 0, "failed": 0}
    for seed in range(times(8, 1000)):
        events.clear()
        rng = random.Random(f"growing {style} {seed}")
        reset(registry, rng.choice([None, "basic", "token"]))
        data = noise(rng.choice([1, 70_000, 200_000, 300_000, 450_001]), seed)
        chunk = rng.choice([66_000, 100_000, 130_000, 1 << 20, None])
        mount = rng.choice([None, None, "me/other"])
        if mount is not None and rng.random() < 0.5:
            registry.put_blob(mount, data)
        upload = rng.choice(["auto"] * 4 + ["chunked", "monolithic"])
        script = Script(registry, rng, PUSH_FAULTS)
        client = connect(registry, chunk_size=chunk, credentials=LOGIN, upload=upload)
        try:
            push(client, Packed(data, rng), events.append, mount)
        except RegistryError as caught:
            declared(caught, seed)
            outcomes["failed"] += 1
            if rng.random() < 0.3:
                at = rng.randrange(len(data))
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        else:
            outcomes["pushed"] += 1
            assert registry.blobs["me/base"][str(described(data).digest)] == data, f"seed {seed}"
        finally:
            client.close()
        assert len(registry.seen) < LOOPING, f"seed {seed}"
        script.end()
        before = len(registry.seen)
        client = connect(registry, chunk_size=chunk, credentials=LOGIN)
        push(client, Packed(data, rng), events.append, None)
        client.close()
        assert registry.blobs["me/base"][str(described(data).digest)] == data, f"seed {seed}"
        assert len(registry.seen) - before < 200, f"seed {seed}"
    assert outcomes["pushed"] > 0
    # A few scripts may all be harmless.
    assert outcomes["failed"] > 0 or not LONG
