"""Docker's exclude patterns: read from an ignore file, and translated for the engine's matcher.

The dialect is that of Docker's builder (moby/patternmatcher): patterns are cleaned paths from the root of the tree,
`*` and `?` stay within a directory, `**` crosses them, `[...]` is a class, a backslash escapes, `!` lets in again, and
the last pattern that matches decides. A pattern that matches a directory matches everything beneath it.
"""

from __future__ import annotations

import posixpath
import re

from fastoci._engine.pattern import PatternSet
from fastoci.errors import StoreError, UsageError

__all__ = ["compile_patterns", "pattern_of", "read_ignorefile"]

Token = tuple[str, int | list[tuple[int, int]] | None]
_IGNOREFILE_LIMIT = 4 * 1024 * 1024

# Docker's matcher hands escapes and classes to Go's regular expressions (RE2), which know some by name.
_CONTROLS = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_DIGIT, _UPPER, _LOWER = (0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)
_WORD = [_DIGIT, _UPPER, _LOWER, (0x5F, 0x5F)]
_ESCAPED_CLASSES = {"d": [_DIGIT], "w": _WORD, "s": [(9, 10), (12, 13), (32, 32)]}
_NAMED_CLASSES = {
    "alnum": [_DIGIT, _UPPER, _LOWER],
    "alpha": [_UPPER, _LOWER],
    "ascii": [(0, 0x7F)],
    "blank": [(9, 9), (32, 32)],
    "cntrl": [(0, 31), (127, 127)],
    "digit": [_DIGIT],
    "graph": [(33, 126)],
    "lower": [_LOWER],
    "print": [(32, 126)],
    "punct": [(33, 47), (58, 64), (91, 96), (123, 126)],
    "space": [(9, 13), (32, 32)],
    "upper": [_UPPER],
    "word": _WORD,
    "xdigit": [_DIGIT, (0x41, 0x46), (0x61, 0x66)],
}
_CHUNK = re.compile(r"(?:\\.|\[(?:\\.|[^]\\])*(?:\]|$)|[^*\\[])*\\?", re.DOTALL)
"""What stands before the next star, as Go's filepath.Match has it: one in brackets is none."""
_NAMED_CLASS = re.compile(r"\[:(.*?):\]")
_REPETITION = re.compile(r"\{(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?\}")
_LONGEST_SHOWN = 200
_SPECIAL = "*?[]\\^|{"
"""What a path has before a backslash to stand for itself, whatever is beside it."""


def read_ignorefile(path: str) -> tuple[str, ...]:
    """Return the patterns of an ignore file, in order.

    Lines that begin with `#` are comments, blank lines are nothing, white space around a pattern does not count, and
    a byte order mark at the start is passed over.

    Args:
        path: The file; bytes that are not UTF-8 are kept (surrogateescape).

    Raises:
        StoreError: The file cannot be read, or is no ignore file by its size.
        UsageError: A pattern in it has no meaning; see `compile_patterns`.
    """
    try:
        with open(path, "rb") as file:  # the path is the user's text and stays as it is in messages
            data = file.read(_IGNOREFILE_LIMIT + 1)
    except OSError as error:
        hint = "check the path" if isinstance(error, FileNotFoundError) else None
        raise StoreError.from_os(error, f"cannot read the ignore file {path}", path=path, hint=hint) from error
    if len(data) > _IGNOREFILE_LIMIT:
        raise StoreError(
            f"{path} is over 4 MiB, which no ignore file is", path=path, hint="one of patterns is wanted, one a line"
        )
    lines = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
    kept: list[str] = []
    for number, line in enumerate(lines, 1):
        pattern = line.strip()
        if pattern and not line.startswith("#"):
            try:
                compile_patterns((pattern,))
            except UsageError as error:
                raise UsageError(f"{path}:{number}: {error.what}", cause=error.cause, hint=error.hint) from None
            kept.append(pattern)
    return tuple(kept)


