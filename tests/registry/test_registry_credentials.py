"""Credentials: which source wins, what its forms mean, and how they are kept."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.errors import StoreError
from fastoci.events import Event, Notice
from fastoci.registry.authfile import AuthDocument, AuthFileError, update_auth_file
from fastoci.registry.credentials import Credential, erase_credential, find_credential, store_credential
from fastoci.registry.options import RegistryOptions

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = RegistryOptions()


def auth(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def user(host: str = "ghcr.io", repository: str = "me/base", options: RegistryOptions = OPTIONS) -> str | None:
    credential, _ = find_credential(host, repository, options)
    return credential.username if credential else None


def lookup(auths: dict[str, object], host: str, repository: str = "me/base") -> str | None:
    credential = AuthDocument({"auths": auths}).credential_for(host, repository)
    return credential.username if credential else None


# The order of the sources.


def test_the_order(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(name: str) -> dict[str, object]:
        return {"auths": {"ghcr.io": auth(name)}}

    assert user() is None
    write(home / ".config/containers/auth.json", one("config"))
    assert user() == "config"
    write(tmp_path / "run/containers/auth.json", one("runtime"))
    assert user() == "runtime"
    write(home / ".docker/config.json", one("docker"))
    assert user() == "docker"
    write(tmp_path / "elsewhere/config.json", one("docker-config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "elsewhere"))
    assert user() == "docker-config"
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps(one("env")))
    assert user() == "env"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write(tmp_path / "auth-env.json", one("auth-file"))))
    assert user() == "auth-file"
    authfile = RegistryOptions(authfile=str(write(tmp_path / "named.json", one("named"))))
    assert user(options=authfile) == "named"
    assert user(options=RegistryOptions(authfile=authfile.authfile, credentials=("cli", "pw"))) == "cli"


def test_a_named_file_stands_alone(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".docker/config.json", {"auths": {"ghcr.io": auth("docker")}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "missing.json"))
    assert user() is None


def test_files_are_fallen_through_by_host(home: Path) -> None:
    write(home / ".docker/config.json", {"auths": {"docker.io": auth("hub")}})
    write(home / ".config/containers/auth.json", {"auths": {"ghcr.io": auth("config")}})
    assert user() == "config"


@pytest.mark.parametrize("broken", ["", "{", "[]", '"x"', "[" * 100_000, '{"auths": []}', '{"auths": {"ghcr.io": 7}}'])
def test_a_broken_file_stops_nothing(home: Path, broken: str) -> None:
    write(home / ".docker/config.json", broken)
    write(home / ".config/containers/auth.json", {"auths": {"ghcr.io": auth("config")}})
    assert user() == "config"


def test_a_file_too_long_is_passed_over(home: Path) -> None:
    write(home / ".docker/config.json", {"auths": {"ghcr.io": auth("docker")}, "pad": "x" * (1 << 20)})
    assert user() is None


def test_a_directory_and_an_unreadable_file_are_passed_over(home: Path) -> None:
    (home / ".docker/config.json").mkdir(parents=True)
    assert user() is None


def test_who_won_is_told_and_not_what_it_held(home: Path) -> None:
    events: list[Event] = []
    write(home / ".docker/config.json", {"auths": {"ghcr.io": auth("me", "hunter2")}})
    credential, source = find_credential("ghcr.io", "me/base", OPTIONS, events.append)
    assert events == [Notice("credentials for ghcr.io: from ~/.docker/config.json")]
    assert source == "~/.docker/config.json"
    assert "hunter2" not in f"{events} {credential!r} {RegistryOptions(credentials=('me', 'hunter2'))!r}"


# What a file says.


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v1/", "ghcr.io"),
        ("http://ghcr.io/v2/", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_keys_of_a_host(key: str, host: str) -> None:
    assert lookup({key: auth("me")}, host) == "me"


@pytest.mark.parametrize("key", ["ghcr.io:443", "ghcr.io.evil.com", "evil.com/ghcr.io", "hcr.io", "ghcr.io/other"])
def test_keys_of_other_hosts(key: str) -> None:
    assert lookup({key: auth("me")}, "ghcr.io") is None


def test_the_longest_path_wins() -> None:
    auths = {"ghcr.io": auth("host"), "ghcr.io/me": auth("path"), "ghcr.io/me/base": auth("repository")}
    assert lookup(auths, "ghcr.io", "me/base") == "repository"
    assert lookup(auths, "ghcr.io", "me/base/x") == "repository"
    assert lookup(auths, "ghcr.io", "me/basement") == "path"
    assert lookup(auths, "ghcr.io", "you/base") == "host"
    assert lookup(auths, "ghcr.io", "") == "host"


def test_hub_by_path() -> None:
    assert lookup({"docker.io/library": auth("me")}, "docker.io", "library/debian") == "me"


@given(st.text(min_size=1).filter(lambda text: ":" not in text and text.isprintable()), st.text(min_size=1))
def test_auth_is_split_at_the_first_colon(name: str, password: str) -> None:
    if password.rstrip("\0") == "":
        return
    try:
        entry = auth(name, password)
    except UnicodeEncodeError:
        return
    found = AuthDocument({"auths": {"h": entry}}).credential_for("h", "")
    assert found == Credential(name, password.rstrip("\0"))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"username": "me", "password": "pw"}, Credential("me", "pw")),
        ({**auth("me", ""), "identitytoken": "t"}, Credential("me", "", "t")),
        ({"identitytoken": "t"}, Credential(identity_token="t")),
        ({"registrytoken": "t"}, Credential(registry_token="t")),
        ({}, None),
        ({"auth": ""}, None),
        ({"auth": "!!!"}, None),
        ({"auth": "/w=="}, None),
        ({"auth": ["x"]}, None),
        ({"identitytoken": 7}, None),
    ],
)
def test_entries(entry: dict[str, object], expected: Credential | None) -> None:
    assert AuthDocument({"auths": {"h": entry}}).credential_for("h", "") == expected


def test_basic() -> None:
    assert Credential("Aladdin", "open sesame").basic() == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617


def test_a_document_is_not_quoted_in_its_error() -> None:
    with pytest.raises(AuthFileError) as caught:
        AuthDocument.parse('{"auths": {"h": {"auth": "c2VjcmV0"}')
    assert "c2VjcmV0" not in f"{caught.value} {caught.value.__cause__}"


# Helpers.


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper `fake` on PATH, which keeps what it knows in files in this directory."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "docker-credential-fake"
    program.write_text(
        "#!/bin/sh\n"
        f'cd "{directory}"\n'
        'cat > asked; echo "$@" > verb\n'
        'case "$1" in\n'
        '  get) if [ -e answer ]; then cat answer; else echo "credentials not found in native keychain"; exit 1; fi;;\n'
        "  store) [ ! -e refuse ] && cp asked answer;;\n"
        "  erase) rm -f answer;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def say(helper: Path, username: str, secret: str) -> None:
    (helper / "answer").write_text(json.dumps({"ServerURL": "x", "Username": username, "Secret": secret}))


def test_helpers(home: Path, helper: Path) -> None:
    write(home / ".docker/config.json", {"credHelpers": {"ghcr.io": "fake"}, "auths": {"ghcr.io": auth("file")}})
    assert user() == "file"  # the helper knows nothing
    say(helper, "helped", "pw")
    credential, source = find_credential("ghcr.io", "me/base", OPTIONS)
    assert credential == Credential("helped", "pw")
    assert source == "docker-credential-fake (~/.docker/config.json)"
    assert (helper / "asked").read_text() == "ghcr.io\n"
    assert (helper / "verb").read_text() == "get\n"
    assert user("quay.io") is None


def test_a_store_for_all_hosts(home: Path, helper: Path) -> None:
    write(home / ".docker/config.json", {"credsStore": "fake"})
    say(helper, "<token>", "idtoken")
    credential, _ = find_credential("docker.io", "library/debian", OPTIONS)
    assert credential == Credential(identity_token="idtoken")
    assert (helper / "asked").read_text() == "https://index.docker.io/v1/\n"


@pytest.mark.parametrize(
    "name", ["missing", "../fake", "/bin/fake", "fake; touch /tmp/x", "-fake", "", "fa/ke", "fake\n"]
)
def test_a_helper_that_cannot_be_run_is_passed_over(home: Path, helper: Path, name: str) -> None:
    say(helper, "helped", "pw")
    write(home / ".docker/config.json", {"credsStore": name, "auths": {"ghcr.io": auth("file")}})
    assert user() == "file"


@pytest.mark.parametrize(
    "answer", ["", "no json", "[]", '{"Username": "me"}', '{"Username": 1, "Secret": "x"}', "x" * 300_000]
)
def test_a_helper_that_talks_nonsense_is_passed_over(home: Path, helper: Path, answer: str) -> None:
    (helper / "answer").write_text(answer)
    write(home / ".docker/config.json", {"credsStore": "fake", "auths": {"ghcr.io": auth("file")}})
    events: list[Event] = []
    credential, _ = find_credential("ghcr.io", "me/base", OPTIONS, events.append)
    assert credential == Credential("file", "pw")
    assert any("passing over the helper" in str(event) for event in events)


def test_a_helper_that_hangs_is_not_waited_for(home: Path, helper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (helper / "docker-credential-fake").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr("fastoci.registry.helpers._TIMEOUT", 0.2)
    write(home / ".docker/config.json", {"credsStore": "fake", "auths": {"ghcr.io": auth("file")}})
    assert user() == "file"


def test_a_helper_that_fails_says_no_secret(home: Path, helper: Path) -> None:
    (helper / "docker-credential-fake").write_text("#!/bin/sh\necho secret-thing; echo secret-thing >&2; exit 3\n")
    write(home / ".docker/config.json", {"credsStore": "fake"})
    events: list[Event] = []
    find_credential("ghcr.io", "me/base", OPTIONS, events.append)
    assert "secret-thing" not in str(events)
    assert "status 3" in str(events)


# Login and logout.


def read(path: Path) -> object:
    return json.loads(path.read_text())


def test_login_and_logout(home: Path) -> None:
    path = home / ".docker/config.json"
    assert store_credential("ghcr.io", Credential("me", "p:w"), OPTIONS) == "~/.docker/config.json"
    assert read(path) == {"auths": {"ghcr.io": auth("me", "p:w")}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert find_credential("ghcr.io", "", OPTIONS)[0] == Credential("me", "p:w")
    assert erase_credential("ghcr.io", OPTIONS) == "~/.docker/config.json"
    assert read(path) == {"auths": {}}
    assert erase_credential("ghcr.io", OPTIONS) is None
    assert [entry.name for entry in path.parent.iterdir()] == ["config.json"]


def test_logout_without_any_file(home: Path) -> None:
    assert erase_credential("ghcr.io", OPTIONS) is None
    assert not (home / ".docker").exists()


def test_what_else_is_in_the_file_stays(home: Path) -> None:
    before = {"HttpHeaders": {"a": "b"}, "auths": {"quay.io": auth("q")}, "psFormat": "ü"}
    path = write(home / ".docker/config.json", before)
    path.chmod(0o644)
    store_credential("ghcr.io", Credential("me", "pw"), OPTIONS)
    assert read(path) == {**before, "auths": {"quay.io": auth("q"), "ghcr.io": auth("me")}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    erase_credential("ghcr.io", OPTIONS)
    assert read(path) == before


def test_other_spellings_of_the_host_are_replaced(home: Path) -> None:
    path = write(home / ".docker/config.json", {"auths": {"https://ghcr.io/v1/": auth("old"), "ghcr.io/x": auth("x")}})
    store_credential("ghcr.io", Credential("new", "pw"), OPTIONS)
    assert read(path) == {"auths": {"ghcr.io/x": auth("x"), "ghcr.io": auth("new")}}


def test_hub_is_kept_under_dockers_key(home: Path) -> None:
    store_credential("docker.io", Credential("me", "pw"), OPTIONS)
    assert read(home / ".docker/config.json") == {"auths": {"https://index.docker.io/v1/": auth("me")}}


def test_a_link_stays_a_link(home: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "dotfiles/config.json", {})
    (home / ".docker").mkdir()
    (home / ".docker/config.json").symlink_to(target)
    store_credential("ghcr.io", Credential("me", "pw"), OPTIONS)
    assert (home / ".docker/config.json").is_symlink()
    assert read(target) == {"auths": {"ghcr.io": auth("me")}}


def test_a_broken_file_is_not_written_over(home: Path) -> None:
    path = write(home / ".docker/config.json", '{"auths": ')
    with pytest.raises(StoreError, match="not a JSON document") as caught:
        store_credential("ghcr.io", Credential("me", "pw"), OPTIONS)
    assert caught.value.hint is not None
    assert path.read_text() == '{"auths": '


def test_a_write_that_fails_leaves_all_as_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(home / ".docker/config.json", {"auths": {"quay.io": auth("q")}})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="no space left"):
        store_credential("ghcr.io", Credential("me", "pw"), OPTIONS)
    assert read(path) == {"auths": {"quay.io": auth("q")}}
    assert [entry.name for entry in path.parent.iterdir()] == ["config.json"]


def test_into_the_helper(home: Path, helper: Path) -> None:
    path = write(home / ".docker/config.json", {"credsStore": "fake"})
    assert store_credential("ghcr.io", Credential("me", "pw"), OPTIONS).startswith("docker-credential-fake")
    assert read(helper / "answer") == {"ServerURL": "ghcr.io", "Username": "me", "Secret": "pw"}
    assert read(path) == {"credsStore": "fake", "auths": {"ghcr.io": {}}}
    assert user() == "me"
    assert erase_credential("ghcr.io", OPTIONS) == "docker-credential-fake (~/.docker/config.json)"
    assert not (helper / "answer").exists()
    assert read(path) == {"credsStore": "fake", "auths": {}}


def test_a_helper_that_refuses(home: Path, helper: Path) -> None:
    (helper / "refuse").touch()
    write(home / ".docker/config.json", {"credsStore": "fake"})
    with pytest.raises(StoreError, match="failed with status 1") as caught:
        store_credential("ghcr.io", Credential("me", "hunter2"), OPTIONS)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_many_logins_at_once_are_all_kept(tmp_path: Path) -> None:
    options = RegistryOptions(authfile=str(tmp_path / "auth.json"))
    hosts = [f"host{number}.example" for number in range(8)]
    threads = [
        threading.Thread(target=store_credential, args=(host, Credential("me", "pw"), options)) for host in hosts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(find_credential(host, "", options)[0] is not None for host in hosts)


def test_podman_finds_what_docker_keeps_and_the_other_way(tmp_path: Path) -> None:
    document: dict[str, object] = {"auths": {"https://index.docker.io/v1/": auth("me")}}
    path = write(tmp_path / "auth.json", document)
    assert not update_auth_file(path, lambda content: None)
    assert user("docker.io", "library/debian", RegistryOptions(authfile=str(path))) == "me"
