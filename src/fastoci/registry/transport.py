"""HTTP as the registry room speaks it: one request, one answer, no magic.

Nothing is retried here and no credential is made here. Redirects are followed by hand, each hop gets the
`Authorization` header only where its origin is the one the credential belongs to, and where a server may send us is
checked. What goes wrong below HTTP leaves as a `TransportError`.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast
from urllib.parse import unquote

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.util import Timeout, make_headers, parse_url
from urllib3.util import Url as Address

from fastoci.errors import RegistryError
from fastoci.registry.connections import SOCKET_OPTIONS, TARGET, Pool, SecurePool, Watch
from fastoci.registry.faults import Fault, InsideError, TransportError, fault_of
from fastoci.registry.proxy import proxy_for
from fastoci.registry.response import Response
from fastoci.registry.tls import TlsSocket, tls_context
from fastoci.registry.urls import InvalidUrlError, Origin, Url, is_loopback, is_private
from fastoci.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from urllib3.connectionpool import HTTPConnectionPool

    from fastoci.registry.chunks import Piece
    from fastoci.registry.options import RegistryOptions

__all__ = ["READ_TIMEOUT", "Authorization", "Body", "Transport", "leads_inside"]

CONNECT_TIMEOUT = 15.0
READ_TIMEOUT = 60.0
MAX_REDIRECTS = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Of these alone it is sure that the method and the body are meant to stay (RFC 9110, 15.4).
_SAFE_REDIRECTS = frozenset({307, 308})


@dataclass(frozen=True, slots=True)
class Authorization:
    """A credential and whom it may be shown to.

    Args:
        origin: The one origin that it belongs to.
        value: The `Authorization` header's value.
    """

    origin: Origin
    value: str = field(repr=False)


class Body(Protocol):
    """What is sent with a request, read anew for each time that it is sent."""

    @property
    def size(self) -> int:
        """How many bytes it has."""

    def open(self) -> Iterable[Piece]:
        """Return its pieces, from its start."""


class _Route(NamedTuple):
    pool: HTTPConnectionPool
    forwarded: bool  # by a proxy that wants to read absolute URLs


class Transport:
    """Connections to a registry and to wherever it sends us. Any thread may use it.

    Args:
        host: The registry's host name without port: client certificates are shown to it alone.
        options: TLS options and the number of blobs at once.
    """

    def __init__(self, host: str, options: RegistryOptions) -> None:
        self._host = host
        self._options = options
        self._lock = threading.Lock()
        self._routes: dict[Origin, _Route] = {}
        self._known: set[Origin] = set()
        self._watch = Watch()
        self._inside = False  # whether the registry itself is in a private network
        self.cancelled = threading.Event()

    def send(
        self,
        method: str,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        authorization: Authorization | None = None,
        read_timeout: float = READ_TIMEOUT,
        follow: bool = True,
    ) -> Response:
        """Send a request, follow where it is redirected, and return the answer.

        Args:
            method: GET, HEAD, POST, PUT, PATCH or DELETE. GET and HEAD follow every redirect, the others 307 and 308.
            url: Where to.
            headers: Besides those that every request has.
            body: What to send; None sends nothing (and `Content-Length: 0` where the method may have a body).
            authorization: Sent to its own origin and to no other.
            read_timeout: Seconds without a byte of the answer after which it is given up.
            follow: False returns a redirect as it is.

        Raises:
            TransportError: No answer, or none that could be read.
            RegistryError: A redirect that is not followed.
        """
        asked = url.origin
        for _ in range(MAX_REDIRECTS + 1):
            response = self._once(method, url, headers, body, authorization, read_timeout)
            followed = _REDIRECTS if method in {"GET", "HEAD"} else _SAFE_REDIRECTS
            if not follow or response.status not in followed:
                return response
            location = response.header("Location")
            response.close()
            if location is None:
                return response
            url = self.resolve(response, location, asked)
        raise RegistryError(
            f"{asked} redirects without end",
            cause=f"{method} {url}: more than {MAX_REDIRECTS} redirects",
            method=method,
            url=str(url),
        )

    def resolve(self, response: Response, location: str, asked: Origin) -> Url:
        """Return the URL that a `Location` header means, if it is one that may be used.

        Args:
            response: The answer that held it.
            location: The header's value.
            asked: The origin that was meant to be talked to when this began.

        Raises:
            RegistryError: It may not: another scheme, from TLS back to the clear, user information, control characters,
                or an address of a private network on another host than the one asked.
        """
        try:
            url = response.url.join(location)
        except InvalidUrlError as error:
            raise self._refused(response, asked, str(error)) from error
        secure = "https" in {asked.scheme, response.url.origin.scheme}
        if secure and url.origin.scheme == "http":
            raise self._refused(
                response,
                asked,
                f"it leads from https to {url}",
                "where the registry stands behind a proxy, the proxy must tell it so (X-Forwarded-Proto: https)",
            )
        if leads_inside(url.origin, asked):
            raise self._refused(response, asked, f"it leads into a private network: {url}")
        return url

    def close(self) -> None:
        """Close every connection that is not at work."""
        with self._lock:
            routes, self._routes = self._routes, {}
        for route in routes.values():
            route.pool.close()

    def cancel(self) -> None:
        """Have every request of every thread fail at once, now and from now on."""
        self.cancelled.set()
        self._watch.cut()

    @staticmethod
    def _refused(response: Response, asked: Origin, cause: str, hint: str | None = None) -> RegistryError:
        return RegistryError(
            f"{asked} sends us where we do not go",
            cause=f"{response.method} {response.url}: {response.status}, Location: {cause}",
            hint=hint,
            method=response.method,
            url=str(response.url),
            status=response.status,
        )

    def _once(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str] | None,
        body: Body | bytes | None,
        authorization: Authorization | None,
        read_timeout: float,
    ) -> Response:
        route = self._route(url.origin)
        sent = {
            TARGET: url.full() if route.forwarded else url.target,
            "Accept-Encoding": "identity",
            "User-Agent": f"fastoci/{__version__}",
            **(headers or {}),
        }
        if authorization is not None and authorization.origin == url.origin:
            sent["Authorization"] = authorization.value
        stream: bytes | Iterable[bytes] | None = None
        if body is not None:
            # urllib3 passes each piece on to our own connections, which know all that a piece can be.
            stream = body if isinstance(body, bytes) else cast("Iterable[bytes]", body.open())
            sent["Content-Length"] = str(len(body) if isinstance(body, bytes) else body.size)
        if self.cancelled.is_set():
            raise TransportError(Fault.CANCELLED)
        try:
            raw = route.pool.urlopen(
                method,
                f"{url.origin}/",
                body=stream,
                headers=sent,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=Timeout(connect=CONNECT_TIMEOUT, read=read_timeout),
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, HTTPException, OSError, UnicodeError) as error:
            trouble = TransportError(Fault.CANCELLED) if self.cancelled.is_set() else fault_of(error)
            trouble.known = url.origin in self._known
            trouble.request = f"{method} {url}"
            raise trouble from error
        self._known.add(url.origin)
        return Response(raw, method, url)

    def _route(self, origin: Origin) -> _Route:
        with self._lock:
            route = self._routes.get(origin)
            if route is None:
                route = self._routes[origin] = self._new_route(origin)
            return route

    def _new_route(self, origin: Origin) -> _Route:
        proxy = proxy_for(origin)
        manager = urllib3.PoolManager() if proxy is None else self._proxy_manager(proxy)
        manager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
        options: dict[str, object] = {
            "maxsize": self._options.jobs * 2 + 2,
            "block": False,
            "socket_options": SOCKET_OPTIONS,
        }
        if origin.scheme == "https":
            options["ssl_context"] = tls_context(origin, self._options, registry=origin.host == self._host)
        pool = manager.connection_from_host(origin.host, origin.port, origin.scheme, pool_kwargs=options)
        pool.conn_kw["watch"] = self._watch
        pool.conn_kw["guard"] = self._guard
        return _Route(pool, forwarded=proxy is not None and origin.scheme == "http")

    def _guard(self, host: str, address: str) -> None:
        """Let no server send us to a name that is an address of our own network's (`resolve` sees to literal ones).

        A registry that is in a private network itself may well have its storage or its token service there, too.

        Raises:
            InsideError: It does.
        """
        if host.strip("[]") == self._host.rstrip("."):
            self._inside = is_private(address)
        elif is_private(address) and not self._inside:
            raise InsideError

    def _proxy_manager(self, proxy: str) -> urllib3.ProxyManager:
        try:
            parts = parse_url(proxy)
        except LocationValueError:
            parts = Address()
        plain = proxy.isascii() and proxy.isprintable() and " " not in proxy
        if parts.scheme not in {"http", "https"} or not parts.host or not plain:
            raise RegistryError(
                "the proxy cannot be used",
                cause="its address is no http or https URL",
                hint="look at HTTPS_PROXY, HTTP_PROXY and ALL_PROXY in the environment",
            )
        headers = make_headers(proxy_basic_auth=unquote(parts.auth)) if parts.auth else None
        context = None
        if parts.scheme == "https":
            context = ssl.create_default_context()
            context.sslsocket_class = TlsSocket
        return urllib3.ProxyManager(parts._replace(auth=None).url, proxy_headers=headers, proxy_ssl_context=context)


def leads_inside(origin: Origin, asked: Origin) -> bool:
    """Return whether a server sends us into a private network that we did not ask for.

    Args:
        origin: Where it sends us.
        asked: What was asked.
    """
    same = origin.host == asked.host or (is_loopback(origin.host) and is_loopback(asked.host))
    return is_private(origin.host) and not same
