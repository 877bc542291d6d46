"""What goes wrong below HTTP, told apart by what is to be done about it."""

from __future__ import annotations

import errno
import ssl
from enum import Enum
from http.client import HTTPException, IncompleteRead, RemoteDisconnected

import urllib3.exceptions

from fastoci.errors import reason

__all__ = ["Fault", "InsideError", "TransportError", "fault_of"]


class Fault(Enum):
    """What kind of failure it was. The value says it in an error message."""

    RESOLVE = "no such host"
    REFUSED = "connection refused"
    UNREACHABLE = "no way to the host"
    CERTIFICATE = "the certificate is not trusted"
    TLS = "TLS failed"
    RESET = "connection reset"
    TIMEOUT = "no answer in time"
    GARBLED = "the answer is not HTTP"
    PROXY = "the proxy failed"
    ANSWER = "an answer that may pass"
    INSIDE = "the name leads into a private network"
    CANCELLED = "cancelled"


# A host that is reached for the first time may be misspelt, not be there, or be something else: trying again helps
# nobody. Once it has answered, the same failures mean that it is being restarted, or that the network is away.
_PASSING = frozenset({Fault.RESET, Fault.TIMEOUT, Fault.ANSWER})
_PASSING_ONCE_KNOWN = frozenset(
    {Fault.RESOLVE, Fault.REFUSED, Fault.UNREACHABLE, Fault.PROXY, Fault.TLS, Fault.GARBLED}
)


class InsideError(OSError):
    """A name that a server gave us is that of an address in a private network."""


class TransportError(Exception):
    """A request that got no answer, or not all of it. Never leaves the registry room.

    Args:
        fault: What it was.
        detail: More, in the words of the kernel, OpenSSL or http.client; empty where there is no more.
        known: Whether the host has answered before.
        request: What was sent where, as it may be shown.
    """

    def __init__(self, fault: Fault, detail: str = "", *, known: bool = False, request: str | None = None) -> None:
        super().__init__(fault, detail)
        self.fault = fault
        self.detail = detail
        self.known = known
        self.request = request

    def __str__(self) -> str:
        if self.fault is Fault.ANSWER and self.detail:
            return self.detail
        return f"{self.fault.value} ({self.detail})" if self.detail else self.fault.value

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.fault in _PASSING or (self.known and self.fault in _PASSING_ONCE_KNOWN)


def fault_of(error: Exception) -> TransportError:
    """Return what an exception of urllib3, http.client, ssl or the kernel amounts to."""
    if isinstance(error, urllib3.exceptions.ProxyError):
        return TransportError(Fault.PROXY, _words(error.original_error))
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return TransportError(Fault.RESOLVE, _words(error.__cause__))
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        cause = error.__cause__
        if isinstance(cause, ConnectionRefusedError):
            return TransportError(Fault.REFUSED)
        if isinstance(cause, ConnectionError):
            return TransportError(Fault.RESET)
        return TransportError(Fault.UNREACHABLE, _words(cause))
    if isinstance(error, urllib3.exceptions.LocationValueError | UnicodeError):
        return TransportError(Fault.RESOLVE, "it cannot be the name of one")
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return TransportError(Fault.TIMEOUT)
    if isinstance(error, urllib3.exceptions.HTTPError | TimeoutError | ConnectionError) and not isinstance(
        error, HTTPException
    ):
        return _of_cause(_innermost(error))
    return _of_cause(error)


def _innermost(error: BaseException) -> BaseException:
    """Return the exception that urllib3 has wrapped: it passes it on as the last argument."""
    while isinstance(error, urllib3.exceptions.HTTPError) and error.args:
        inner = error.args[-1]
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def _of_cause(error: BaseException) -> TransportError:
    if isinstance(error, InsideError):
        return TransportError(Fault.INSIDE)
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransportError(Fault.CERTIFICATE, error.verify_message or str(error.reason))
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TransportError(Fault.RESET, "within TLS")
    if isinstance(error, ssl.SSLError):
        return TransportError(Fault.TLS, str(error.reason or "") or reason(error))
    if isinstance(error, TimeoutError):
        return TransportError(Fault.TIMEOUT)
    if isinstance(error, IncompleteRead):
        return TransportError(Fault.RESET, "the answer broke off")
    if isinstance(error, RemoteDisconnected):
        return TransportError(Fault.RESET, "closed without an answer")
    # A connection that was reset before anything was said is one that is not connected.
    if isinstance(error, ConnectionError) or (isinstance(error, OSError) and error.errno == errno.ENOTCONN):
        return TransportError(Fault.RESET)
    if isinstance(error, OSError):
        return TransportError(Fault.UNREACHABLE, _words(error))
    return TransportError(Fault.GARBLED, type(error).__name__)


def _words(error: BaseException | None) -> str:
    if isinstance(error, urllib3.exceptions.HTTPError):
        inner = _innermost(error)
        # A proxy's own URL, which may carry a password, stands in urllib3's texts: only what lies beneath is quoted.
        return _words(inner.__cause__ if isinstance(inner, urllib3.exceptions.HTTPError) else inner)
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "")
    if isinstance(error, OSError):
        return reason(error)
    return type(error).__name__ if error is not None else ""
