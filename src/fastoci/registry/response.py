"""A registry's answer: what it said, read within bounds."""

from __future__ import annotations

import json
import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Self

from urllib3.exceptions import HTTPError

from fastoci.registry.faults import Fault, TransportError, fault_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from urllib3.response import BaseHTTPResponse

    from fastoci.registry.urls import Url

__all__ = ["ERROR_LIMIT", "Response", "TooLongError", "parse_object"]

ERROR_LIMIT = 64 << 10
_PIECE = 64 << 10
_BODY_SECONDS = 60.0  # for a whole document: a server that drips is not waited for
_BLANKS = {ord(blank): " " for blank in "\t\n\r"}
_SHOWN = 300  # characters of a server's own words in a message


class TooLongError(Exception):
    """A body is longer than what may be read of it."""


class Response:
    """One answer. Whoever gets it reads its body or closes it, so that its connection is free again.

    Args:
        raw: urllib3's answer, its body unread.
        method: The request's method.
        url: The URL that answered, after all redirects.
    """

    def __init__(self, raw: BaseHTTPResponse, method: str, url: Url) -> None:
        self._raw = raw
        self.method = method
        self.url = url
        self.status = raw.status
        self._errors: bytes | None = None
        self.data = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def header(self, name: str) -> str | None:
        """Return a header's value (the first, where a server says it twice), None where it is missing."""
        values = self._raw.headers.getlist(name)
        return values[0].strip() if values else None

    def headers(self, name: str) -> Iterable[str]:
        """Return all values of a header, a line each."""
        return self._raw.headers.getlist(name)

    def length(self) -> int | None:
        """Return what Content-Length says, None where it is missing or no number."""
        value = self.header("Content-Length")
        return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 20 else None

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of the body as soon as there are any, none at its end.

        Raises:
            TransportError: The connection broke, or fell silent.
        """
        try:
            return self._raw.read1(size) or b""
        except (HTTPError, HTTPException, OSError) as error:
            trouble = fault_of(error)
            trouble.known, trouble.request = True, f"{self.method} {self.url}"
            raise trouble from error

    def body(self, limit: int) -> bytes:
        """Return the whole body.

        Args:
            limit: The most bytes it may have.

        Raises:
            TooLongError: It has more.
            TransportError: The connection broke, or the server took too long.
        """
        pieces: list[bytes] = []
        left = limit + 1
        deadline = time.monotonic() + _BODY_SECONDS
        while piece := self.read(min(left, _PIECE)):
            pieces.append(piece)
            left -= len(piece)
            if left == 0:
                self._raw.close()
                raise TooLongError
            if time.monotonic() > deadline:
                self._raw.close()
                raise TransportError(Fault.TIMEOUT, "it drips", known=True, request=f"{self.method} {self.url}")
        self._raw.release_conn()
        return b"".join(pieces)

    def load(self, limit: int) -> Response:
        """Read the whole body into `data` and return this; see `body`."""
        self.data = self.body(limit)
        return self

    def close(self) -> None:
        """Let go of the connection: to be used again where little is left to read, else cut."""
        if self._errors is not None:
            return
        try:
            self._errors = self.body(ERROR_LIMIT)
        except (TooLongError, TransportError):
            self._errors = b""
            self._raw.close()

    def drop(self) -> None:
        """Cut the connection: what is still to come is not wanted."""
        self._errors = b""
        self._raw.close()

    def codes(self) -> tuple[str, ...]:
        """Return the error codes of the registry's JSON (distribution specification, "Error Codes"), upper case."""
        return tuple(code for code, _ in self._said())

    def diagnostics(self) -> str:
        """Return what the server says about an error, in one line of bounded length; empty where it says nothing."""
        said = "; ".join(f"{code}: {message}" if message else code for code, message in self._said())
        if not said and (self.header("Content-Type") or "").startswith("text/plain"):
            said = (self._errors or b"").decode(errors="replace").strip()
        # A server's words go to a terminal: what would move its cursor is shown, not sent.
        said = said[: _SHOWN + 1].translate(_BLANKS)
        clean = "".join(letter if letter.isprintable() else _escaped(letter) for letter in said)
        return clean if len(clean) <= _SHOWN else clean[: _SHOWN - 1] + "…"

    def text(self) -> str:
        """Return the body of an error as lower-case text, for the quirks that only show there."""
        self.close()
        return (self._errors or b"").decode(errors="replace").lower()

    def _said(self) -> list[tuple[str, str]]:
        self.close()
        document = parse_object(self._errors or b"")
        errors = document.get("errors") if document else None
        if not isinstance(errors, list):
            # Token services say it in other ways: OAuth2's error and error_description, docker's details.
            error = document.get("error") if document else None
            message = document and (document.get("error_description") or document.get("details"))
            return [(error[:80], message if isinstance(message, str) else "")] if isinstance(error, str) else []
        said = []
        for entry in errors[:8]:
            if isinstance(entry, dict) and isinstance(code := entry.get("code"), str):
                message = entry.get("message")
                said.append((code.upper()[:80], message if isinstance(message, str) else ""))
        return said


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def parse_object(data: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object in a small document, None where it is none."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
