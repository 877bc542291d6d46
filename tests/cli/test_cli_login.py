from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from fake_registry import PASSWORD, USER


@pytest.fixture
def docker_file(no_credentials):
    return no_credentials / ".docker/config.json"


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_password_comes_from_stdin(end, hub, stdin, docker_file, fastoci):
    hub.auth = "basic"
    stdin(PASSWORD.encode() + end)
    code, out, err = fastoci("login", "-u", USER, "--password-stdin", hub.host)
    assert code == 0, err
    assert out == f"logged in to {hub.host} as {USER}; kept in ~/.docker/config.json\n"
    assert PASSWORD not in out + err
    assert hub.host in json.loads(docker_file.read_text())["auths"]


def test_a_password_in_the_arguments_draws_a_warning(hub, fastoci):
    hub.auth = "basic"
    code, out, err = fastoci("login", hub.host, "-u", USER, "-p", PASSWORD)
    assert code == 0
    assert "warning: --password can be read" in err
    assert "--password-stdin" in err
    assert PASSWORD not in out + err


def test_refused(hub, stdin, docker_file, fastoci):
    hub.auth = "token"
    stdin(b"wrong word")
    code, out, err = fastoci("login", hub.host, "-u", USER, "--password-stdin")
    assert (code, out) == (5, "")
    assert hub.host in err
    assert "wrong word" not in err
    assert not docker_file.exists()


def test_out_again(hub, stdin, docker_file, fastoci):
    hub.auth = "basic"
    stdin(PASSWORD.encode())
    fastoci("login", hub.host, "-u", USER, "--password-stdin")
    assert fastoci("logout", hub.host) == (0, f"logged out of {hub.host}; erased from ~/.docker/config.json\n", "")
    assert json.loads(docker_file.read_text()).get("auths", {}) == {}
    assert fastoci("logout", hub.host) == (0, f"no credentials were kept for {hub.host}\n", "")


def test_as_json(hub, tmp_path, stdin, fastoci):
    hub.auth = "basic"
    stdin(PASSWORD.encode())
    authfile = str(tmp_path / "auth.json")
    options = ("--authfile", authfile, "--json")
    _, out, _ = fastoci("login", hub.host, "-u", USER, "--password-stdin", *options)
    assert json.loads(out) == {"registry": hub.host, "username": USER, "place": authfile}
    _, out, _ = fastoci("logout", hub.host, *options)
    assert json.loads(out) == {"registry": hub.host, "place": authfile}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ghcr",), "not a registry"),
        (("ghcr.io/me",), "not a registry"),
        (("ghcr.io", "--password-stdin"), "-u USER"),
        (("ghcr.io", "-u", "me", "-p", "x", "--password-stdin"), "two passwords"),
        ((), "REGISTRY"),
    ],
)
def test_wrong_usage(arguments, said, fastoci):
    code, out, err = fastoci("login", *arguments)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe", b"x" * (65 << 10), b"two\nlines"])
def test_stdin_without_a_password(data, hub, stdin, fastoci):
    stdin(data)
    code, out, _ = fastoci("login", hub.host, "-u", USER, "--password-stdin")
    assert (code, out) == (2, "")
    assert hub.seen == []


def on_a_terminal(arguments, answers, home):
    """Run the command on a terminal, answer its questions, and return its exit code and what was to be seen."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["HOME"] = str(home)
        os.execv(sys.executable, [sys.executable, "-m", "fastoci", *arguments])
    seen, waiting, deadline = b"", list(answers), time.monotonic() + 120
    while time.monotonic() < deadline:
        if waiting and waiting[0][0] in seen:
            os.write(terminal, waiting.pop(0)[1])
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break  # EIO: the other side is closed
            if not piece:
                break
            seen += piece
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), seen.decode()


def test_it_asks_on_a_terminal_and_does_not_show_the_password(hub, no_credentials, docker_file):
    hub.auth = "basic"
    answers = [(b"User", f"{USER}\n".encode()), (b"Password", f"{PASSWORD}\n".encode())]
    code, seen = on_a_terminal(["login", hub.host], answers, no_credentials)
    assert code == 0, seen
    assert PASSWORD not in seen
    assert f"logged in to {hub.host} as {USER}" in seen
    assert hub.host in json.loads(docker_file.read_text())["auths"]


def test_ctrl_c_at_the_question(hub, no_credentials, docker_file):
    code, seen = on_a_terminal(["login", hub.host, "-u", USER], [(b"Password", b"\x03")], no_credentials)
    assert code == 130, seen
    assert "Traceback" not in seen
    assert not docker_file.exists()


def test_there_is_nobody_to_ask(hub, no_credentials):
    done = subprocess.run(
        [sys.executable, "-m", "fastoci", "login", hub.host],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HOME": str(no_credentials)},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--password-stdin" in done.stderr
