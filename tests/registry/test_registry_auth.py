"""Tokens: asked for when needed, kept while they live, shown to nobody else."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from fake_registry import IDENTITY_TOKEN, PASSWORD, USER, FakeRegistry, Handler, Reply, answer, change
from registrykit import Bytes, Time, described

from fastoci.errors import AccessDeniedError, RegistryError, RegistryResponseError
from fastoci.events import Event, Notice
from fastoci.registry.client import RegistryClient
from fastoci.spec.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path

Connect = Callable[..., RegistryClient]
LOGIN = (USER, PASSWORD)
NOTHING = Digest.of(b"nothing")


@pytest.fixture
def guarded(registry: FakeRegistry) -> FakeRegistry:
    registry.auth = "token"
    return registry


def tokens(registry: FakeRegistry) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(seen.target).query) for seen in registry.requests("GET", "/token")]


def test_a_token_serves_every_request_of_its_scope(guarded: FakeRegistry, connect: Connect) -> None:
    client = connect(guarded, credentials=LOGIN)
    for _ in range(3):
        client.blob_size("me/base", NOTHING)
    client.blob_size("me/other", NOTHING)
    assert tokens(guarded) == [
        {"account": ["me"], "service": ["a, service"], "scope": ["repository:me/base:pull"]},
        {"account": ["me"], "service": ["a, service"], "scope": ["repository:me/other:pull"]},
    ]
    assert PASSWORD not in "".join(seen.target for seen in guarded.seen)


def test_anonymous_pull(guarded: FakeRegistry, connect: Connect) -> None:
    guarded.anonymous_pull = True
    assert connect(guarded).blob_size("me/base", NOTHING) is None
    assert all("authorization" not in seen.headers for seen in guarded.requests("GET", "/token"))


@pytest.mark.parametrize(
    ("life", "used"),
    [
        (300, 269.0),
        (60, 47.0),
        (None, 47.0),
        ("90", 47.0),
        (-5, 47.0),
        (0, 47.0),
        (True, 47.0),
        (10, 7.9),
        (1e300, 9000),
    ],
)
def test_a_token_is_renewed_before_it_ends(
    guarded: FakeRegistry, connect: Connect, time: Time, life: object, used: float
) -> None:
    guarded.token_life = life
    client = connect(guarded, credentials=LOGIN)
    client.blob_size("me/base", NOTHING)
    time.now += used
    client.blob_size("me/base", NOTHING)
    assert len(tokens(guarded)) == 1
    time.now += 90000 if life == 1e300 else 3
    client.blob_size("me/base", NOTHING)
    assert len(tokens(guarded)) == 2
    # It was renewed before the registry had to refuse it.
    assert len(list(guarded.requests("HEAD"))) == 3


def test_one_request_at_a_time_for_one_scope(guarded: FakeRegistry, connect: Connect) -> None:
    client = connect(guarded, credentials=LOGIN)
    client.ping()
    threads = [threading.Thread(target=client.blob_size, args=("me/base", NOTHING)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(tokens(guarded)) == 1


def test_a_scope_that_the_registry_adds(guarded: FakeRegistry, connect: Connect) -> None:
    guarded.anonymous_pull = False
    client = connect(guarded, credentials=LOGIN)

    def wants_more(handler: Handler) -> Reply:
        held = guarded.tokens.get((handler.headers["Authorization"] or "").removeprefix("Bearer "), set())
        if "registry:catalog:*" in held:
            return Reply(404)
        challenge = f'Bearer realm="{guarded.url}/token",scope="registry:catalog:* repository:me/base:pull"'
        return Reply(401, {"WWW-Authenticate": challenge})

    guarded.on("HEAD", "/blobs/", wants_more, times=9)
    assert client.blob_size("me/base", NOTHING) is None
    assert tokens(guarded)[-1]["scope"] == ["repository:me/base:pull", "registry:catalog:*"]


def test_a_fresh_token_refused_is_final(guarded: FakeRegistry, connect: Connect) -> None:
    guarded.on("HEAD", "/blobs/", change(), times=0)
    guarded.on("HEAD", "/blobs/", answer(401, WWW_Authenticate=f'Bearer realm="{guarded.url}/token"'), times=99)
    with pytest.raises(AccessDeniedError):
        connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING)
    assert len(guarded.requests("HEAD")) <= 2
    assert len(tokens(guarded)) <= 2


def test_bearer_comes_before_basic(guarded: FakeRegistry, connect: Connect) -> None:
    both = f'Basic realm="x", Bearer realm="{guarded.url}/token",service="s"'
    guarded.on("GET", "/v2/", change(WWW_Authenticate=both), times=9)
    connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING)
    assert len(tokens(guarded)) == 1


def test_basic_alone(registry: FakeRegistry, connect: Connect) -> None:
    registry.auth = "basic"
    assert connect(registry, credentials=LOGIN).blob_size("me/base", NOTHING) is None
    assert len(registry.requests("HEAD")) == 1  # the first word was enough to know


def test_a_challenge_nobody_knows(registry: FakeRegistry, connect: Connect) -> None:
    registry.on("HEAD", "/blobs/", answer(401, WWW_Authenticate="Negotiate"))
    with pytest.raises(AccessDeniedError):
        connect(registry, credentials=LOGIN).blob_size("me/base", NOTHING)


def identity(home: Path, registry: FakeRegistry, **more: str) -> None:
    path = home / ".docker/config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"auths": {registry.host: {"identitytoken": IDENTITY_TOKEN, **more}}}))


def test_an_identity_token_is_posted(guarded: FakeRegistry, connect: Connect, home: Path) -> None:
    identity(home, guarded)
    connect(guarded).blob_size("me/base", NOTHING)
    (seen,) = guarded.requests("POST", "/token")
    form = parse_qs(seen.body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["scope"] == ["repository:me/base:pull"]
    assert "authorization" not in seen.headers


@pytest.mark.parametrize("status", [400, 401, 404, 405])
def test_where_it_cannot_be_posted_it_is_a_password(
    guarded: FakeRegistry, connect: Connect, home: Path, status: int
) -> None:
    identity(home, guarded)
    guarded.refuse_oauth = status
    with pytest.raises(AccessDeniedError):  # the registry in this process does not know this convention
        connect(guarded).blob_size("me/base", NOTHING)
    (seen,) = guarded.requests("GET", "/token")
    assert base64.b64decode(seen.headers["authorization"].removeprefix("Basic ")) == b"<token>:identity-token"


@pytest.mark.parametrize("status", [307, 308, 302])
def test_an_identity_token_is_not_carried_along_a_redirect(
    guarded: FakeRegistry, start_registry: Callable[[], FakeRegistry], connect: Connect, home: Path, status: int
) -> None:
    other = start_registry()
    identity(home, guarded)
    guarded.on("POST", "/token", answer(status, Location=f"{other.url}/token"))
    with pytest.raises(RegistryError):
        connect(guarded).blob_size("me/base", NOTHING)
    assert not other.seen


def test_a_registry_token_goes_straight_to_the_registry(guarded: FakeRegistry, connect: Connect, home: Path) -> None:
    path = home / ".docker/config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"auths": {guarded.host: {"registrytoken": "given"}}}))
    guarded.tokens["given"] = {"repository:me/base:pull"}
    assert connect(guarded).blob_size("me/base", NOTHING) is None
    assert not guarded.requests("GET", "/token")


def test_a_token_service_at_another_host_gets_the_login_and_the_registry_does_not(
    guarded: FakeRegistry, start_registry: Callable[[], FakeRegistry], connect: Connect
) -> None:
    service = start_registry()
    service.tokens = guarded.tokens
    guarded.realm = f"{service.url}/token"
    connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING)
    assert service.seen[0].headers["authorization"].startswith("Basic ")
    assert all(not seen.headers.get("authorization", "").startswith("Basic ") for seen in guarded.seen)


def test_a_redirected_token_request_leaves_the_login_behind(
    guarded: FakeRegistry, start_registry: Callable[[], FakeRegistry], connect: Connect
) -> None:
    other = start_registry()
    guarded.on("GET", "/token", answer(302, Location=f"{other.url}/token"))
    with pytest.raises(AccessDeniedError):
        connect(guarded, credentials=LOGIN).check_push("me/base")
    assert other.seen
    assert all("authorization" not in seen.headers for seen in other.seen)


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "ftp://example.com/",
        "http://user:pw@example.com/",
        "http://example.com/token",
        "http://169.254.169.254/x",
        "http://exa mple.com/",
        "https://10.0.0.1/",
    ],
)
def test_realms_that_are_not_asked(guarded: FakeRegistry, connect: Connect, realm: str) -> None:
    guarded.realm = realm
    if realm == "":
        guarded.on("GET", "/v2/", answer(401, WWW_Authenticate='Bearer service="x"'), times=9)
        guarded.on("HEAD", "/v2/", answer(401, WWW_Authenticate='Bearer service="x"'), times=9)
    with pytest.raises(RegistryError, match="cannot get in"):
        connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING)


def test_a_relative_realm(guarded: FakeRegistry, connect: Connect) -> None:
    guarded.realm = "/token"
    assert connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING) is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"token": 7}',
        '{"token": ""}',
        '{"token": "a\\r\\nX: y"}',
        '{"token": "ü"}',
        '{"token": null}',
        "[" * 50000,
    ],
)
def test_answers_without_a_token(guarded: FakeRegistry, connect: Connect, body: str) -> None:
    guarded.on("GET", "/token", answer(200, body))
    with pytest.raises(RegistryResponseError, match="gives no token"):
        connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING)


def test_an_answer_too_long(guarded: FakeRegistry, connect: Connect) -> None:
    guarded.on("GET", "/token", answer(200, '{"token": "' + "x" * (128 << 10)))
    with pytest.raises(RegistryResponseError, match="longer than"):
        connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING)


def test_access_token_will_do(guarded: FakeRegistry, connect: Connect) -> None:
    guarded.tokens["abc"] = {"repository:me/base:pull"}
    guarded.on("GET", "/token", answer(200, '{"access_token": "abc"}'))
    assert connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING) is None


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_token_service_that_is_away_for_a_moment(guarded: FakeRegistry, connect: Connect, status: int) -> None:
    guarded.on("GET", "/token", answer(status), times=3)
    assert connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING) is None


def test_a_token_service_that_stays_away(guarded: FakeRegistry, connect: Connect) -> None:
    guarded.on("GET", "/token", answer(503), times=99)
    with pytest.raises(RegistryError, match="503") as caught:
        connect(guarded, credentials=LOGIN).blob_size("me/base", NOTHING)
    assert caught.value.exit_code == 4
    assert len(tokens(guarded)) == 8


def test_docker_hub_and_a_mount_source_that_does_not_exist(guarded: FakeRegistry, connect: Connect) -> None:
    from fastoci.registry.upload import upload_blob

    guarded.on("GET", "me%2Fother", answer(401), times=9)
    data = b"data"
    client = connect(guarded, credentials=LOGIN)
    result = upload_blob(
        client, "me/base", described(data), Bytes(data), title="x", sink=lambda event: None, mount_from="me/other"
    )
    assert result.how == "pushed"


def test_where_credentials_came_from_is_told_once(guarded: FakeRegistry, connect: Connect, events: list[Event]) -> None:
    client = connect(guarded, credentials=LOGIN)
    client.blob_size("me/base", NOTHING)
    client.blob_size("me/base", NOTHING)
    notices = [event for event in events if isinstance(event, Notice)]
    assert notices == [Notice(f"credentials for {guarded.host}: from the command line")]


def test_no_credential_is_looked_for_where_none_is_asked(
    registry: FakeRegistry, connect: Connect, events: list[Event]
) -> None:
    connect(registry).blob_size("me/base", NOTHING)
    assert not events
