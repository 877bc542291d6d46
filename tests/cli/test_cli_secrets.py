"""Nothing secret is said or kept: no password, no token, no query of a Location, however a push fails."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_registry import PASSWORD, USER, FakeRegistry, answer, error

from imagekit import noise


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """All that any library logs, at every level."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, root = Keep(1), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(1)
    try:
        yield lines
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


FAULTS = [
    pytest.param({"PATCH": answer(503)}, 4, id="503"),
    pytest.param({"PATCH": error(403, "DENIED", "no")}, 5, id="403"),
    pytest.param({"PATCH": answer(401, WWW_Authenticate='Bearer realm="/token"')}, 5, id="401"),
    pytest.param({"POST": answer(202, Location="http://10.0.0.1/x?_state=secret-of-theirs")}, 4, id="Location"),
    pytest.param({"PATCH": answer(307, Location="file:///x?_state=secret-of-theirs")}, 4, id="redirect"),
    pytest.param({"PUT": error(400, "DIGEST_INVALID")}, 1, id="digest"),
    pytest.param({"PATCH": lambda handler: handler.connection.close()}, 4, id="closed"),
]


@pytest.mark.parametrize(("faults", "code"), FAULTS)
@pytest.mark.parametrize("progress", ["plain", "json", "tty"])
def test_nothing_secret_is_said_or_kept(
    hub: FakeRegistry,
    kit: Any,
    fastoci: Any,
    monkeypatch: pytest.MonkeyPatch,
    faults: dict[str, Any],
    code: int,
    progress: str,
) -> None:
    """With everything told that can be told: `-v`, tracebacks, what libraries log."""
    monkeypatch.setenv("FASTOCI_LOG", "debug")
    monkeypatch.setattr("fastoci.registry.patience.Pacer.wait", lambda self, seconds: None)
    hub.auth = "token"
    for method, action in faults.items():
        hub.on(method, "/blobs/upload", action, times=999, skip=1 if method in {"PATCH", "POST"} else 0)
    kit.add(kit.image(noise(700_000)), "1")
    home = Path(os.environ["HOME"], ".docker")
    home.mkdir()
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (home / "config.json").write_text(json.dumps({"auths": {hub.host: {"auth": login}}}))
    with logged() as lines:
        arguments = ("--chunk-size=100000", "--retry=3", "-v", f"--progress={progress}")
        found, out, err = fastoci("push", f"oci:{kit}:1", f"{hub.host}/me/app:1", *arguments)
    assert found == code, err
    assert "Traceback" in err
    assert f"{hub.host}" in err
    said = "\n".join([out, err, *lines])
    secrets = [PASSWORD, login, *hub.tokens]
    # The states of sessions are theirs as well as ours.
    private = [*secrets, "_state", "%2f..;", "secret-of-theirs"]
    assert [secret for secret in private if secret in said] == []
    kept = [path for path in Path(os.environ["FASTOCI_STATE_DIR"]).rglob("*") if path.is_file()]
    for path in kept:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [secret for secret in secrets if secret in path.read_text()] == []
        # An unfinished session can only be gone on with by its Location: that stands in its journal, and nowhere else.
        assert "_state" not in path.read_text() or path.parent.name == "uploads"


@pytest.mark.parametrize("answer_", ["nobody is there", "407", "garbage"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_password_of_a_proxy(
    kit: Any, fastoci: Any, monkeypatch: pytest.MonkeyPatch, answer_: str, scheme: str
) -> None:
    monkeypatch.setenv("FASTOCI_LOG", "debug")
    monkeypatch.setattr("fastoci.registry.patience.Pacer.wait", lambda self, seconds: None)
    kit.add(kit.image(), "1")
    login = base64.b64encode(b"me:s3cr3t").decode()
    words = {"407": b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", "garbage": b"\0\1\2"}
    with socket.create_server(("127.0.0.1", 0)) as listener, logged() as lines:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        if answer_ == "nobody is there":
            listener.close()
        else:
            threading.Thread(target=serve, args=(listener, words[answer_]), daemon=True).start()
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:s3cr3t@{address}")
        for arguments in ((), ("--plain-http",)):
            code, out, err = fastoci("push", f"oci:{kit}:1", "registry.example.com/me/app:1", "-v", *arguments)
            assert code in {4, 5}, err
            assert "Traceback" in err
            said = "\n".join([out, err, *lines])
            assert [secret for secret in ("s3cr3t", login) if secret in said] == []


def serve(listener: socket.socket, words: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(words)
