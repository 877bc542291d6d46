"""Getting in: Basic, and the Bearer tokens of a token service (distribution, "Token Authentication Specification").

The registry says by a 401 what it wants. A Bearer token is asked of the service that the challenge names, kept for its
scope set, renewed before it runs out, and fetched by one thread while the others that want the same one wait.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode

from fastoci.errors import AccessDeniedError, RegistryError, RegistryResponseError
from fastoci.registry.challenge import Challenge, parse_challenges
from fastoci.registry.credentials import Credential, Found, find_credential
from fastoci.registry.refusals import cause_of, refusal
from fastoci.registry.response import Response, TooLongError, parse_object
from fastoci.registry.transport import Authorization, Transport, leads_inside
from fastoci.registry.urls import InvalidUrlError, Origin, Url, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastoci.events import Sink
    from fastoci.registry.options import RegistryOptions

__all__ = ["Authenticator", "Scopes", "pull_scope", "push_scope"]

Scopes = tuple[str, ...]

TOKEN_LIMIT = 128 << 10
DEFAULT_LIFE = 60.0
LONGEST_LIFE = 86400.0

_TOKEN = re.compile(r"[\x21-\x7e]+")
_SCOPE = re.compile(r"[\x21-\x7e]+")
# Services that know no POST, or not for this: GCR and Google answer 404, Artifactory 401, ACR 400, others 405.
_NO_OAUTH = frozenset({400, 401, 404, 405})


def pull_scope(repository: str) -> str:
    """Return the scope that reading a repository takes."""
    return f"repository:{repository}:pull"


def push_scope(repository: str) -> str:
    """Return the scope that writing to a repository takes."""
    return f"repository:{repository}:pull,push"


class _Token(NamedTuple):
    value: str
    renew_at: float  # on the monotonic clock


@dataclass(slots=True)
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    token: _Token | None = None
    extra: tuple[str, ...] = ()  # scopes that the registry asked for beside those that we knew


class Grant(NamedTuple):
    """What to send with a request.

    Args:
        authorization: None sends nothing.
        fresh: Whether it was made for this request; if it is refused, another one would be, too.
    """

    authorization: Authorization | None
    fresh: bool


class Authenticator:
    """What a registry has asked for, and what it was given. Any thread may use it.

    Args:
        host: The registry, as references name it.
        options: The credentials options of it count.
        transport: By which the token service is reached.
        sink: Told where credentials were found.
        patiently: Calls something that sends a request until it gets an answer that is no passing failure.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        host: str,
        options: RegistryOptions,
        transport: Transport,
        sink: Sink,
        *,
        patiently: Callable[[Callable[[], Response]], Response],
        clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._options = options
        self._transport = transport
        self._sink = sink
        self._patiently = patiently
        self._clock = clock
        self._lock = threading.Lock()
        self._challenge: tuple[Challenge, Url] | None = None
        self._slots: dict[Scopes, _Slot] = {}
        self._found: dict[str, Found] = {}

    def identity(self, scopes: Scopes) -> str:
        """Return as whom requests with these scopes are made: user and source, as they may be shown."""
        found = self._credential(scopes)
        if found.credential is None:
            return "anonymous"
        user = f"user {found.credential.username}" if found.credential.username else "a token"
        return f"{user}, {found.source}"

    def grant(self, origin: Origin, scopes: Scopes) -> Grant:
        """Return what to send with a request, by what the registry has asked for before.

        Args:
            origin: The registry's own.
            scopes: What the request needs.

        Raises:
            AccessDeniedError: The token service does not let this caller in.
            RegistryError: It cannot be reached, or does not do what it should.
        """
        challenge = self._challenge
        if challenge is None:
            return Grant(None, fresh=False)
        return self._answer(challenge, origin, scopes, refused=None)

    def challenged(self, response: Response) -> Challenge | None:
        """Note what a 401 asks for, and return it; None where it asks for nothing that is known here."""
        offered: dict[str, Challenge] = {}
        for challenge in parse_challenges(response.headers("WWW-Authenticate")):
            offered.setdefault(challenge.scheme, challenge)
        chosen = offered.get("bearer") or offered.get("basic")
        if chosen is not None:
            with self._lock:
                self._challenge = (chosen, response.url)
        return chosen

    def renew(self, response: Response, origin: Origin, scopes: Scopes, refused: Grant) -> Grant | None:
        """Return what to send after a 401, None where there is nothing better than what was sent.

        Args:
            response: The answer with the challenge.
            origin: The registry's own.
            scopes: What the request needs.
            refused: What was sent.

        Raises:
            AccessDeniedError: See `grant`.
            RegistryError: See `grant`.
        """
        response.close()
        chosen = self.challenged(response)
        if chosen is None:
            return None
        grown = chosen.scheme == "bearer" and self._widen(scopes, chosen.parameters.get("scope", ""))
        if refused.fresh and not grown:
            return None
        sent = refused.authorization
        grant = self._answer((chosen, response.url), origin, scopes, refused=sent.value if sent else None)
        same = sent is not None and grant.authorization == sent
        return None if same or grant.authorization is None else grant

    def _answer(self, asked: tuple[Challenge, Url], origin: Origin, scopes: Scopes, *, refused: str | None) -> Grant:
        challenge, url = asked
        credential = self._credential(scopes).credential
        if challenge.scheme == "basic":
            if credential is None or not credential.username:
                return Grant(None, fresh=False)
            return Grant(Authorization(origin, credential.basic()), fresh=False)
        if credential is not None and credential.registry_token:
            return Grant(Authorization(origin, f"Bearer {credential.registry_token}"), fresh=False)
        slot = self._slot(scopes)
        with slot.lock:
            token = slot.token
            stale = token is None or self._clock() >= token.renew_at or f"Bearer {token.value}" == refused
            if token is None or stale:
                token = slot.token = self._fetch(challenge, url, (*scopes, *slot.extra), credential)
        return Grant(Authorization(origin, f"Bearer {token.value}"), fresh=stale)

    def _credential(self, scopes: Scopes) -> Found:
        repository = scopes[0].split(":")[1] if scopes else ""
        with self._lock:
            found = self._found.get(repository)
            if found is None:
                found = self._found[repository] = find_credential(self._host, repository, self._options, self._sink)
            return found

    def _slot(self, scopes: Scopes) -> _Slot:
        with self._lock:
            return self._slots.setdefault(scopes, _Slot())

    def _widen(self, scopes: Scopes, asked: str) -> bool:
        """Note the scopes that a challenge asks for and ours do not hold; say whether there were any."""
        slot = self._slot(scopes)
        with slot.lock:
            held = {*scopes, *slot.extra}
            new = [scope for scope in asked.split()[:8] if _SCOPE.fullmatch(scope) and not _covered(scope, held)]
            if not new or len(slot.extra) > 8:
                return False
            slot.extra = (*slot.extra, *new)
            slot.token = None
            return True

    def _fetch(self, challenge: Challenge, asked: Url, scopes: Sequence[str], credential: Credential | None) -> _Token:
        realm = self._realm(challenge, asked)
        service = challenge.parameters.get("service", "")
        start = self._clock()
        try:
            response = self._request(realm, service, scopes, credential)
        except TooLongError:
            raise RegistryResponseError(
                f"the token service of {self._host} gives no token",
                cause=f"{realm}: its answer is longer than {TOKEN_LIMIT} bytes",
                url=str(realm),
            ) from None
        if response.status != 200:
            raise self._denied(response, scopes)
        document = parse_object(response.data)
        value = document and (document.get("token") or document.get("access_token"))
        if document is None or not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise RegistryResponseError(
                f"the token service of {self._host} gives no token",
                cause=f"{response.method} {response.url}: its answer holds none",
                method=response.method,
                url=str(response.url),
                status=response.status,
            )
        life = _life(document.get("expires_in"))
        return _Token(value, start + life - min(0.2 * life, 30.0))

    def _request(self, realm: Url, service: str, scopes: Sequence[str], credential: Credential | None) -> Response:
        if credential is not None and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": "fastoci",
                "scope": " ".join(scopes),
                "refresh_token": credential.identity_token,
            }
            data = urlencode(form).encode("ascii")
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            # Not followed: the body is a secret, and a redirect would carry it to another origin.
            response = self._patiently(
                lambda: _loaded(self._transport.send("POST", realm, headers=headers, body=data, follow=False))
            )
            if response.status not in _NO_OAUTH:
                return response
            response.close()
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        if credential is not None and credential.username and not credential.identity_token:
            query.insert(0, ("account", credential.username))
        url = realm
        for name, value in query:
            url = url.with_query(f"{name}={quote(value, safe='')}")
        basic = None if credential is None else Authorization(realm.origin, credential.basic())
        return self._patiently(lambda: _loaded(self._transport.send("GET", url, authorization=basic)))

    def _realm(self, challenge: Challenge, asked: Url) -> Url:
        text = challenge.parameters.get("realm", "")
        try:
            if not text:
                raise InvalidUrlError("it is empty")  # noqa: TRY301 - one error for all that is wrong with a realm
            realm = asked.join(text)
        except InvalidUrlError as error:
            raise self._unusable(f"the token service's URL cannot be used: {error}") from error
        insecure = self._options.plain_http or not self._options.tls_verify
        here = is_loopback(realm.origin.host) and is_loopback(asked.origin.host)
        if realm.origin.scheme == "http" and not insecure and not here:
            raise self._unusable(
                f"the token service is to be asked in the clear: {realm}", "--plain-http, if that is as it should be"
            )
        if leads_inside(realm.origin, asked.origin):
            raise self._unusable(f"the token service is in a private network: {realm}")
        return realm

    def _denied(self, response: Response, scopes: Sequence[str]) -> RegistryError:
        identity = self.identity(tuple(scopes))
        if response.status in {400, 401, 403}:
            return AccessDeniedError(
                f"not let in to {self._host}",
                cause=cause_of(response, identity),
                hint=f"fastoci login {self._host}",
                method=response.method,
                url=str(response.url),
                status=response.status,
            )
        return refusal(response, f"the token service of {self._host} gives no token", host=self._host)

    def _unusable(self, why: str, hint: str | None = None) -> RegistryError:
        return RegistryError(f"cannot get in to {self._host}", cause=why, hint=hint)


def _loaded(response: Response) -> Response:
    return response.load(TOKEN_LIMIT) if response.status == 200 else response


def _life(value: object) -> float:
    """Return the seconds a token lives, by its `expires_in`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:  # a NaN is not, either
        return DEFAULT_LIFE
    return float(min(value, LONGEST_LIFE))


def _covered(scope: str, held: set[str]) -> bool:
    """Return whether a scope (`type:name:action,action`) asks for nothing that those held do not hold."""
    name, _, actions = scope.rpartition(":")
    allowed = {action for one in held if one.rpartition(":")[0] == name for action in one.rpartition(":")[2].split(",")}
    return set(actions.split(",")) <= allowed
