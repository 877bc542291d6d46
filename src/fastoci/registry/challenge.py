"""`WWW-Authenticate`: what a registry asks for before it lets anybody in (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Challenge", "parse_challenges"]

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SPACE = re.compile(r"[ \t]*")
_SEPARATORS = re.compile(r"[ \t,]*")
_NAME = re.compile(_WORD)  # RFC 9110 calls it a token, which means other things here
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_WORD}(?:[/:?=@]+{_WORD})*))')
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_ESCAPE = re.compile(r"\\(.)")

# A header line is at most 64 KiB (http.client), but there may be a hundred of them.
_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme that a server offers.

    Args:
        scheme: Its name in lower case.
        parameters: Its parameters, names in lower case; of a name that comes twice the first.
    """

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges of all `WWW-Authenticate` lines, in their order.

    Commas part parameters, challenges and, inside quotes, the words of a `scope`; so the text is read from left to
    right. What is not understood ends the reading of its line, and what was read before it counts.

    Args:
        headers: The value of each line.
    """
    found: list[Challenge] = []
    for header in headers:
        found.extend(_parse_line(header[:_LIMIT]))
    return tuple(found)


def _parse_line(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    at = _skip(text, 0, _SEPARATORS)
    while at < len(text):
        name = _NAME.match(text, at)
        if name is None:
            break
        parameters: dict[str, str] = {}
        found.append(Challenge(name[0].lower(), MappingProxyType(parameters)))
        at = _skip(text, name.end(), _SPACE)
        token68 = None if _PARAMETER.match(text, at) else _TOKEN68.match(text, at)
        if token68 is not None and at > name.end():
            at = _skip(text, token68.end(), _SEPARATORS)
            continue
        at = _skip(text, at, _SEPARATORS)
        while (parameter := _PARAMETER.match(text, at)) is not None:
            key, quoted, plain = parameter.groups()
            value = plain if quoted is None else _ESCAPE.sub(r"\1", quoted)
            parameters.setdefault(key.lower(), value)
            at = _skip(text, parameter.end(), _SEPARATORS)
    return found


def _skip(text: str, at: int, what: re.Pattern[str]) -> int:
    found = what.match(text, at)
    return at if found is None else found.end()
