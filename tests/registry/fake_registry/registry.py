"""The registry's memory, its sockets, and the rules by which it fails."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

from fake_registry.profiles import PROFILES

if TYPE_CHECKING:
    import ssl

    from fake_registry.actions import Action

__all__ = ["FakeRegistry", "GoneError", "Reply", "Seen", "Session"]


@dataclass
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Seen:
    """One request as it came in, `body` as far as it was read."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class GoneError(Exception):
    """The connection is to be reset now."""


@dataclass
class Rule:
    method: str
    part: str
    action: Action
    times: int
    skip: int


@dataclass
class Session:
    name: str
    data: bytearray = field(default_factory=bytearray)
    lost: bool = False
    states: set[str] = field(default_factory=set)
    chunks: list[int] = field(default_factory=list)  # the sizes of the PATCHes that were stored


class FakeRegistry:
    """The registry. Attributes may be changed between requests.

    Args:
        context: For TLS; None speaks HTTP.
        style: Whom it plays, a name in `PROFILES`.
    """

    def __init__(self, context: ssl.SSLContext | None = None, style: str = "3.1") -> None:
        from fake_registry.handler import Handler

        self.style = style
        self.auth: str | None = None  # "basic" or "token"
        self.anonymous_pull = False
        self.token_life: object = 300
        self.realm: str | None = None
        self.challenge_scope: str | None = None
        self.digest_header = True
        self.checks_manifests = False  # whether a manifest's blobs must stand
        self.repositories: set[str] = set()  # those that were made beforehand
        self.reported_range: Callable[[int], str | None] = lambda held: f"0-{held - 1}" if held else "0-0"

        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.sessions: dict[str, Session] = {}
        self.tokens: dict[str, set[str]] = {}
        self.signatures: set[str] = set()  # of URLs at the storage that are still good
        self.seen: list[Seen] = []
        self.storage_seen: list[Seen] = []
        self.received = 0  # bytes of bodies
        self.rules: list[Rule] = []
        self.lock = threading.RLock()

        class Bound(Handler):
            registry = self

        self.handler = Bound
        self.context = context
        self.scheme = "http" if context is None else "https"
        self.connections: set[socket.socket] = set()
        self.start(0)
        # Where blobs are read from by a signed URL: another origin, which is there once somebody is sent to it.
        self.storage: ThreadingHTTPServer | None = None
        self.storage_thread: threading.Thread | None = None

    @property
    def style(self) -> str:
        return self._style

    @style.setter
    def style(self, name: str) -> None:
        profile = PROFILES[name]
        self._style, self.profile = name, profile
        self.locations: str = profile.locations
        self.min_chunk = profile.min_chunk
        self.max_chunk = None if profile.max_chunk is None else str(profile.max_chunk)
        self.refuse_oauth = None if profile.oauth else 400

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def storage_url(self) -> str:
        with self.lock:
            if self.storage is None:
                self.storage, self.storage_thread = self.serve(0)
            return f"{self.scheme}://127.0.0.1:{self.storage.server_port}"

    def serve(self, port: int) -> tuple[ThreadingHTTPServer, threading.Thread]:
        server = ThreadingHTTPServer(("127.0.0.1", port), self.handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # what fails there, fails on purpose
        if self.context is not None:
            context, accept = self.context, server.get_request

            def secured() -> tuple[socket.socket, object]:
                connection, address = accept()
                return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

            server.get_request = secured  # type: ignore[method-assign]  # and not the listening one: see `TlsSocket`
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        return server, thread

    def start(self, port: int) -> None:
        self.server, self.thread = self.serve(port)

    def stop(self) -> None:
        """Stop as if killed: nobody listens, and every connection is cut."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        self.stop()
        if self.storage is not None and self.storage_thread is not None:
            self.storage.shutdown()
            self.storage.server_close()
            self.storage_thread.join()

    def on(self, method: str, part: str, action: Action, *, times: int = 1, skip: int = 0) -> None:
        """Have `action` answer requests of `method` whose target holds `part`: `times` of them, after `skip`."""
        self.rules.append(Rule(method, part, action, times, skip))

    def rule_for(self, method: str, target: str) -> Action | None:
        with self.lock:
            for rule in self.rules:
                if rule.method in {method, "*"} and rule.part in target and rule.times > 0:
                    if rule.skip:
                        rule.skip -= 1
                        continue
                    rule.times -= 1
                    return rule.action
        return None

    def requests(self, method: str, part: str = "") -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and part in seen.target]

    def put_blob(self, name: str, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs.setdefault(name, {})[digest] = data
        return digest

    def expire_tokens(self) -> None:
        self.tokens.clear()
