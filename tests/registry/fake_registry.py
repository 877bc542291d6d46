"""A registry in this process that behaves like distribution, and fails on demand.

Three styles differ in what an upload session does when a PATCH is cut in its middle (see each one's class attribute):
`3.1` goes on at the byte, `2.8` keeps the bytes but loses the session, `zot` throws it away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import socket
import struct
import threading
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import ssl

USER, PASSWORD = "me", "sec:ret"
IDENTITY_TOKEN = "identity-token"

_UPLOAD = re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<id>[0-9a-f]+)?$")
_BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[a-z0-9]+:[0-9a-f]+)$")
_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)$")


@dataclass
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Seen:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class GoneError(Exception):
    """The connection is to be reset now."""


Action = Callable[["Handler"], Reply | None]


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


class FakeRegistry:
    """The registry. Attributes may be changed between requests."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.style = "3.1"
        self.auth: str | None = None  # "basic" or "token"
        self.anonymous_pull = False
        self.token_life: object = 300
        self.locations = "absolute"
        self.realm: str | None = None
        self.refuse_oauth: int | None = None
        self.challenge_scope: str | None = None
        self.digest_header = True
        self.min_chunk: int | None = None
        self.max_chunk: str | None = None
        self.reported_range: Callable[[int], str | None] = lambda held: f"0-{held - 1}" if held else "0-0"

        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.sessions: dict[str, Session] = {}
        self.tokens: dict[str, set[str]] = {}
        self.seen: list[Seen] = []
        self.rules: list[Rule] = []
        self.lock = threading.RLock()

        registry = self

        class Bound(Handler):
            pass

        Bound.registry = registry
        self.handler = Bound
        self.context = context
        self.scheme = "http" if context is None else "https"
        self.connections: set[socket.socket] = set()
        self.start(0)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def start(self, port: int) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self.handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # what fails there, fails on purpose
        if self.context is not None:
            self.server.socket = self.context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def on(self, method: str, part: str, action: Action, *, times: int = 1, skip: int = 0) -> None:
        """Have `action` answer requests of `method` whose target holds `part`: `times` of them, after `skip`."""
        self.rules.append(Rule(method, part, action, times, skip))

    def rule_for(self, method: str, target: str) -> Action | None:
        with self.lock:
            for rule in self.rules:
                if rule.method == method and rule.part in target and rule.times > 0:
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


# Actions.


def answer(status: int, body: bytes | str = b"", *, read: bool = True, **headers: str) -> Action:
    """Answer without doing anything; `read` says whether the request's body is read before."""

    def act(handler: Handler) -> Reply:
        if read:
            handler.read_all()
        else:
            handler.close_connection = True
        data = body.encode() if isinstance(body, str) else body
        return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, data)

    return act


def error(status: int, code: str, message: str = "", **headers: str) -> Action:
    return answer(status, json.dumps({"errors": [{"code": code, "message": message}]}), **headers)


def reset_at(count: int) -> Action:
    """Take `count` bytes of the body, then reset the connection."""

    def act(handler: Handler) -> Reply | None:
        handler.cut_after = count
        return handler.dispatch()

    return act


def lose_answer(handler: Handler) -> Reply | None:
    """Do what is asked, and reset the connection before the answer."""
    handler.dispatch()
    raise GoneError


def change(**headers: str | None) -> Action:
    """Do what is asked, and answer with other headers; None takes one out."""

    def act(handler: Handler) -> Reply:
        reply = handler.dispatch()
        for name, value in headers.items():
            key = name.replace("_", "-")
            reply.headers.pop(key, None)
            if value is not None:
                reply.headers[key] = value
        return reply

    return act


