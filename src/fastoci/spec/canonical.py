"""JSON as fastoci writes it, one way for one value, and as it reads it, with nothing taken on trust.

Written: keys sorted by code point, no white space, UTF-8 with only what JSON must escape. Digests are taken of bytes,
so equal values have to be equal bytes.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from fastoci.errors import InvalidImageError

__all__ = ["DOCUMENT_LIMIT", "dumps", "loads"]

DOCUMENT_LIMIT = 4 << 20
"""Bytes that a manifest, index or config may have: what registries are asked to take (distribution-spec, "Push")."""

_DEPTH_LIMIT = 64
_INTEGER_DIGITS = 20  # of 2**64; Go's readers take no more
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def dumps(obj: object) -> bytes:
    """Return a value of None, bools, ints, floats, strings, lists, tuples and dicts as canonical JSON.

    Raises:
        InvalidImageError: A text in it cannot be said in UTF-8.
        ValueError: It holds a NaN or an infinity, or itself.
        TypeError: It holds anything else.
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 20) : error.end + 20]
        raise InvalidImageError("a text is not UTF-8, and JSON can hold nothing else", cause=f"near {near!r}") from None


def loads(data: bytes, what: str, *, limit: int = DOCUMENT_LIMIT) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Readers in other languages disagree about keys that come twice, lone surrogates, and numbers beyond their range;
    an image that means different things to different readers is refused.

    Args:
        data: The document's bytes.
        what: What to call it in an error, as `the config sha256:…`.
        limit: The most bytes that it may have.

    Raises:
        InvalidImageError: It is larger, not JSON in UTF-8, no object, nested deeper than 64, or ambiguous.
    """
    if len(data) > limit:
        raise InvalidImageError(f"{what} is too large", cause=f"{len(data):,} bytes; {limit:,} is the most")
    try:
        text = data.decode()
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise InvalidImageError(f"{what} is not UTF-8", cause=f"at byte {error.start}") from None
    except RecursionError:
        raise InvalidImageError(f"{what} is nested too deeply") from None
    except ValueError as error:
        # JSONDecodeError, and what the functions below raise
        raise InvalidImageError(f"{what} is not valid JSON", cause=str(error)) from None
    if not isinstance(value, dict):
        raise InvalidImageError(f"{what} is not a JSON object")
    _check(value, what, surrogates=_SURROGATE_ESCAPE.search(text) is not None)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {_shown(twice)} comes twice")
    return result


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > _INTEGER_DIGITS:
        raise ValueError(f"the number {_shown(text)} is too large")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {_shown(text)} is too large")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


def _check(value: dict[str, Any], what: str, *, surrogates: bool) -> None:
    """Refuse nesting that later code would have to recurse into, and texts that cannot be written again."""
    level: list[Any] = [value]
    for _ in range(_DEPTH_LIMIT):
        texts: list[str] = []
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                texts += item
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str):
                texts.append(item)
        if surrogates:
            for text in texts:
                if any("\ud800" <= character <= "\udfff" for character in text):
                    raise InvalidImageError(f"{what} is not valid JSON", cause=f"half a character in {_shown(text)}")
        level = below
        if not level:
            return
    raise InvalidImageError(f"{what} is nested too deeply")
