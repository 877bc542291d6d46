"""The first word with a registry: is it one, and does it speak TLS?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import RegistryError, RegistryResponseError
from fastoci.registry.faults import Fault, TransportError
from fastoci.registry.patience import is_passing
from fastoci.registry.refusals import cause_of, refusal, unreachable
from fastoci.registry.tls import certificate_directory
from fastoci.registry.urls import Origin, Url, is_loopback

if TYPE_CHECKING:
    from fastoci.registry.auth import Authenticator
    from fastoci.registry.client import RegistryClient
    from fastoci.registry.options import RegistryOptions
    from fastoci.registry.response import Response
    from fastoci.registry.transport import Transport

__all__ = ["find_origin"]

# How a server that speaks the other protocol takes the first word of this one.
_NOT_THIS_PROTOCOL = frozenset({Fault.TLS, Fault.GARBLED, Fault.RESET})
# What Go's and nginx's TLS servers answer to plain HTTP; no registry answers so.
_HTTP_TO_TLS = 400


def find_origin(
    client: RegistryClient, host: str, port: int | None, transport: Transport, auth: Authenticator
) -> Origin:
    """Return where a registry is, after it has answered there (distribution specification, "Determining Support").

    TLS, and nothing else, unless plain HTTP is asked for, certificates need not be verified, or the host is this
    machine; a loopback host is asked in the clear first.

    Args:
        client: The client this is for; its `origin` is not known yet.
        host: The host, without brackets.
        port: None is the scheme's own.
        transport: By which it is asked.
        auth: Told what the registry asks for.

    Raises:
        RegistryError: It cannot be reached, or is no registry.
        AccessDeniedError: It lets nobody in from here.
    """
    *uncertain, origin = _candidates(host, port, client.options)
    doubt: RegistryError | None = None
    response: Response | None = None
    for candidate in uncertain:
        response, doubt = _ask_once(client.host, candidate, transport)
        if doubt is None:
            origin = candidate
            break
    if response is None or doubt is not None or is_passing(response.status):
        response = _ask(client, origin, transport, doubt)
    response.close()
    if response.status == 401:
        auth.challenged(response)
    elif response.status == 403:
        raise refusal(response, f"{client.host} lets nobody in from here", host=client.host)
    elif not _is_registry(response):
        raise _no_registry(client.host, response)
    return origin


def _candidates(host: str, port: int | None, options: RegistryOptions) -> list[Origin]:
    secure, clear = Origin("https", host, port or 443), Origin("http", host, port or 80)
    if options.plain_http:
        return [clear]
    if is_loopback(host):
        # Certificates laid down for this very host say that it speaks TLS.
        return [secure] if certificate_directory(secure, options) is not None else [clear, secure]
    return [secure] if options.tls_verify else [secure, clear]


def _ask_once(name: str, candidate: Origin, transport: Transport) -> tuple[Response | None, RegistryError | None]:
    """Ask once whether an origin is the right one; return its answer and what speaks against it, if there is any."""
    try:
        response = transport.send("GET", Url(candidate, "/v2/"))
    except TransportError as error:
        other = error.fault in _NOT_THIS_PROTOCOL or (error.fault is Fault.REFUSED and candidate.port == 443)
        return None, unreachable(name, error) if other else None
    response.close()
    return response, _no_registry(name, response) if response.status == _HTTP_TO_TLS else None


def _ask(client: RegistryClient, origin: Origin, transport: Transport, doubt: RegistryError | None) -> Response:
    """Ask patiently; only once where another protocol was tried before, and that `doubt` may be what is wrong."""
    try:
        return client.patiently(lambda: transport.send("GET", Url(origin, "/v2/")), limit=None if doubt is None else 1)
    except RegistryError as error:
        cause = error.__cause__
        if doubt is not None and isinstance(cause, TransportError) and cause.fault in _NOT_THIS_PROTOCOL:
            raise doubt from error
        raise


def _is_registry(response: Response) -> bool:
    if response.status != 200:
        return False
    html = (response.header("Content-Type") or "").lower().startswith("text/html")
    return not html or response.header("Docker-Distribution-Api-Version") is not None


def _no_registry(name: str, response: Response) -> RegistryError:
    hint = "check the host and the port; a registry answers GET /v2/ with 200 or 401"
    if response.status == _HTTP_TO_TLS and response.url.origin.scheme == "http":
        hint = "it may speak TLS, and be asked in the clear: leave out --plain-http"
    return RegistryResponseError(
        f"{name} is not a registry",
        cause=cause_of(response),
        hint=hint,
        method=response.method,
        url=str(response.url),
        status=response.status,
    )
