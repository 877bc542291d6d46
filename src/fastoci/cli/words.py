"""Docker's words for what an image says of itself, read from the command line into values."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastoci.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "parse_annotations",
    "parse_command",
    "parse_created",
    "parse_env",
    "parse_epoch",
    "parse_labels",
    "parse_mtime",
    "parse_owner",
    "parse_ports",
    "parse_volumes",
]

_ID_LIMIT = 2**32 - 1
_PORT_LIMIT = 65535
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/([A-Za-z]+))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_EPOCH = re.compile(r"@?-?[0-9]{1,18}")


def parse_env(values: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that `-e K=V` and `-e K` say; of `K` alone the host's value, if it has one.

    Raises:
        UsageError: A variable has no name.
    """
    env: dict[str, str] = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not name:
            raise UsageError(
                f"--env {value!r} names no variable", hint="-e NAME=VALUE, or -e NAME for the host's value"
            )
        if equals:
            env[name] = content
        elif name in environ:
            env[name] = environ[name]
    return env


def parse_labels(values: Sequence[str]) -> dict[str, str]:
    """Return the labels; one without `=` is empty, as in docker.

    Raises:
        UsageError: A label has no name.
    """
    labels: dict[str, str] = {}
    for value in values:
        name, _, content = value.partition("=")
        if not name:
            raise UsageError(f"--label {value!r} names no label", hint="-l NAME=VALUE")
        labels[name] = content
    return labels


def parse_annotations(values: Sequence[str]) -> dict[str, str]:
    """Return the annotations of the manifest; buildx's prefix `manifest:` may stand before the name.

    Raises:
        UsageError: It is no `NAME=VALUE`, or is meant for an index, which a build of one platform does not have.
    """
    annotations: dict[str, str] = {}
    for value in values:
        name, equals, content = value.partition("=")
        place = re.match(r"(manifest|index|manifest-descriptor|index-descriptor)(\[[^]]*\])?:", name)
        if place is not None:
            if place[0] != "manifest:":
                raise UsageError(
                    f"--annotation {value!r}: only the manifest is annotated, not {place[0].rstrip(':')}",
                    hint="leave the prefix out",
                )
            name = name.removeprefix("manifest:")
        if not name or not equals:
            raise UsageError(f"--annotation {value!r} is no NAME=VALUE")
        annotations[name] = content
    return annotations


def parse_command(
    values: Sequence[str] | None, option: str, warn: Callable[[str, str], None]
) -> tuple[str, ...] | None:
    """Return the words of `--entrypoint` or `--cmd`: of each use the one word, or those of a JSON array.

    Args:
        values: The option's values in order; None where it was not given.
        option: Its name, for what is said.
        warn: Called with a message and a hint for a word that holds a space.

    Raises:
        UsageError: A JSON array holds something else than strings.
    """
    if values is None:
        return None
    if list(values) == [""]:
        return ()
    words: list[str] = []
    for value in values:
        array = _json_array(value)
        if array is None:
            if " " in value:
                warn(
                    f"{option} {value!r} is one word with spaces in it",
                    f'where several are meant, use {option} once for each, or {option} \'["…", "…"]\'',
                )
            words.append(value)
        elif all(isinstance(word, str) for word in array):
            words += map(str, array)
        else:
            raise UsageError(f"{option} {value}: a JSON array of strings is wanted")
    return tuple(words)


def _json_array(value: str) -> list[object] | None:
    # `[` alone is a program that shells call.
    if not value.lstrip().startswith("["):
        return None
    try:
        array = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return array if isinstance(array, list) else None


def parse_ports(values: Sequence[str]) -> tuple[str, ...]:
    """Return the ports of `--expose PORT[-PORT][/PROTOCOL]`, each as `80/tcp`.

    Raises:
        UsageError: It is not that, or a range runs backwards.
    """
    ports: dict[str, None] = {}
    for value in values:
        match = _PORTS.fullmatch(value)
        protocol = ((match and match[3]) or "tcp").lower()
        low = int(match[1]) if match else 0
        high = int(match[2]) if match and match[2] else low
        if match is None or protocol not in _PROTOCOLS or not 1 <= low <= high <= _PORT_LIMIT:
            raise UsageError(
                f"--expose {value!r} is no port", hint="PORT, PORT/udp or PORT-PORT; publishing is for docker run -p"
            )
        ports.update((f"{port}/{protocol}", None) for port in range(low, high + 1))
    return tuple(ports)


def parse_volumes(values: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of `--volume PATH`.

    Raises:
        UsageError: It is no absolute path, or is one of docker run's `HOST:CONTAINER`.
    """
    for value in values:
        if not value.startswith("/") or ":" in value:
            raise UsageError(
                f"--volume {value!r} is no absolute path in the container",
                hint="an image names the mount point only; what is mounted there is for docker run -v to say",
            )
    return tuple(values)


def parse_owner(value: str) -> tuple[int, int]:
    """Return uid and gid of `--chown UID[:GID]`; the gid is the uid where it is left out, as in docker.

    Raises:
        UsageError: A part is no number; there are no names, since the image has its own passwd file.
    """
    user, colon, group = value.partition(":")
    numbers = [user, group if colon else user]
    if not all(number.isascii() and number.isdecimal() and int(number) < _ID_LIMIT for number in numbers):
        raise UsageError(
            f"--chown {value!r} is not UID[:GID] in numbers",
            cause="a name means what the image's own passwd says, not this machine's",
            hint="--chown 0:0 for root",
        )
    return int(numbers[0]), int(numbers[1])


def parse_epoch(value: str, option: str) -> int:
    """Return the seconds since 1970 that `--source-date-epoch` or SOURCE_DATE_EPOCH says.

    Raises:
        UsageError: It is no whole number (reproducible-builds.org, "SOURCE_DATE_EPOCH": malformed values are errors).
    """
    if not re.fullmatch(r"\d{1,12}", value.strip(), re.ASCII):
        raise UsageError(f"{option} {value!r} is no whole number of seconds since 1970")
    return int(value)


def parse_mtime(value: str) -> int:
    """Return the seconds since 1970 of `--mtime`: a number, or a date as RFC 3339 has it.

    Raises:
        UsageError: It is neither.
    """
    return _moment(value, "--mtime", "keep, seconds since 1970, or 2026-01-31T12:00:00Z")


def parse_created(value: str) -> int:
    """Return the seconds since 1970 of `--created`: a date as RFC 3339 has it, or that number.

    Raises:
        UsageError: It is neither, or outside the years 1 to 9999.
    """
    return _moment(value, "--created", "2026-01-31T12:00:00Z, or seconds since 1970")


def _moment(value: str, option: str, hint: str) -> int:
    try:
        if _EPOCH.fullmatch(value):
            seconds = int(value.removeprefix("@"))
        else:
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            seconds = int(moment.timestamp() // 1)
        datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{option} {value!r} is no date", hint=hint) from error
    return seconds
