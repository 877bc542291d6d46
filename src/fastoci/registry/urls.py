"""URLs as registries hand them out: kept byte for byte, checked before use, shown without their secrets.

A `Location` or a redirect is a server's word, and often carries a signature over its own bytes. So a URL here is its
origin plus a request target that is never parsed and re-encoded; `urllib.parse`, which strips and normalises, is not
used on it.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["InvalidUrlError", "Origin", "Url", "host_and_port", "is_loopback", "is_private", "literal_address"]

DEFAULT_PORTS = {"http": 80, "https": 443}

_PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<target>[^#]*)")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# RFC 3986 allows less than this; what matters is that no byte can end a line, a word or the request.
_PRINTABLE = re.compile(r"[\x21-\x7e]*")
_NUMERIC_HOST = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)(?:\.(?:0[xX][0-9a-fA-F]*|[0-9]+)){0,3}")


class InvalidUrlError(ValueError):
    """A URL that is not used; the text says why, and holds nothing of its query."""


class Origin(NamedTuple):
    """Scheme, host and port: what credentials belong to (RFC 6454)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL, the port left out where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS[self.scheme] == self.port else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https URL.

    Args:
        origin: Where it leads.
        target: Path and query as they are to be sent, byte for byte; begins with a slash.
    """

    origin: Origin
    target: str

    @classmethod
    def parse(cls, text: str) -> Url:
        """Return the URL that `text` says.

        Args:
            text: An absolute URL; a fragment is dropped.

        Raises:
            InvalidUrlError: It is not one, has another scheme, user information, or characters that do not belong.
        """
        if not _PRINTABLE.fullmatch(text):
            raise InvalidUrlError("the URL holds a space or a control or non-ASCII character")
        parts = _PARTS.match(text)
        if parts is None:
            raise InvalidUrlError("not an absolute URL")
        scheme = parts["scheme"].lower()
        if scheme not in DEFAULT_PORTS:
            raise InvalidUrlError(f"the URL's scheme is {scheme}, not http or https")
        if "@" in parts["authority"]:
            raise InvalidUrlError("the URL holds user information")
        authority = _AUTHORITY.fullmatch(parts["authority"])
        if authority is None:
            raise InvalidUrlError("the URL names no host that can be understood")
        host = authority["host"].lower().strip("[]")
        port = int(authority["port"]) if authority["port"] else DEFAULT_PORTS[scheme]
        if not 1 <= port <= 65535:
            raise InvalidUrlError(f"the URL's port is {port}")
        target = parts["target"]
        path, mark, query = target.partition("?")
        return cls(Origin(scheme, host, port), (_without_dots(path) or "/") + mark + query)

    def join(self, reference: str) -> Url:
        """Return the URL that `reference` means as seen from here (RFC 3986, 5.2).

        Args:
            reference: An absolute URL, or one relative to this one, as in a `Location` header.

        Raises:
            InvalidUrlError: See `parse`.
        """
        path = self.target.partition("?")[0]
        if _HAS_SCHEME.match(reference):
            return Url.parse(reference)
        if reference.startswith("//"):
            return Url.parse(f"{self.origin.scheme}:{reference}")
        if reference.startswith("/"):
            return Url.parse(f"{self.origin}{reference}")
        if not reference or reference.startswith("#"):
            return self
        if reference.startswith("?"):
            return Url.parse(f"{self.origin}{path}{reference}")
        return Url.parse(f"{self.origin}{path.rpartition('/')[0]}/{reference}")

    def with_query(self, text: str) -> Url:
        """Return this URL with `text` (`name=value`, already encoded) appended to its query as it stands."""
        joint = "&" if "?" in self.target else "?"
        return Url(self.origin, self.target + ("" if self.target[-1] in "?&" else joint) + text)

    def __str__(self) -> str:
        """The URL as it may be shown: the query, which can hold a signature or a session, is left out."""
        path, mark, _ = self.target.partition("?")
        return f"{self.origin}{path}{'?…' if mark else ''}"

    __repr__ = __str__

    def full(self) -> str:
        """Return the whole URL, secrets included: for the wire and the journal, never for a message."""
        return f"{self.origin}{self.target}"


def _without_dots(path: str) -> str:
    """Remove `.` and `..` segments (RFC 3986, 5.2.4); a path without them comes back as it is."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if segment in {".", ".."}:
            if segment == ".." and kept:
                kept.pop()
            if last:
                kept.append("")
        else:
            kept.append(segment)
    return "/" + "/".join(kept)


def host_and_port(text: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[v6]` or `[v6]:port`.

    Args:
        text: The host part of a reference.

    Returns:
        The host in lower case without brackets, and the port, None where none was said.

    Raises:
        InvalidUrlError: It is not a host.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None or (found["port"] and not 1 <= int(found["port"]) <= 65535):
        raise InvalidUrlError(f"not a host: {text!r}")
    return found["host"].lower().strip("[]"), int(found["port"]) if found["port"] else None


def literal_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host name spells out, None where it is a name to be looked up.

    The resolver takes `127.1`, `0x7f000001` and `2130706433` for addresses too, and so must whoever guards them.
    """
    host = host.rstrip(".")
    if _NUMERIC_HOST.fullmatch(host):
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name alone."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = literal_address(host)
    return address is not None and address.is_loopback


def is_private(host: str) -> bool:
    """Return whether a host spells out an address that the open Internet does not route (or names this machine)."""
    if is_loopback(host):
        return True
    address = literal_address(host)
    return address is not None and (not address.is_global or address.is_multicast)
