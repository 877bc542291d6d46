"""Nothing secret is said or kept: no password, no token, no query of a Location, however a push fails."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import stat
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
