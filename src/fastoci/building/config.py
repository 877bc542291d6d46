"""What an image says of itself: the caller's options made into the specification's config and its history."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fastoci.errors import UsageError
from fastoci.spec.config import History, ImageConfig
from fastoci.spec.platform import Platform

if TYPE_CHECKING:
    from fastoci.layer.pack import PackedLayer
    from fastoci.spec.digest import Digest

__all__ = ["ConfigOptions", "format_time", "inherited", "make_config", "override"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = -62135596800  # 0001-01-01T00:00:00Z
_LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z
_SIGNALS = frozenset(
    {"HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM"}
    | {"TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM"}
    | {"PROF", "WINCH", "IO", "POLL", "PWR", "SYS", "RTMIN", "RTMAX"}
)
_SIGNAL_LIMIT = 64
# Fields of docker's configs, and of `config` within them, that speak of the container in which an image was built.
_OF_A_CONTAINER = frozenset(
    {"container", "container_config", "docker_version", "id", "parent", "throwaway", "Size"}
    | {"Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"}
    | {"Image", "MacAddress", "NetworkDisabled", "OnBuild"}
)


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """What an image says of itself.

    None leaves a field as the base image has it, or out of the config where there is no base; an empty value sets it
    to nothing. Variables, labels, ports and volumes are added to the base's.

    Args:
        env: Variables by name, in order.
        entrypoint: The words that a container starts with. Without `cmd` beside it, it clears the base's.
        cmd: The words after these, where `docker run` names no others.
        workdir: The directory it starts in; a relative one is beneath the base's, or `/`.
        user: `USER[:GROUP]`, names or numbers, as the image's own passwd file knows them.
        expose: Ports as `80/tcp`.
        volumes: Absolute paths.
        labels: Of the config.
        annotations: Of the manifest.
        stop_signal: As `SIGTERM`, or a number.
        author: Who is responsible.
        created: Seconds since 1970; None is `source_date_epoch`, else the newest modification time packed.
        platform: None is the base's, or this host's.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] | None = None
    cmd: Sequence[str] | None = None
    workdir: str | None = None
    user: str | None = None
    expose: Sequence[str] = ()
    volumes: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str | None = None
    author: str | None = None
    created: int | None = None
    platform: Platform | None = None

    def __post_init__(self) -> None:
        """Refuse what no runtime would understand.

        Raises:
            UsageError: The stop signal is none, or a text holds a character that a config cannot.
        """
        if self.stop_signal is not None and not _is_signal(self.stop_signal):
            raise UsageError(f"no such signal: {self.stop_signal!r}", hint="a name as SIGTERM, or its number")
        texts = [
            *(
                f"{name}={value}"
                for values in (self.env, self.labels, self.annotations)
                for name, value in values.items()
            ),
            *(self.entrypoint or ()),
            *(self.cmd or ()),
            *self.volumes,
            *(text for text in (self.workdir, self.user, self.author) if text is not None),
        ]
        for text in texts:
            # A config is JSON in UTF-8, and a byte of the command line that is not UTF-8 has no way into it.
            if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
                raise UsageError(f"{text!r} is not text in UTF-8, and an image's config can hold nothing else")


def _is_signal(text: str) -> bool:
    if text.isascii() and text.isdecimal():
        return 1 <= int(text) <= _SIGNAL_LIMIT
    name = text.upper().removeprefix("SIG")
    return name in _SIGNALS or re.fullmatch(r"RTM(IN\+|AX-)([1-9]|1[0-5])", name) is not None


def make_config(
    options: ConfigOptions,
    steps: Sequence[str],
    layers: Sequence[PackedLayer],
    source_date_epoch: int | None,
    base: ImageConfig | None = None,
) -> ImageConfig:
    """Return the config of an image made of these layers, each with one entry of history.

    It depends on the base, the trees, the options and nothing else: not on where the trees stood, nor on their names.

    Args:
        options: What the caller decided.
        steps: How each layer came to be.
        layers: The layers above the base, lowest first.
        source_date_epoch: Seconds since 1970; None where there is none.
        base: The config of the image beneath, as `inherited` has it; None starts from nothing.
    """
    created = format_time(_created(options, layers, source_date_epoch))
    history = tuple(History(created=created, created_by=step, comment="fastoci") for step in steps)
    return override(
        base or ImageConfig(Platform.host()),
        options,
        created=created,
        diff_ids=tuple(layer.diff_id for layer in layers),
        history=history,
    )


