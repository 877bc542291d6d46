"""Credential helpers: programs `docker-credential-NAME` that keep secrets where files should not.

The protocol is docker's (docker/docker-credential-helpers): a verb as argument, the server's name or a JSON document on
stdin, JSON or a message on stdout. Nothing that a helper writes is repeated in an error, for it may hold a secret.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shutil
import subprocess
import time
from typing import Literal

from fastoci.errors import reason
from fastoci.registry.authfile import Credential, key_of

__all__ = ["HelperError", "helper_erase", "helper_get", "helper_store"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LIMIT = 128 << 10
_NOT_FOUND = "credentials not found in native keychain"
_TIMEOUT = 30.0


class HelperError(Exception):
    """A helper that is missing, does not answer in time, fails, or says what nobody understands."""


def helper_get(name: str, host: str) -> Credential | None:
    """Return what a helper knows for a host, None where it knows nothing.

    Args:
        name: The helper's name, without `docker-credential-`.
        host: The registry, as references name it.

    Raises:
        HelperError: See there.
    """
    status, output = _run(name, "get", key_of(host).encode())
    if status != 0:
        if output.decode(errors="replace").strip() == _NOT_FOUND:
            return None
        raise HelperError(f"docker-credential-{name} failed with status {status}")
    try:
        answer = json.loads(output)
    except (ValueError, RecursionError):
        raise HelperError(f"docker-credential-{name} did not answer with a JSON document") from None
    if not isinstance(answer, dict):
        raise HelperError(f"docker-credential-{name} did not answer with a JSON object")
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise HelperError(f"docker-credential-{name} answered without Username and Secret")
    if not secret:
        return None
    if username == "<token>":
        return Credential(identity_token=secret)
    return Credential(username, secret)


def helper_store(name: str, host: str, credential: Credential) -> None:
    """Give a helper a user and password to keep.

    Raises:
        HelperError: It did not take them.
    """
    entry = {"ServerURL": key_of(host), "Username": credential.username, "Secret": credential.password}
    _must(name, "store", json.dumps(entry).encode())


def helper_erase(name: str, host: str) -> None:
    """Have a helper forget a host; that it knew nothing of it is no failure.

    Raises:
        HelperError: It could not be run, or refused.
    """
    status, output = _run(name, "erase", key_of(host).encode())
    if status != 0 and output.decode(errors="replace").strip() != _NOT_FOUND:
        raise HelperError(f"docker-credential-{name} failed with status {status}")


def _must(name: str, verb: Literal["store"], data: bytes) -> None:
    status, _ = _run(name, verb, data)
    if status != 0:
        raise HelperError(f"docker-credential-{name} failed with status {status}")


def _run(name: str, verb: Literal["get", "store", "erase"], data: bytes) -> tuple[int, bytes]:
    # A slash in the name would run a program of the file's choosing from anywhere; no shell, for the same reason.
    if not _NAME.fullmatch(name):
        raise HelperError(f"not the name of a credential helper: {name!r}")
    program = shutil.which(f"docker-credential-{name}")
    if program is None:
        raise HelperError(f"docker-credential-{name} is not on PATH")
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own configuration names it, and the name was checked
            [program, verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise HelperError(f"{program} cannot be run: {reason(error)}") from error
    with process:
        try:
            output = _converse(process, data, time.monotonic() + _TIMEOUT)
        except BaseException:
            process.kill()
            raise
    if output is None:
        raise HelperError(f"docker-credential-{name} did not answer in {_TIMEOUT:.0f} s")
    if len(output) > _LIMIT:
        raise HelperError(f"docker-credential-{name} answered with more than {_LIMIT} bytes")
    return process.returncode, output


def _converse(process: subprocess.Popen[bytes], data: bytes, deadline: float) -> bytes | None:
    """Write what a helper reads (less than a pipe holds), and return what it writes; None where time is up."""
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:  # both are pipes; said for the type checker
        return None
    # It may not want to hear more; what it says is still read.
    with contextlib.suppress(BrokenPipeError):
        stdin.write(data + b"\n")
        stdin.flush()
    with contextlib.suppress(BrokenPipeError):
        stdin.close()
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while len(output) <= _LIMIT:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                process.kill()
                return None
            piece = os.read(stdout.fileno(), _LIMIT)
            if not piece:
                break
            output += piece
        else:
            process.kill()  # it is writing still
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        return None
    return output
