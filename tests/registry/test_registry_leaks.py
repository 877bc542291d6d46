"""What is secret goes to its host and nowhere else: not to another host that the registry names, and into no word.

The second host is everything that a registry can send us to: a redirect of every request, the Location of an upload,
the next page of a list. It writes down all that it hears. What must not be heard there, said, or written down is the
password in any form, every token, every cookie, and the query of every Location.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_registry import IDENTITY_TOKEN, PASSWORD, USER, FakeRegistry, Handler, Reply, answer, change
from registrykit import Bytes, Time, described, noise

from fastoci.errors import AccessDeniedError, RegistryError, RegistryResponseError
from fastoci.events import Event
from fastoci.registry.client import RegistryClient
from fastoci.registry.referrers import list_referrers
from fastoci.registry.tags import list_tags
from fastoci.registry.upload import upload_blob
from fastoci.spec.mediatypes import OCI_MANIFEST

DATA = noise(300_000)
CHUNK = 100_000
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()
COOKIE = "session=biscuit"

Connect = Callable[..., RegistryClient]


@pytest.fixture
def spy(start_registry: Callable[[], FakeRegistry]) -> FakeRegistry:
    """The other host. It has every blob and manifest, so that whoever is sent there finds what they look for."""
    registry = start_registry()
    registry.put_blob("me/base", DATA)
    return registry


def secrets(registry: FakeRegistry) -> list[str]:
    logins = [f"{USER}:{PASSWORD}", f"<token>:{IDENTITY_TOKEN}"]
    encoded = [base64.b64encode(login.encode()).decode().rstrip("=") for login in logins]
    return [PASSWORD, IDENTITY_TOKEN, "biscuit", *encoded, *registry.tokens]


def everything(client: RegistryClient, sink: Callable[[Event], None]) -> list[RegistryError]:
    """Ask a registry for all that one can be asked for; return what it was refused."""
    refused = []

    def read() -> bytes:
        with client.open_blob("me/base", described(DATA)) as stream:
            return stream.read()

    for ask in (
        lambda: client.check_login(),
        lambda: client.check_push("me/base"),
        lambda: client.close_opened(),
        lambda: upload_blob(client, "me/base", described(DATA), Bytes(DATA), title="layer", sink=sink),
        lambda: client.put_manifest("me/base", "1", OCI_MANIFEST, MANIFEST),
        lambda: client.get_manifest("me/base", "1"),
        lambda: client.blob_size("me/base", described(DATA).digest),
        read,
        lambda: list_tags(client, "me/base"),
        lambda: list_referrers(client, "me/base", described(MANIFEST).digest),
    ):
        try:
            ask()
        except RegistryError as caught:
            refused.append(caught)
    return refused


def away(spy: FakeRegistry, status: int) -> Callable[[Handler], Reply | None]:
    """Answer with a redirect to the same place at the other host, once the caller is let in."""

    def act(handler: Handler) -> Reply | None:
        denied = None if handler.path.startswith("/token") else handler.denied(handler.path)
        handler.read_all()
        if denied is not None:
            return denied
        return Reply(status, {"Location": spy.url + handler.path, "Set-Cookie": COOKIE})

    return act


def at_spy(registry: FakeRegistry, spy: FakeRegistry) -> Callable[[Handler], Reply]:
    """Do what is asked, and say that it goes on at the other host."""

    def act(handler: Handler) -> Reply:
        reply = handler.dispatch()
        spy.sessions.update(registry.sessions)
        for name in ("Location", "Link"):
            if name in reply.headers:
                reply.headers[name] = reply.headers[name].replace(registry.url, spy.url)
        reply.headers["Set-Cookie"] = COOKIE
        return reply

    return act


REDIRECTS = [
    *((method, "/v2/me/base/", 307) for method in ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE")),
    ("GET", "/v2/me/base/", 302),
    ("GET", "/token", 302),
    ("GET", "/token", 307),
    ("POST", "/token", 307),
    ("GET", "/v2/", 307),
]


def identity(home: Path, registry: FakeRegistry) -> None:
    path = home / ".docker/config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"auths": {registry.host: {"identitytoken": IDENTITY_TOKEN}}}))


@pytest.mark.parametrize("way", ["basic", "token", "identity"])
@pytest.mark.parametrize(("method", "part", "status"), REDIRECTS)
def test_a_redirect_takes_nothing_secret_along(
    registry: FakeRegistry,
    spy: FakeRegistry,
    connect: Connect,
    events: list[Event],
    home: Path,
    method: str,
    part: str,
    status: int,
    way: str,
) -> None:
    registry.auth = "basic" if way == "basic" else "token"
    registry.on(method, part, away(spy, status), times=99)
    registry.on("*", "/v2/me/base/", change(Set_Cookie=COOKIE), times=99)
    if way == "identity":
        identity(home, registry)
        client = connect(registry, chunk_size=CHUNK)
    else:
        client = connect(registry, chunk_size=CHUNK, credentials=(USER, PASSWORD))
    refused = everything(client, events.append)
    heard = str(spy.seen)
    assert [secret for secret in secrets(registry) if secret in heard] == []
    assert all({"authorization", "cookie", "proxy-authorization"}.isdisjoint(seen.headers) for seen in spy.seen)
    assert all("cookie" not in seen.headers for seen in registry.seen)
    said = f"{events} {[(error, vars(error), error.__cause__) for error in refused]}"
    assert [secret for secret in secrets(registry) if secret in said] == []
    # Everything but the POST of a token is followed, where it is asked for at all.
    assert bool(spy.seen) is (part != "/token" or (method == "GET" and way == "token"))


@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_location_takes_nothing_secret_along(
    registry: FakeRegistry, spy: FakeRegistry, connect: Connect, events: list[Event], auth: str, method: str
) -> None:
    registry.auth = auth
    spy.sessions = registry.sessions
    spy.blobs = registry.blobs
    registry.on(method, "/v2/me/base/", at_spy(registry, spy), times=99)
    client = connect(registry, chunk_size=CHUNK, credentials=(USER, PASSWORD))
    assert everything(client, events.append) == []
    assert spy.requests("PUT")
    assert all({"authorization", "cookie"}.isdisjoint(seen.headers) for seen in spy.seen)
    assert [secret for secret in secrets(registry) if secret in str(spy.seen)] == []


def test_the_next_page_takes_nothing_secret_along(registry: FakeRegistry, spy: FakeRegistry, connect: Connect) -> None:
    registry.auth = "token"
    registry.manifests["me/base"] = {"1": (OCI_MANIFEST, MANIFEST)}
    spy.manifests["me/base"] = {"2": (OCI_MANIFEST, MANIFEST)}
    link = f'<{spy.url}/v2/me/base/tags/list?last=1>; rel="next"'

    def first(handler: Handler) -> Reply:
        reply = handler.dispatch()
        reply.headers["Link"] = link
        return reply

    registry.on("GET", "/tags/list", first, times=9)
    assert list_tags(connect(registry, credentials=(USER, PASSWORD)), "me/base") == ["1", "2"]
    [seen] = spy.seen
    assert {"authorization", "cookie"}.isdisjoint(seen.headers)


@pytest.mark.parametrize("link", ["file:///etc/passwd", "http://10.0.0.1/x", "http://u:p@127.0.0.1/x"])
def test_a_next_page_where_we_do_not_go(registry: FakeRegistry, connect: Connect, link: str) -> None:
    registry.manifests["me/base"] = {"1": (OCI_MANIFEST, MANIFEST)}
    registry.on("GET", "/tags/list", change(Link=f'<{link}>; rel="next"'))
    with pytest.raises(RegistryError, match="where we do not go"):
        list_tags(connect(registry), "me/base")


def test_a_realm_elsewhere_gets_the_login_and_no_token(
    registry: FakeRegistry, spy: FakeRegistry, connect: Connect, events: list[Event]
) -> None:
    """As docker has it: the token service is where the registry says it is, and the login is for it."""
    registry.auth = "token"
    registry.realm = f"{spy.url}/token"
    spy.tokens = registry.tokens
    assert everything(connect(registry, chunk_size=CHUNK, credentials=(USER, PASSWORD)), events.append) == []
    assert {seen.path for seen in spy.seen} == {"/token"}
    assert all(seen.headers["authorization"].startswith("Basic ") for seen in spy.seen)
    assert [token for token in registry.tokens if token in str(spy.seen)] == []
    assert all(not seen.headers.get("authorization", "").startswith("Basic ") for seen in registry.seen)
    assert PASSWORD not in "".join(seen.target for seen in spy.seen)


# Command lines.


def test_a_helper_is_told_on_its_stdin(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command lines and environments are for everybody to read in /proc."""
    from fastoci.registry.authfile import Credential
    from fastoci.registry.credentials import erase_credential, find_credential, store_credential
    from fastoci.registry.options import RegistryOptions

    seen = tmp_path / "seen"
    helper = tmp_path / "bin/docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(
        f"#!/bin/sh\ncat /proc/$$/cmdline /proc/$$/environ >> {seen}\ncat > {tmp_path}/stdin-$1\n"
        f"[ $1 = get ] && cat {tmp_path}/stdin-store || true\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"credsStore": "test"}')
    options = RegistryOptions()
    store_credential("registry.example", Credential(USER, PASSWORD), options)
    found = find_credential("registry.example", "", options)
    erase_credential("registry.example", options)
    assert found.credential == Credential(USER, PASSWORD)
    assert seen.read_bytes().count(b"docker-credential-test") >= 4
    assert PASSWORD.encode() not in seen.read_bytes()
    assert PASSWORD in (tmp_path / "stdin-store").read_text()
    assert PASSWORD not in (home / ".docker/config.json").read_text()


