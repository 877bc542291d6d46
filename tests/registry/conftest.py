"""Fixtures of the registry room: a registry in this process, a client whose time is made up, a home of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fake_registry import FakeRegistry
from registrykit import Time

from fastoci.registry.client import RegistryClient
from fastoci.registry.options import RegistryOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastoci.events import Event


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without any credentials, certificates or proxies."""
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    for name in ("XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def start_registry() -> Iterator[Callable[..., FakeRegistry]]:
    started: list[FakeRegistry] = []

    def start(*arguments: object) -> FakeRegistry:
        started.append(FakeRegistry(*arguments))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for registry in started:
        registry.close()


@pytest.fixture
def registry(start_registry: Callable[..., FakeRegistry]) -> FakeRegistry:
    return start_registry()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def connect(time: Time, events: list[Event]) -> Iterator[Callable[..., RegistryClient]]:
    """Make clients: `connect(registry_or_host, **options)`. Their jitter is always the longest."""
    made: list[RegistryClient] = []

    def make(target: FakeRegistry | str, **options: object) -> RegistryClient:
        host = target if isinstance(target, str) else target.host
        client = RegistryClient(
            host,
            RegistryOptions(**options),  # type: ignore[arg-type]
            events.append,
            clock=time.clock,
            sleep=time.sleep,
            rng=lambda: 1.0,
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