class Handler(BaseHTTPRequestHandler):
    registry: FakeRegistry
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    cut_after: int | None = None
    unread = 0

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class calls it so
        pass

    def do(self) -> None:
        self.unread = int(self.headers.get("Content-Length") or 0)
        self.cut_after = None
        self.seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        with self.registry.lock:
            self.registry.seen.append(self.seen)
        action = self.registry.rule_for(self.command, self.path)
        try:
            reply = action(self) if action else self.dispatch()
            if reply is not None:
                self.send(reply)
        except GoneError:
            self.reset()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = do  # noqa: N815 - http.server's names

    def reset(self) -> None:
        """Send an RST: with data unread in the receive buffer a shutdown of that side comes first."""
        sock = self.connection
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket.shutdown(sock, socket.SHUT_RD)
        self.close_connection = True
        self.rfile.close()
        with contextlib.suppress(OSError):
            self.wfile.close()
        sock.close()

    def setup(self) -> None:
        super().setup()
        self.registry.connections.add(self.connection)

    def finish(self) -> None:
        self.registry.connections.discard(self.connection)
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def send(self, reply: Reply) -> None:
        if self.unread:
            self.close_connection = True
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204 and "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()
        if self.unread:  # let the answer arrive before what is left unread makes the kernel send an RST
            self.connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while self.connection.recv(65536):
                    pass

    def read(self, size: int) -> bytes:
        if self.cut_after is not None:
            size = min(size, self.cut_after)
        data = self.rfile.read(min(size, self.unread))
        self.unread -= len(data)
        if self.cut_after is not None:
            self.cut_after -= len(data)
        return data

    def read_all(self) -> bytes:
        data = b""
        while self.unread:
            piece = self.read(self.unread)
            data += piece
            if not piece or self.cut_after == 0:
                raise GoneError
        self.seen.body = data
        return data

    # What a registry does.

    def dispatch(self) -> Reply:
        path = urlsplit(self.path).path
        if path == "/token":
            return self.token()
        if (denied := self.denied(path)) is not None:
            self.read_all()
            return denied
        if path == "/v2/":
            return Reply(200, {"Content-Type": "application/json"}, b"{}")
        if found := _UPLOAD.match(path):
            return self.start_upload(found["name"]) if found["id"] is None else self.upload(found["name"], found["id"])
        if found := _BLOB.match(path):
            return self.blob(found["name"], found["digest"])
        if found := _MANIFEST.match(path):
            return self.manifest(found["name"], found["reference"])
        return fault(404, "NOT_FOUND")

    def denied(self, path: str) -> Reply | None:
        registry, sent = self.registry, self.headers.get("Authorization") or ""
        if registry.auth is None:
            return None
        if registry.auth == "basic":
            if _is_login(sent):
                return None
            return fault(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="a, registry"'})
        write = self.command in {"POST", "PUT", "PATCH", "DELETE"}
        name = re.match(r"/v2/(.+)/(blobs|manifests)/", path)
        wanted = f"repository:{name[1]}:{'pull,push' if write else 'pull'}" if name else ""
        if registry.anonymous_pull and not write:
            return None
        held = registry.tokens.get(sent.removeprefix("Bearer "))
        if held is not None and (not wanted or any(_covers(one, wanted) for one in held)):
            return None
        realm = registry.realm or f"{registry.url}/token"
        challenge = f'Bearer realm="{realm}",service="a, service"'
        scope = registry.challenge_scope or wanted
        if scope:
            challenge += f',scope="{scope}"'
        return fault(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})

    def token(self) -> Reply:
        registry = self.registry
        if self.command == "POST":
            form = parse_qs(self.read_all().decode())
            if registry.refuse_oauth is not None:
                return Reply(registry.refuse_oauth)
            if form.get("refresh_token") != [IDENTITY_TOKEN]:
                return Reply(401, {}, b'{"error": "invalid_grant"}')
            scopes = form.get("scope", [""])[0].split()
        else:
            query = parse_qs(urlsplit(self.path).query)
            sent = self.headers.get("Authorization")
            if sent is not None and not _is_login(sent):
                return Reply(401, {}, b'{"details": "incorrect username or password"}')
            scopes = query.get("scope", [])
            if sent is None:
                scopes = [scope for scope in scopes if registry.anonymous_pull and scope.endswith(":pull")]
        token = secrets.token_hex(8)
        registry.tokens[token] = set(scopes)
        answer = {"token" if self.command == "GET" else "access_token": token, "expires_in": registry.token_life}
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def start_upload(self, name: str) -> Reply:
        self.read_all()
        query = parse_qs(urlsplit(self.path).query)
        if "mount" in query:
            digest, source = query["mount"][0], query["from"][0]
            data = self.registry.blobs.get(source, {}).get(digest)
            if data is not None:
                self.registry.put_blob(name, data)
                return Reply(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})
        key = secrets.token_hex(8)
        self.registry.sessions[key] = Session(name)
        reply = self.session_reply(202, name, key)
        if self.registry.min_chunk is not None:
            reply.headers["OCI-Chunk-Min-Length"] = str(self.registry.min_chunk)
        if self.registry.max_chunk is not None:
            reply.headers["OCI-Chunk-Max-Length"] = self.registry.max_chunk
        return reply

    def session_reply(self, status: int, name: str, key: str) -> Reply:
        session = self.registry.sessions[key]
        # Bytes that a client which parses and encodes again would change.
        state = f"_state=%3d{secrets.token_urlsafe(6)}%2f..;+~&b=/../{len(session.data)}"
        # 2.8 compares the offset in the state with what it holds, and so takes only the last one it gave out.
        session.states = {state} if self.registry.style == "2.8" else {*session.states, state}
        target = f"/v2/{name}/blobs/uploads/{key}?{state}"
        if self.registry.locations == "absolute":
            target = f"{self.registry.url}{target}"
        elif self.registry.locations == "relative" and self.command != "POST":
            target = f"{key}?{state}"
        headers = {"Location": target}
        reported = self.registry.reported_range(len(session.data))
        if reported is not None:
            headers["Range"] = reported
        return Reply(status, headers)

    def upload(self, name: str, key: str) -> Reply:
        session = self.registry.sessions.get(key)
        _target, _, query = self.path.partition("?")
        query = re.sub(r"&digest=[^&]*$", "", query)
        if session is None or session.name != name:
            self.read_all()
            return fault(404, "BLOB_UPLOAD_UNKNOWN")
        if session.lost or query not in session.states:
            self.read_all()
            return fault(404, "BLOB_UPLOAD_INVALID")
        if self.command == "GET":
            return self.session_reply(204, name, key)
        if self.command == "DELETE":
            del self.registry.sessions[key]
            return Reply(204)
        if self.command == "PATCH" or self.unread:
            start = len(session.data)
            given = self.headers.get("Content-Range")
            if given is not None and not re.fullmatch(rf"{start}-{start + self.unread - 1}", given):
                self.read_all()
                reply = self.session_reply(416, name, key)
                reply.body = b'{"errors": [{"code": "RANGE_INVALID"}]}'
                return reply
            self.receive(session, key)
            if self.command == "PATCH":
                return self.session_reply(202, name, key)
        return self.complete(session, key)

    def receive(self, session: Session, key: str) -> None:
        while self.unread:
            piece = self.read(min(self.unread, 65536))
            session.data += piece
            if not piece or self.cut_after == 0:
                if self.registry.style == "2.8":
                    session.lost = True
                elif self.registry.style == "zot":
                    del self.registry.sessions[key]
                raise GoneError

    def complete(self, session: Session, key: str) -> Reply:
        wanted = parse_qs(urlsplit(self.path).query).get("digest", [""])[0]
        data = bytes(session.data)
        if wanted != f"sha256:{hashlib.sha256(data).hexdigest()}":
            del self.registry.sessions[key]
            return fault(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        del self.registry.sessions[key]
        self.registry.put_blob(session.name, data)
        headers = {"Location": f"/v2/{session.name}/blobs/{wanted}"}
        if self.registry.digest_header:
            headers["Docker-Content-Digest"] = wanted
        return Reply(201, headers)

    def blob(self, name: str, digest: str) -> Reply:
        data = self.registry.blobs.get(name, {}).get(digest)
        if data is None:
            return fault(404, "BLOB_UNKNOWN")
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers.get("Range") or "")
        if asked:
            first, last = int(asked[1]), int(asked[2] or len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return Reply(206, headers, data[first : last + 1])
        if self.command == "HEAD":
            headers["Content-Length"] = str(len(data))
            return Reply(200, headers)
        return Reply(200, headers, data)

    def manifest(self, name: str, reference: str) -> Reply:
        manifests = self.registry.manifests.setdefault(name, {})
        if self.command == "PUT":
            data = self.read_all()
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            manifests[reference] = manifests[digest] = (self.headers["Content-Type"], data)
            return Reply(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/manifests/{digest}"})
        found = manifests.get(reference)
        if found is None:
            return fault(404, "MANIFEST_UNKNOWN", "manifest unknown")
        digest = f"sha256:{hashlib.sha256(found[1]).hexdigest()}"
        return Reply(200, {"Content-Type": found[0], "Docker-Content-Digest": digest}, found[1])


def fault(status: int, code: str, message: str = "", **headers: str) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    return Reply(status, {"Content-Type": "application/json", **headers}, body)


def _is_login(header: str) -> bool:
    return header.startswith("Basic ") and b64decode(header[6:]).decode() == f"{USER}:{PASSWORD}"


def _covers(held: str, wanted: str) -> bool:
    name, _, actions = wanted.rpartition(":")
    held_name, _, held_actions = held.rpartition(":")
    return name == held_name and set(actions.split(",")) <= set(held_actions.split(","))
