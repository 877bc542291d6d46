from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess

import pytest
from fake_registry import PASSWORD, USER

from fastoci.errors import AccessDeniedError, RegistryError, StoreError, UsageError
from fastoci.login import login, logout, registry_host
from fastoci.push import push
from fastoci.registry.options import RegistryOptions
from imagekit import push_by_hand


@pytest.fixture(autouse=True)
def _home(no_credentials):
    pass


@pytest.fixture
def docker_file(no_credentials):
    return no_credentials / ".docker/config.json"


def encoded(user=USER, password=PASSWORD):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_credentials_that_the_registry_takes_are_kept(auth, hub, docker_file):
    hub.auth = auth
    done = login(hub.host, USER, PASSWORD)
    assert (done.registry, done.user, done.place) == (hub.host, USER, "~/.docker/config.json")
    assert json.loads(docker_file.read_text()) == {"auths": {hub.host: {"auth": encoded()}}}
    assert stat.S_IMODE(docker_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_credentials_that_the_registry_refuses_are_not_kept(auth, hub, docker_file):
    hub.auth = auth
    with pytest.raises(AccessDeniedError) as caught:
        login(hub.host, USER, "not the word")
    assert hub.host in caught.value.what
    assert "check the user and the password" in caught.value.hint
    assert "not the word" not in str(caught.value) + repr(caught.value.__dict__)
    assert not docker_file.exists()


def test_the_command_s_credentials_come_before_those_that_are_kept(hub, docker_file):
    hub.auth = "basic"
    login(hub.host, USER, PASSWORD)
    with pytest.raises(AccessDeniedError):
        login(hub.host, USER, "old")
    assert encoded() in docker_file.read_text()


def test_a_push_finds_them(hub, kit):
    hub.auth = "token"
    kit.add(kit.image(), "1")
    options = RegistryOptions(retry=1)
    with pytest.raises(AccessDeniedError):
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options)
    login(hub.host, USER, PASSWORD)
    push(f"oci:{kit}:1", [f"{hub.host}/me/app:1"], options)
    logout(hub.host)
    with pytest.raises(AccessDeniedError):
        push(f"oci:{kit}:1", [f"{hub.host}/me/app:2"], options)


def test_what_else_the_file_holds_stays(hub, docker_file):
    hub.auth = "basic"
    docker_file.parent.mkdir()
    before = {"auths": {"example.org": {"auth": "eDp5"}}, "credHelpers": {"example.net": "none"}, "other": [1]}
    docker_file.write_text(json.dumps(before))
    login(hub.host, USER, PASSWORD)
    after = json.loads(docker_file.read_text())
    assert after["auths"].pop(hub.host) == {"auth": encoded()}
    assert after == before
    assert logout(hub.host) == "~/.docker/config.json"
    assert json.loads(docker_file.read_text()) == before
    assert logout(hub.host) is None


def test_a_file_of_one_s_own(hub, docker_file, tmp_path, monkeypatch):
    hub.auth = "basic"
    named, variable = tmp_path / "auth.json", tmp_path / "other.json"
    login(hub.host, USER, PASSWORD, RegistryOptions(authfile=str(named)))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(variable))
    login(hub.host, USER, PASSWORD)
    assert not docker_file.exists()
    for path in (named, variable):
        assert list(json.loads(path.read_text())["auths"]) == [hub.host]
    assert logout(hub.host, RegistryOptions(authfile=str(named))) is not None
    assert json.loads(named.read_text()).get("auths", {}) == {}
    assert list(json.loads(variable.read_text())["auths"]) == [hub.host]


HELPER = """#!/bin/sh
case $1 in
store) cat > "$STATE" ;;
get) cat "$STATE" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm -f "$STATE" ;;
esac
"""


@pytest.mark.parametrize("form", ["credsStore", "credHelpers"])
def test_a_helper_keeps_them_where_one_is_named(form, hub, docker_file, tmp_path, monkeypatch):
    hub.auth = "basic"
    program = tmp_path / "bin/docker-credential-test"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(tmp_path / "state"))
    docker_file.parent.mkdir()
    docker_file.write_text(json.dumps({form: "test" if form == "credsStore" else {hub.host: "test"}}))
    done = login(hub.host, USER, PASSWORD)
    assert done.place == "docker-credential-test (~/.docker/config.json)"
    kept = json.loads((tmp_path / "state").read_text())
    assert (kept["Username"], kept["Secret"]) == (USER, PASSWORD)
    assert PASSWORD not in docker_file.read_text()
    assert encoded() not in docker_file.read_text()
    assert logout(hub.host) == "docker-credential-test (~/.docker/config.json)"
    assert not (tmp_path / "state").exists()


def test_a_helper_that_is_not_there(hub, docker_file):
    hub.auth = "basic"
    docker_file.parent.mkdir()
    docker_file.write_text('{"credsStore": "nowhere-to-be-found"}')
    with pytest.raises(StoreError) as caught:
        login(hub.host, USER, PASSWORD)
    assert PASSWORD not in str(caught.value)


def test_a_file_that_is_broken(hub, docker_file):
    hub.auth = "basic"
    docker_file.parent.mkdir()
    docker_file.write_text("{")
    with pytest.raises(StoreError):
        login(hub.host, USER, PASSWORD)
    assert docker_file.read_text() == "{"


def test_a_host_that_does_not_answer():
    with pytest.raises(RegistryError) as caught:
        login("127.0.0.1:1", USER, PASSWORD, RegistryOptions(retry=1))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("ghcr.io", "ghcr.io"),
        ("localhost", "localhost"),
        ("localhost:5000", "localhost:5000"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/", "ghcr.io"),
        ("http://127.0.0.1:5000/v2/", "127.0.0.1:5000"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_names_of_registries(text, host):
    assert registry_host(text) == host


@pytest.mark.parametrize("text", ["", "ghcr", "ghcr.io/me", "ghcr.io/me/app:1", "me@ghcr.io", "ghcr.io:port", "a b.c"])
def test_what_names_no_registry(text):
    with pytest.raises(UsageError) as caught:
        registry_host(text)
    assert caught.value.hint


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("x", ""), ("a:b", "x"), ("x", "a\nb"), ("a\x00", "x")])
def test_what_cannot_be_a_user_or_password(user, password, hub):
    with pytest.raises(UsageError):
        login(hub.host, user, password)
    assert hub.seen == []


@pytest.mark.parametrize("program", ["podman", "skopeo"])
def test_podman_and_skopeo_find_them(program, hub, kit, tmp_path):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on PATH: apt-get install {program}")
    hub.auth = "basic"
    login(hub.host, USER, PASSWORD)
    if program == "podman":
        command = ["podman", "login", "--get-login", hub.host]
    else:
        push_by_hand(kit, hub, "me/app", kit.image(), "1")
        command = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{hub.host}/me/app:1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if program == "podman":
        assert done.stdout.strip() == USER
