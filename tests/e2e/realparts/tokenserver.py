"""A token service as distribution's `auth.token` expects it: RS256, with the certificate in the token's `x5c` header.

https://distribution.github.io/distribution/spec/auth/jwt/ has the claims, .../spec/auth/token/ the request.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ISSUER = "fastoci-test-issuer"
SERVICE = "fastoci-test-registry"


@dataclass(frozen=True)
class User:
    """Somebody the service knows, and what they may do in any repository."""

    password: str
    actions: frozenset[str] = frozenset({"pull", "push"})


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _certificate(
    subject: str, key: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey, *, ca: bool
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


@dataclass
class TokenServer:
    """A token service on a free loopback port, serving from a thread of its own until `close`.

    Args:
        users: Who is let in, by name.
        lifetime: Seconds that a token is good for.
    """

    users: Mapping[str, User]
    lifetime: int = 300
    granted: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)  # who asked, for which scopes
    refused: int = 0

    def __post_init__(self) -> None:
        root_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.root = _certificate("fastoci test root", root_key, "fastoci test root", root_key, ca=True)
        self._leaf = _certificate("fastoci test signer", self._key, "fastoci test root", root_key, ca=False)
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = service.answer(self.path, self.headers.get("Authorization"))
                data = json.dumps(body).encode()
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="tokens"')
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
                """Keep quiet: what was asked is in `granted` and `refused`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="token server")
        self._thread.start()

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def write_bundle(self, path: Path) -> Path:
        """Write the root certificate that the registry is to trust."""
        path.write_bytes(self.root.public_bytes(serialization.Encoding.PEM))
        return path

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, target: str, authorization: str | None) -> tuple[int, dict[str, Any]]:
        """Return the status and the body for one request."""
        query = parse_qs(urlsplit(target).query)
        name, user = self._caller(authorization)
        if authorization is not None and user is None:
            self.refused += 1
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}
        # Several scopes come as repeated parameters, from some clients as one parameter with spaces.
        scopes = tuple(scope for value in query.get("scope", []) for scope in value.split())
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            repository, _, actions = rest.rpartition(":")
            allowed = sorted(set(actions.split(",")) & (user.actions if user else frozenset()))
            if allowed:
                access.append({"type": kind, "name": repository, "actions": allowed})
        self.granted.append((name, scopes))
        token = self._token(name, query.get("service", [SERVICE])[0], access)
        return 200, {"token": token, "access_token": token, "expires_in": self.lifetime}

    def _caller(self, authorization: str | None) -> tuple[str, User | None]:
        kind, _, encoded = (authorization or "").partition(" ")
        if kind.lower() != "basic":
            return "", None
        name, _, password = base64.b64decode(encoded).decode().partition(":")
        user = self.users.get(name)
        return name, user if user is not None and secrets.compare_digest(user.password, password) else None

    def _token(self, subject: str, audience: str, access: list[dict[str, Any]]) -> str:
        chain = [base64.b64encode(self._leaf.public_bytes(serialization.Encoding.DER)).decode()]
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "nbf": now - 10,
            "exp": now + self.lifetime,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        header = {"typ": "JWT", "alg": "RS256", "x5c": chain}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"
