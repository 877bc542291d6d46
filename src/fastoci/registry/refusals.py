"""What a registry refuses, as an error that says what failed, why, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import AccessDeniedError, ManifestNotFoundError, RegistryError, RegistryResponseError
from fastoci.registry.faults import Fault, TransportError
from fastoci.registry.patience import is_passing

if TYPE_CHECKING:
    from fastoci.registry.response import Response

__all__ = ["cause_of", "refusal", "unreachable"]

_AGAIN = "run the same command again"

_HINTS = {
    Fault.RESOLVE: "check the spelling of the registry's name, and the network",
    Fault.REFUSED: "check that the registry runs, and its port",
    Fault.UNREACHABLE: "check the network",
    Fault.TLS: "--plain-http, if the registry speaks HTTP only",
    Fault.RESET: _AGAIN,
    Fault.ANSWER: _AGAIN,
    Fault.TIMEOUT: "check the network, then run the same command again",
    Fault.GARBLED: "check that there is a registry at this address",
    Fault.INSIDE: "name the registry as it is called within that network, if that is meant",
    Fault.PROXY: "look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment",
}


def unreachable(host: str, error: TransportError, what: str | None = None) -> RegistryError:
    """Return the error for a request that got no answer.

    Args:
        host: The registry, as references name it.
        error: Why it got none.
        what: What failed; None says that the host could not be reached.
    """
    if error.fault is Fault.CANCELLED:
        return RegistryError(what or f"talking to {host} was given up", cause="cancelled")
    hint = _HINTS.get(error.fault)
    if error.fault is Fault.CERTIFICATE:
        hint = _certificate_hint(host, error.detail)
    method, _, url = (error.request or "").partition(" ")
    return RegistryError(
        what or f"cannot reach {host}",
        cause=f"{error.request}: {error}" if error.request else str(error),
        hint=hint,
        method=method or None,
        url=url or None,
    )


def _certificate_hint(host: str, detail: str) -> str:
    if "not valid for" in detail:
        return "use the name that stands in its certificate; --no-tls-verify takes any certificate"
    if "expired" in detail or "not yet valid" in detail:
        return "look at this machine's clock; --no-tls-verify takes any certificate"
    return (
        f"put its authority's certificate into ~/.config/containers/certs.d/{host}/ca.crt or a --cert-dir;"
        " --no-tls-verify takes any certificate"
    )


def cause_of(response: Response, identity: str | None = None) -> str:
    """Return what a registry answered: method, URL without query, status, its own diagnostics.

    Args:
        response: The answer.
        identity: As whom it was asked; None where that does not matter.
    """
    said = response.diagnostics()
    text = f"{response.method} {response.url}: {response.status}"
    if said:
        text += f" {said}"
    return f"{text} ({identity})" if identity else text


def refusal(
    response: Response, what: str, *, host: str, identity: str | None = None, hint: str | None = None
) -> RegistryError:
    """Return the error for an answer that ends the work.

    Args:
        response: The answer; it is read and closed.
        what: What failed.
        host: The registry, as references name it.
        identity: As whom it was asked, as it may be shown.
        hint: What to do next; None where the status says it.
    """
    kind: type[RegistryError] = RegistryResponseError
    if response.status in {401, 403}:
        kind, hint = AccessDeniedError, hint or f"fastoci login {host}"
    elif response.status == 404 and "NAME_UNKNOWN" in response.codes():
        kind, hint = ManifestNotFoundError, hint or "check the repository's name"
    elif is_passing(response.status):
        kind, hint = RegistryError, hint or _AGAIN
    return kind(
        what,
        cause=cause_of(response, identity if kind is AccessDeniedError else None),
        hint=hint,
        method=response.method,
        url=str(response.url),
        status=response.status,
    )