def compile_patterns(patterns: tuple[str, ...]) -> PatternSet:
    """Return the matcher for an ordered set of patterns.

    Raises:
        UsageError: A pattern is `!` alone, ends in a backslash, has a malformed class, or means something to Docker's
            matcher that nobody would write.
    """
    compiled = []
    for pattern in patterns:
        text = pattern.strip()
        negated = text.startswith("!")
        if negated:
            text = text[1:].strip()
            if not text or not posixpath.normpath(text).strip("/").strip():
                raise _illegal(pattern, cause="nothing follows the exclamation mark")
        text = _clean(text)
        # Docker's reader and its matcher each trim and clean, one after the other: `docs /` is `docs`.
        text = _clean(text.rstrip() if negated else text.strip())
        # And the matcher, which comes after the cleaning, takes `/!docs` for an exception as well.
        if not negated and text.startswith("!"):
            negated, text = True, text[1:]
            if not text:
                raise _illegal(pattern, cause="nothing follows the exclamation mark")
        if text:
            compiled.append((negated, _translate(text, pattern)))
    return PatternSet(compiled)


def pattern_of(path: str) -> str:
    """Return the pattern that matches a path, and none beside it, where that can be written down.

    A character that no terminal shows is a `?`, which any other one would match as well.

    Args:
        path: From the root of the tree, normal.
    """
    escaped = "".join(
        f"\\{character}" if character in _SPECIAL else character if character.isprintable() else "?"
        for character in path
    )
    if escaped.startswith("!"):
        escaped = "\\" + escaped
    # White space around a pattern does not count, and a backslash would not keep it at the end.
    for place in (-1, 0):
        if escaped[place] == " ":
            escaped = f"{escaped[:-1]}[ ]" if place else f"[ ]{escaped[1:]}"
    return escaped


def _illegal(pattern: str, cause: str, hint: str | None = None) -> UsageError:
    return UsageError(f"illegal exclude pattern {_shown(pattern)}", cause=cause, hint=hint)


def _shown(text: str) -> str:
    """Return a text in quotes, and the beginning of one that nobody would read to its end."""
    return repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]!r}…"


def _clean(text: str) -> str:
    """Return the pattern as a path from the root of the tree; empty for the root itself."""
    cleaned = posixpath.normpath(text) if text else ""
    cleaned = cleaned.lstrip("/") if cleaned != "/" else ""
    return "" if cleaned == "." else cleaned


def _point(character: str) -> int:
    """Return the code point that the engine's matcher sees: a byte that is not UTF-8 is 0xDC00 plus the byte."""
    return ord(character)


def _translate(text: str, pattern: str) -> list[list[Token]]:
    """Return the programs any of which may match.

    Two plain forms have a wider meaning than the general one, as in Docker's matcher: `text**` matches whatever begins
    with `text`, and `**text` whatever ends with it.
    """
    _check_syntax(text, pattern)
    literal = text.strip("*")
    if literal and not any(character in literal for character in "*?[]\\"):
        if text == literal + "**":
            return [[*_literals(literal), ("all", None)]]
        if text == "**" + literal:
            ends: list[list[Token]] = [[("all", None), *_literals(literal)]]
            if literal.startswith("/"):
                ends.append(_literals(literal[1:]))
            return ends
    return [_tokens(text, pattern)]


def _literals(text: str) -> list[Token]:
    return [("literal", _point(character)) for character in text]


def _check_syntax(text: str, pattern: str) -> None:
    """Refuse what Docker's matcher refuses: it asks Go's filepath.Match for the syntax, with the path `.`.

    That looks at what stands between stars, one after the other, and ends at the first that a `.` does not match. So
    `[-_]` is malformed and `lib*[-_]` is not; then a class is what Go's regular expressions make of it.
    """
    dot_left = True
    while text:
        has_star = text.startswith("*")
        text = text.lstrip("*")
        chunk = _CHUNK.match(text)[0]  # type: ignore[index]  # it matches anything
        text = text[len(chunk) :]
        tokens = _tokens(chunk, pattern, strict=True)
        if not tokens and not has_star:
            return
        if tokens:
            if not (dot_left and len(tokens) == 1 and PatternSet([(False, [tokens])]).excludes_path(b".")):
                return
            dot_left = False


