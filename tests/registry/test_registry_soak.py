"""Random faults from a seed, against every registry that is played: it ends, in the right bytes or a declared error.

Each script is a size, a way to send, and a chance for each request to go wrong in one of the ways of `soakscript`. What
has failed is run again without faults, by another client that finds whatever the first one has left behind, and must
succeed. `FASTOCI_TESTS=long` runs a thousand scripts a registry and direction, and the same code.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_registry import PASSWORD, PROFILES, USER, FakeRegistry
from registrykit import Bytes, File, described, noise
from soakscript import LOOPING, PULL_FAULTS, PUSH_FAULTS, Script, declared, reset

from fastoci.copy import copy
from fastoci.errors import FastociError, RegistryError
from fastoci.events import Event
from fastoci.registry.client import RegistryClient
from fastoci.registry.options import RegistryOptions
from fastoci.registry.upload import upload_blob
from imagekit import LayoutKit, make_tar, push_by_hand
from oracles.longform import LONG, times

LOGIN = (USER, PASSWORD)

Connect = Callable[..., RegistryClient]


def push(client: RegistryClient, source: Bytes, events: list[Event], mount: str | None = None) -> None:
    blob = described(source.data)
    upload_blob(client, "me/base", blob, source, title="x", sink=events.append, mount_from=mount)


@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("style", PROFILES)
def test_pushes(
    registry: FakeRegistry,
    connect: Connect,
    events: list[Event],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    style: str,
) -> None:
    # Chunks that nobody has said the size of grow.
    for name in ("session.DEFAULT_CHUNK", "upload_work.DEFAULT_CHUNK"):
        monkeypatch.setattr(f"fastoci.registry.{name}", 40_000)
    monkeypatch.setattr("fastoci.registry.upload_work.LARGEST_CHUNK", 160_000)
    outcomes = {"pushed": 0, "failed": 0}
    for seed in range(times(30, 1000)):
        events.clear()
        registry.style = style
        rng = random.Random(f"push {style} {seed}")
        reset(registry, rng.choice([None, "basic", "token"]))
        data = noise(rng.choice([0, 1, 2, 70_000, 200_000, 300_000, 450_001]), seed)
        if style == "ecr" and not data:
            continue  # it takes none
        chosen = rng.choice(["auto"] * 4 + ["chunked", "monolithic"])
        chunk = rng.choice([5_000, 66_000, 100_000, 130_000, 1 << 20, None, None])
        options = {"chunk_size": chunk, "credentials": LOGIN, "upload": chosen}
        mount = rng.choice([None, None, "me/other"])
        if mount is not None and rng.random() < 0.5:
            registry.put_blob(mount, data)
        file = File(tmp_path / "file", data)
        script = Script(registry, rng, PUSH_FAULTS)
        client = connect(registry, **options)
        try:
            push(client, rng.choice([Bytes(data), file]), events, mount)
        except RegistryError as caught:
            declared(caught, seed)
            outcomes["failed"] += 1
        else:
            outcomes["pushed"] += 1
            assert registry.blobs["me/base"][str(described(data).digest)] == data, f"seed {seed}"
        finally:
            client.close()
        assert len(registry.seen) < LOOPING, f"seed {seed}"
        script.end()
        before = len(registry.seen)
        client = connect(registry, chunk_size=chunk, credentials=LOGIN)
        push(client, file, events)
        client.close()
        os.close(file.fd)
        assert registry.blobs["me/base"] == {str(described(data).digest): data}, f"seed {seed}"
        assert len(registry.seen) - before < 200, f"seed {seed}"
    assert min(outcomes.values()) > 0


@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("style", PROFILES)
def test_pulls(registry: FakeRegistry, connect: Connect, style: str) -> None:
    outcomes = {"pulled": 0, "failed": 0}
    for seed in range(times(30, 1000)):
        registry.style = style
        rng = random.Random(f"pull {style} {seed}")
        reset(registry, rng.choice([None, "basic", "token"]))
        data = noise(rng.choice([1, 2, 70_000, 300_000]), seed)
        registry.put_blob("me/base", data)
        script = Script(registry, rng, PULL_FAULTS)
        client = connect(registry, credentials=LOGIN)
        got = b""
        try:
            with client.open_blob("me/base", described(data)) as stream:
                while piece := stream.read(rng.choice([1000, 65536, 1 << 20])):
                    got += piece
        except RegistryError as caught:
            declared(caught, seed, lied=script.lied)
            # Wrong bytes may have been handed out, but never all of them.
            assert len(got) < len(data), f"seed {seed}"
            outcomes["failed"] += 1
        else:
            assert got == data, f"seed {seed}"
            outcomes["pulled"] += 1
        finally:
            client.close()
        assert len(registry.seen) < LOOPING, f"seed {seed}"
    assert min(outcomes.values()) > 0


@pytest.mark.timeout(0 if LONG else 300)
@pytest.mark.parametrize("style", PROFILES)
@pytest.mark.parametrize("target", ["layout", "registry"])
def test_copies(
    registry: FakeRegistry,
    start_registry: Callable[[], FakeRegistry],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    style: str,
    target: str,
) -> None:
    """A whole image: from one registry to a layout, or through memory to another one."""
    monkeypatch.setattr("fastoci.registry.patience.Pacer.wait", lambda self, seconds: None)
    (tmp_path / "source").mkdir()
    kit = LayoutKit(tmp_path / "source/layout")
    image = kit.image(make_tar({"a": noise(150_000)}), make_tar({"b": noise(80_000, 2)}))
    kit.add(image, "1")
    other = start_registry()
    options = RegistryOptions(credentials=LOGIN, chunk_size=66_000, jobs=2)
    for seed in range(times(3, 250)):
        rng = random.Random(f"copy {style} {target} {seed}")
        registry.style = other.style = style
        reset(registry, rng.choice(["basic", "token"]))
        reset(other, rng.choice(["basic", "token"]))
        other.checks_manifests = True
        push_by_hand(kit, registry, "me/base", image, "1")
        place = f"oci:{tmp_path}/{seed}" if target == "layout" else f"docker://{other.host}/me/base"
        scripts = [Script(registry, rng, PULL_FAULTS, most=0.2), Script(other, rng, PUSH_FAULTS, most=0.2)]
        try:
            copy(f"docker://{registry.host}/me/base:1", f"{place}:1", options, options)
        except FastociError as caught:
            declared(caught, seed, lied=target == "registry" or scripts[0].lied)
        assert len(registry.seen) + len(other.seen) < LOOPING, f"seed {seed}"
        for script in scripts:
            script.end()
        copied = copy(f"docker://{registry.host}/me/base:1", f"{place}:1", options, options)
        assert str(copied.digest) == image["digest"], f"seed {seed}"
        blobs = {path.name: path.read_bytes() for path in (kit.path / "blobs/sha256").iterdir()}
        if target == "registry":
            found = {**other.blobs["me/base"], image["digest"]: other.manifests["me/base"]["1"][1]}
            assert {digest.partition(":")[2]: data for digest, data in found.items()} == blobs, f"seed {seed}"
        else:
            files = (tmp_path / str(seed) / "blobs/sha256").iterdir()
            assert {path.name: path.read_bytes() for path in files} == blobs, f"seed {seed}"
