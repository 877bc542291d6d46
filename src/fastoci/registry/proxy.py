"""Proxies, as `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say (urllib3 reads none of them itself)."""

from __future__ import annotations

import ipaddress
import os

from fastoci.registry.urls import InvalidUrlError, Origin, host_and_port, is_loopback, literal_address

__all__ = ["proxy_for"]


def proxy_for(origin: Origin) -> str | None:
    """Return the URL of the proxy that requests to an origin go through, None where they go straight.

    Lower-case names come before upper-case ones. `HTTP_PROXY` in upper case is not heard in a CGI program, where a
    client's `Proxy:` header sets it. Loopback hosts never go through a proxy, as in Go's tools.
    """
    if is_loopback(origin.host) or _excepted(origin, _variable("no_proxy") or ""):
        return None
    url = _variable(f"{origin.scheme}_proxy") or _variable("all_proxy")
    if not url:
        return None
    return url if "://" in url else f"http://{url}"


def _variable(name: str) -> str | None:
    value = os.environ.get(name)
    if value is None and not (name == "http_proxy" and "REQUEST_METHOD" in os.environ):
        value = os.environ.get(name.upper())
    return value.strip() if value else None


def _excepted(origin: Origin, rules: str) -> bool:
    return any(_fits(origin, rule) for rule in rules.replace(",", " ").split())


def _fits(origin: Origin, rule: str) -> bool:
    """Return whether one word of NO_PROXY means this origin: `*`, a domain, an address or a network, maybe a port."""
    if rule == "*":
        return True
    address = literal_address(origin.host)
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    try:
        return address == ipaddress.ip_address(rule.strip("[]"))
    except ValueError:
        pass  # a name, or an address with a port
    try:
        host, port = host_and_port(rule.removeprefix("*"))
    except InvalidUrlError:
        return False
    if port is not None and port != origin.port:
        return False
    if address is not None:
        return address == literal_address(host)
    domain, name = host.strip("."), origin.host.rstrip(".")
    # `example.com` is itself and the domains below; so is `.example.com`, as in curl (in Go's tools it is those below).
    return bool(domain) and (name.endswith(f".{domain}") or (name == domain and not rule.startswith("*")))
