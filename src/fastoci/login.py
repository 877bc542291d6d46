"""Login and logout: credentials proven at their registry, then kept where docker and podman find them, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastoci.errors import AccessDeniedError, UsageError
from fastoci.events import Sink, discard
from fastoci.registry.client import RegistryClient
from fastoci.registry.credentials import Credential, erase_credential, store_credential
from fastoci.registry.options import RegistryOptions
from fastoci.spec.reference import Reference

__all__ = ["Login", "login", "logout", "registry_host"]

_HINT = "name its host, as ghcr.io, docker.io or localhost:5000"
_SCHEMES = ("https://", "http://")
# What docker's own key for its hub ends in, and what people copy from their address bar.
_API_PATHS = ("/v1", "/v2")


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials that a registry took.

    Attributes:
        registry: Its host, as references name it.
        user: Whose they are.
        place: Where they are kept, as it may be shown.
    """

    registry: str
    user: str
    place: str


def registry_host(text: str) -> str:
    """Return the host that a user means by `text`, in the form that references have.

    Args:
        text: `HOST[:PORT]`; a URL of the registry is taken for its host.

    Raises:
        UsageError: It names no host.
    """
    host = text
    for scheme in _SCHEMES:
        host = host.removeprefix(scheme)
    host = host.rstrip("/")
    for path in _API_PATHS:
        host = host.removesuffix(path)
    if "/" in host:
        raise UsageError(
            f"not a registry: {text!r}", cause="credentials are kept for a host, not for a path", hint=_HINT
        )
    try:
        reference = Reference.parse(f"{host}/repository")
    except UsageError as error:
        raise UsageError(f"not a registry: {text!r}", cause=error.cause, hint=_HINT) from error
    if not reference.explicit_host:
        raise UsageError(
            f"not a registry: {text!r}",
            cause="a host has a dot or a port in it, or is localhost: references could not name this one",
            hint=_HINT,
        )
    return reference.host


def login(
    registry: str, user: str, password: str, options: RegistryOptions | None = None, sink: Sink = discard
) -> Login:
    """Prove credentials at a registry, and keep them.

    Args:
        registry: Its host.
        user: Whose.
        password: Theirs, or an access token.
        options: How the registry is reached; `authfile` of it says in which file they are kept.
        sink: Given the registry client's events.

    Raises:
        UsageError: There is no such host, user or password.
        AccessDeniedError: The registry does not take them; nothing is kept.
        RegistryError: The registry could not be reached, or is none.
        StoreError: They could not be kept.
    """
    options = options or RegistryOptions()
    host = registry_host(registry)
    _check(host, user, password)
    with RegistryClient(host, replace(options, credentials=(user, password)), sink) as client:
        try:
            client.check_login()
        except AccessDeniedError as error:
            # To log in is what anybody else would be told to do.
            error.hint = "check the user and the password; where there is a second factor, an access token is wanted"
            raise
    return Login(host, user, store_credential(host, Credential(user, password), options))


def logout(registry: str, options: RegistryOptions | None = None) -> str | None:
    """Forget the credentials that are kept for a registry.

    Args:
        registry: Its host.
        options: `authfile` of it says in which file they are.

    Returns:
        Where they were, as it may be shown; None where none were kept.

    Raises:
        UsageError: There is no such host.
        StoreError: The file or the helper that keeps them refused.
    """
    return erase_credential(registry_host(registry), options or RegistryOptions())


def _check(host: str, user: str, password: str) -> None:
    if not user:
        raise UsageError(f"no user to log in to {host} as", hint=f"fastoci login -u USER {host}")
    if ":" in user:
        # RFC 7617, 2: a user-id with a colon cannot be encoded.
        raise UsageError(f"a user's name holds no colon: {user!r}")
    if not password:
        raise UsageError(f"no password for {user} at {host}", hint="it cannot be empty")
    if any(character < " " or character == "\x7f" for character in user + password):
        # RFC 7617, 2: no control characters in either.
        raise UsageError(f"the name or password for {host} holds a control character", hint="one line is read")
