"""What holds for every test: no setting of the caller reaches fastoci, and no deadline fails on a busy machine."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import settings

from imagekit import fastoci, hub, kit, no_credentials  # noqa: F401 - fixtures, for whoever asks for them

settings.register_profile("fastoci", deadline=None)
settings.load_profile("fastoci")

# What fastoci, urllib3, docker and podman read: a developer's proxy or credentials must not decide a test.
_NAMES = {
    "ALL_PROXY",
    "COLUMNS",
    "BUILDKIT_HOST",
    "CONTAINERD_ADDRESS",
    "CONTAINERD_NAMESPACE",
    "CURL_CA_BUNDLE",
    "DOCKER_AUTH_CONFIG",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "FORCE_COLOR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LINES",
    "NO_COLOR",
    "NO_PROXY",
    "REGISTRY_AUTH_FILE",
    "SOURCE_DATE_EPOCH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
}
_TESTS = pytest.StashKey["itertools.count[int]"]()

# These steer the test run itself.
_KEPT = {"FASTOCI_BENCH", "FASTOCI_REQUIRE_REAL_PARTS", "FASTOCI_TESTS", "FASTOCI_TESTS_SEED"}


@pytest.fixture(scope="session", autouse=True)
def _caller_has_no_settings() -> None:
    for name in list(os.environ):
        if name.upper() in _NAMES or (name.startswith("FASTOCI_") and name not in _KEPT):
            del os.environ[name]
    # Where there is no terminal, as in CI, TERM is missing or "dumb", and rich draws no bars.
    os.environ["TERM"] = "xterm-256color"


@pytest.fixture(autouse=True)
def _state_of_its_own(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test finds what another one has learnt about a registry, or left there; the directory is made when used."""
    number = request.config.stash.setdefault(_TESTS, itertools.count())
    monkeypatch.setenv("FASTOCI_STATE_DIR", str(tmp_path_factory.getbasetemp() / f"state-{next(number)}"))