def _tokens(text: str, pattern: str, *, strict: bool = False) -> list[Token]:
    """Return the program of a pattern.

    Args:
        text: The pattern, or a part of it.
        pattern: All of it, for messages.
        strict: Whether its classes are as Go's filepath.Match has them, and not its regular expressions.
    """
    tokens: list[Token] = []
    is_expression = any(character in text for character in "*?[]\\")
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "*" and text[at : at + 1] == "*":
            at += 1
            if text[at : at + 1] == "/":
                at += 1
            if at < len(text):
                tokens.append(("directories", None))
            else:
                # Alone it is everything; after a wildcard it is the rest of one line, as `.` is in Go's expressions.
                tokens.append(("tail" if tokens else "all", None))
        elif character == "*":
            tokens.append(("star", None))
        elif character == "?":
            tokens.append(("any", None))
        elif character == "\\":
            if at == len(text):
                raise _illegal(pattern, cause="nothing follows the backslash")
            tokens.append(_escaped(text[at], pattern))
            at += 1
        elif character == "[":
            at = _class(text, at, tokens, pattern, strict=strict)
        elif is_expression and (character in "|^" or _REPETITION.match(text, at - 1)):
            raise _illegal(
                pattern,
                cause=f"beside wildcards a {character!r} is a regular expression's, to Docker's builder",
                hint=f"write \\{character} for the character itself",
            )
        else:
            tokens.append(("literal", _point(character)))
    return tokens


def _escaped(character: str, pattern: str) -> Token:
    """Return what a character after a backslash means: itself, but for what Go's regular expressions know by a letter.

    Raises:
        UsageError: It is another letter, which these refuse, or take for what has no meaning in a path.
    """
    if character in _CONTROLS:
        return "literal", _CONTROLS[character]
    if character.lower() in _ESCAPED_CLASSES:
        return ("class" if character.islower() else "class_not"), list(_ESCAPED_CLASSES[character.lower()])
    if (character.isalnum() or not character.isascii()) and not "\udc80" <= character <= "\udcff":
        raise _illegal(pattern, cause=f"a backslash before {character!r}")
    return "literal", _point(character)


def _class(text: str, at: int, tokens: list[Token], pattern: str, *, strict: bool) -> int:
    """Translate the class that begins at `at`, after its bracket, and return where it ends. `strict`: see `_tokens`."""
    negated = text[at : at + 1] == "^"
    if negated:
        at += 1
    ranges: list[tuple[int, int]] = []
    while not ranges or text[at : at + 1] != "]":
        named = None if strict else _NAMED_CLASS.match(text, at)
        if named is not None:
            if named[1] not in _NAMED_CLASSES:
                raise _illegal(pattern, cause=f"no class is called {_shown(named[1])}")
            ranges += _NAMED_CLASSES[named[1]]
            at = named.end()
            continue
        if not strict and text[at : at + 1] == "\\" and text[at + 1 : at + 2] in _ESCAPED_CLASSES:
            ranges += _ESCAPED_CLASSES[text[at + 1]]
            at += 2
            continue
        low, at = _class_member(text, at, pattern, strict=strict)
        high = low
        if text[at : at + 1] == "-" and (strict or text[at + 1 : at + 2] != "]"):
            high, at = _class_member(text, at + 1, pattern, strict=strict)
        if high < low:
            raise _illegal(pattern, cause="a range in a class runs backwards")
        ranges.append((low, high))
    tokens.append(("class_not" if negated else "class", ranges))
    return at + 1


def _class_member(text: str, at: int, pattern: str, *, strict: bool) -> tuple[int, int]:
    """Return the code point at `at`, perhaps escaped, and where the next one begins. `strict`: see `_tokens`."""
    if strict and text[at : at + 1] in ("-", "]"):
        raise _illegal(
            pattern,
            cause=f"a {text[at]!r} stands where a member of a class should be",
            hint=f"write \\{text[at]} for the character itself",
        )
    if text[at : at + 1] in ("*", "?"):
        raise _illegal(
            pattern,
            cause=f"a {text[at]!r} in a class ends it, to Docker's builder, and means nothing that anyone would write",
            hint=f"write \\{text[at]} for the character itself",
        )
    escaped = text[at : at + 1] == "\\"
    at += escaped
    if at >= len(text):
        raise _illegal(pattern, cause="a class has no closing bracket")
    if strict or not escaped:
        return _point(text[at]), at + 1
    kind, point = _escaped(text[at], pattern)
    if kind != "literal" or not isinstance(point, int):
        raise _illegal(pattern, cause=f"a range in a class ends in \\{text[at]}")
    return point, at + 1