def override(
    base: ImageConfig,
    options: ConfigOptions,
    *,
    created: str | None,
    diff_ids: Sequence[Digest] = (),
    history: Sequence[History] = (),
) -> ImageConfig:
    """Return a config with what the options say in place of what it said, and with more layers.

    Args:
        base: The config as it was.
        options: What the caller decided.
        created: When the new one was made.
        diff_ids: Of the layers above the base's.
        history: Of the same, and of steps that made none.
    """
    cmd = base.cmd if options.entrypoint is None else None
    return replace(
        base,
        created=created,
        author=base.author if options.author is None else options.author,
        platform=_platform(base.platform, options.platform),
        env=_environment(base.env, options.env),
        entrypoint=base.entrypoint if options.entrypoint is None else _words(options.entrypoint),
        cmd=cmd if options.cmd is None else _words(options.cmd),
        working_dir=base.working_dir if options.workdir is None else _absolute(base.working_dir, options.workdir),
        user=base.user if options.user is None else options.user,
        exposed_ports=tuple(dict.fromkeys((*base.exposed_ports, *options.expose))),
        volumes=tuple(dict.fromkeys((*base.volumes, *options.volumes))),
        labels={**base.labels, **options.labels},
        stop_signal=base.stop_signal if options.stop_signal is None else options.stop_signal,
        diff_ids=(*base.diff_ids, *diff_ids),
        history=(*base.history, *history),
    )


def inherited(base: ImageConfig) -> ImageConfig:
    """Return what an image inherits from the one beneath it.

    What docker wrote of the container that it built the base in is left behind, and so are triggers (`ONBUILD`), as
    docker leaves them behind once they were run. Where the base says nothing of how its layers came to be, blank steps
    stand for them, so that history and layers still belong together (config.md, "history").
    """
    history = base.history
    if sum(not step.empty_layer for step in history) != len(base.diff_ids):
        history = tuple(History(created=base.created) for _ in base.diff_ids)
    return replace(
        base,
        history=history,
        extra={name: value for name, value in base.extra.items() if name not in _OF_A_CONTAINER},
        config_extra={name: value for name, value in base.config_extra.items() if name not in _OF_A_CONTAINER},
    )


def _platform(base: Platform, wanted: Platform | None) -> Platform:
    """Return the base's own word for a platform where that is what is wanted: it may say more (os.version)."""
    return base if wanted is None or wanted.matches(base) else wanted


def _environment(base: Sequence[str], changes: Mapping[str, str]) -> tuple[str, ...]:
    """Return variables with changes to them; what is changed keeps its place, as in docker."""
    merged = {entry.partition("=")[0]: entry for entry in base}
    merged |= {name: f"{name}={value}" for name, value in changes.items()}
    return tuple(merged.values())


def _created(options: ConfigOptions, layers: Sequence[PackedLayer], source_date_epoch: int | None) -> int:
    if options.created is not None:
        return options.created
    if source_date_epoch is not None:
        return source_date_epoch
    return max((layer.newest_mtime for layer in layers if layer.newest_mtime is not None), default=0)


def format_time(seconds: int) -> str:
    """Return seconds since 1970 as RFC 3339 has them (config.md, "created"), held within the years it can say."""
    # Not `fromtimestamp`: it asks the C library, which counts leap seconds where TZ is one of the `right` zones.
    moment = _EPOCH + timedelta(seconds=min(max(seconds, _FIRST_SECOND), _LAST_SECOND))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(len("0001-01-01T00:00:00Z"), "0")


def _words(words: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(words)


def _absolute(base: str | None, path: str) -> str:
    return "/" + posixpath.normpath(posixpath.join("/", base or "/", path)).lstrip("/")
