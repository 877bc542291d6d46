"""Who is let in: Basic, and a token service under the registry's own roof."""

from __future__ import annotations

import json
import re
import secrets
from base64 import b64decode
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from fake_registry.registry import Reply

if TYPE_CHECKING:
    from fake_registry.registry import FakeRegistry

__all__ = ["IDENTITY_TOKEN", "PASSWORD", "USER", "Tokens", "fault"]

USER, PASSWORD = "me", "sec:ret"
IDENTITY_TOKEN = "identity-token"


def fault(status: int, code: str, message: str = "", **headers: str) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    return Reply(status, {"Content-Type": "application/json", **headers}, body)


class Tokens:
    """What a handler does about authorization."""

    registry: FakeRegistry
    command: str
    path: str
    headers: Any

    def read_all(self) -> bytes:
        raise NotImplementedError

    def denied(self, path: str) -> Reply | None:
        registry, sent = self.registry, self.headers.get("Authorization") or ""
        if registry.auth is None:
            return None
        if registry.auth == "basic":
            if _is_login(sent):
                return None
            return fault(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="a, registry"'})
        write = self.command in {"POST", "PUT", "PATCH", "DELETE"}
        name = re.match(r"/v2/(.+)/(blobs|manifests|referrers|tags)/", path)
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


def _is_login(header: str) -> bool:
    return header.startswith("Basic ") and b64decode(header[6:]).decode() == f"{USER}:{PASSWORD}"


def _covers(held: str, wanted: str) -> bool:
    name, _, actions = wanted.rpartition(":")
    held_name, _, held_actions = held.rpartition(":")
    return name == held_name and set(actions.split(",")) <= set(held_actions.split(","))
