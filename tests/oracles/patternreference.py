"""Docker's exclude patterns, slowly: each is made a regular expression, and each directory of a path is asked first.

The dialect is that of moby/patternmatcher, whose words are Go's: `*` and `?` stop at slashes, `**` does not, a class is
that of a regular expression, a backslash escapes. The last pattern that matches decides, `!` for staying. A pattern
that matched a directory matches what is beneath it; but as in BuildKit, which walks with MatchesUsingParentResults, a
pattern is not asked where it could only confirm what holds so far, and so has not matched: after `a/x`, `!a` does not
let `a/x` in again.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence


def excludes(patterns: Sequence[str], path: str) -> bool:
    """Return whether the patterns leave out a path."""
    parts = path.split("/")
    matched: set[int] = set()
    excluded = False
    for depth in range(1, len(parts) + 1):
        excluded = False
        for number, pattern in enumerate(patterns):
            negated = pattern.startswith("!")
            clean = posixpath.normpath(pattern.removeprefix("!").strip()).lstrip("/")
            if number not in matched and negated == excluded and _matches(clean, "/".join(parts[:depth])):
                matched.add(number)
            if number in matched:
                excluded = not negated
    return excluded


def _matches(pattern: str, path: str) -> bool:
    plain = not re.search(r"[*?\[\\]", pattern.strip("*"))
    if plain and pattern.startswith("**") and "*" not in pattern[2:]:
        # Whatever ends with the rest, across slashes.
        rest = pattern[2:]
        return path.endswith(rest) or rest == "/" + path
    if plain and pattern.endswith("**") and "*" not in pattern[:-2]:
        return path.startswith(pattern[:-2])
    return re.fullmatch(_expression(pattern), path) is not None


def _expression(pattern: str) -> str:
    out = ""
    at = 0
    while at < len(pattern):
        rest = pattern[at:]
        if rest in ("**", "**/"):
            out += ".*"
            break
        if rest.startswith("**"):
            out += "(.*/)?"
            at += 3 if rest.startswith("**/") else 2
        elif rest[0] == "*":
            out += "[^/]*"
            at += 1
        elif rest[0] == "?":
            out += "[^/]"
            at += 1
        elif rest[0] == "[":
            end = re.match(r"\[\^?(\\.|[^\\\]])+\]", rest, re.DOTALL)
            assert end is not None
            out += end.group().replace("[", "\\[").replace("\\[", "[", 1)
            at += end.end()
        elif rest[0] == "\\":
            out += re.escape(rest[1])
            at += 2
        else:
            out += re.escape(rest[0])
            at += 1
    return out