# Tokens in the middle of an upload.


class Counter:
    """Counts how many are within at once."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.now = self.most = self.all = 0
        self.served = 0  # requests by the token that was given last
        self.lock = threading.Lock()
        self.pause = threading.Event()

    def __call__(self, handler: Handler) -> Reply:
        with self.lock:
            self.now += 1
            self.all += 1
            self.served = 0
            self.most = max(self.most, self.now)
        self.pause.wait(0.02)
        reply = handler.dispatch()
        with self.lock:
            self.now -= 1
        return reply


@pytest.mark.parametrize("how", ["before they run out", "when they were refused"])
def test_tokens_are_renewed_in_the_middle_one_request_at_a_time(
    registry: FakeRegistry, connect: Connect, time: Time, how: str
) -> None:
    registry.auth = "token"
    registry.token_life = 60
    asked = Counter(registry)
    registry.on("GET", "/token", asked, times=999)
    client = connect(registry, chunk_size=20_000, credentials=(USER, PASSWORD))

    def passes(handler: Handler) -> Reply:
        reply = handler.dispatch()
        with asked.lock:
            asked.served += reply.status == 202
            if asked.served == 8:
                asked.served = 0
                if how == "when they were refused":
                    registry.expire_tokens()
                else:
                    time.now += 48.0  # a token of a minute is renewed twelve seconds before its end
        return reply

    registry.on("PATCH", "/blobs/", passes, times=999)
    blobs = [noise(200_000, seed) for seed in range(4)]
    failures: list[BaseException] = []

    def work(blob: bytes) -> None:
        try:
            upload_blob(client, "me/base", described(blob), Bytes(blob), title="layer", sink=lambda event: None)
        except BaseException as caught:
            failures.append(caught)

    threads = [threading.Thread(target=work, args=(blob,)) for blob in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert all(registry.blobs["me/base"][str(described(blob).digest)] == blob for blob in blobs)
    assert asked.most == 1  # there is one scope
    assert 4 <= asked.all <= 6
    assert len(registry.requests("POST", "/uploads/")) == 4  # no session was lost by it
    if how == "before they run out":
        assert len(registry.requests("PATCH")) == 40  # and none was refused


def test_a_bomb_instead_of_a_token(registry: FakeRegistry, connect: Connect) -> None:
    """It is not unpacked: nothing that is compressed was asked for."""
    registry.auth = "token"
    bomb = gzip.compress(b'{"token": "' + b"a" * (64 << 20) + b'"}')
    assert len(bomb) < 128 << 10
    registry.on("GET", "/token", answer(200, bomb, Content_Encoding="gzip"), times=9)
    with pytest.raises(RegistryResponseError, match="gives no token"):
        connect(registry, credentials=(USER, PASSWORD)).blob_size("me/base", described(DATA).digest)
    assert all(seen.headers["accept-encoding"] == "identity" for seen in registry.seen)


def test_the_words_of_a_token_service(registry: FakeRegistry, connect: Connect) -> None:
    """Their words are shown, but bounded, and they do nothing to a terminal."""
    registry.auth = "token"
    words = "\x1b]0;evil\x07" + "x" * 5000
    registry.on("GET", "/token", answer(403, json.dumps({"error": "denied", "error_description": words})), times=9)
    with pytest.raises(AccessDeniedError) as caught:
        connect(registry, credentials=(USER, PASSWORD)).blob_size("me/base", described(DATA).digest)
    assert caught.value.hint == f"fastoci login {registry.host}"
    assert str(caught.value.cause).isprintable()
    assert len(str(caught.value.cause)) < 600
