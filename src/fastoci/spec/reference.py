"""References: the names of images at registries, read by the rules of docker (the `distribution/reference` package)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Self

from fastoci.errors import InvalidImageError, UsageError
from fastoci.spec.digest import Digest

__all__ = ["DOCKER_HUB", "Reference", "is_tag"]

DOCKER_HUB = "docker.io"
"""The host that docker means where none is written."""

_LEGACY_HUB = "index.docker.io"
_OFFICIAL = "library/"
_LOCALHOST = "localhost"
_REPOSITORY_LIMIT = 255
_PORT_LIMIT = 65535

# The grammar in the comment that opens distribution/reference/reference.go.
_HOST = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*"
    r"|\[[a-fA-F0-9:]+\])"
    r"(?::(?P<port>[0-9]+))?"
)
_PATH_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_BARE_DIGEST = re.compile(r"[a-f0-9]{64}")
_SCHEME = re.compile(r"[a-z]+://")


@dataclass(frozen=True, slots=True)
class Reference:
    """An image at a registry.

    Args:
        host: Of the registry, with the port where one was said.
        repository: Its path there, as `library/debian`.
        tag: None where only a digest was said, or nothing.
        digest: None where none was said. It decides, whatever the tag.
        explicit_host: Whether the host was written, or is docker's default.
    """

    host: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None
    explicit_host: bool = field(default=True, compare=False)

    @classmethod
    def parse(cls, text: str, *, default_tag: str | None = "latest") -> Self:
        """Return what a user means by `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`.

        Args:
            text: The reference.
            default_tag: The tag where neither tag nor digest is said; None leaves it out.

        Raises:
            UsageError: It is none; the hint says what to write instead.
        """
        if scheme := _SCHEME.match(text):
            raise UsageError(f"not a reference: {text!r}", hint=f"leave out the {scheme[0]}")
        rest, digest = _take_digest(text)
        rest, tag = _take_tag(text, rest)
        host, repository, explicit = _split_host(rest)
        _check_host(text, host)
        _check_repository(text, repository)
        if _BARE_DIGEST.fullmatch(rest):
            raise UsageError(f"not a reference: {text!r}", cause="64 hexadecimal digits are a digest, not a repository")
        if tag is None and digest is None:
            tag = default_tag
        return cls(host, repository, tag, digest, explicit)

    @property
    def name(self) -> str:
        """`host/repository`."""
        return f"{self.host}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """The name as docker shows it: without `docker.io/`, and without `library/` there."""
        if self.host != DOCKER_HUB:
            return self.name
        short = self.repository.removeprefix(_OFFICIAL)
        return self.repository if "/" in short else short

    @property
    def familiar(self) -> str:
        """The whole reference as docker shows it."""
        return self.familiar_name + self._suffix()

    def with_tag(self, tag: str | None) -> Self:
        """Return the same repository's `tag`, without a digest."""
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Self:
        """Return the same name with this digest; the tag stays."""
        return replace(self, digest=digest)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag is not None else "") + (f"@{self.digest}" if self.digest is not None else "")

    def __str__(self) -> str:
        return self.name + self._suffix()


def is_tag(text: str) -> bool:
    """Return whether `text` fits the grammar of a tag (distribution-spec, "Pulling manifests")."""
    return _TAG.fullmatch(text) is not None


def _take_digest(text: str) -> tuple[str, Digest | None]:
    rest, at, encoded = text.partition("@")
    if not at:
        return text, None
    try:
        digest = Digest.parse(encoded)
    except InvalidImageError as error:
        raise UsageError(f"not a reference: {text!r}", cause=str(error)) from None
    if not digest.is_supported:
        raise UsageError(
            f"not a reference: {text!r}",
            cause=f"{digest.algorithm} is no algorithm that is known here",
            hint="@sha256:…",
        )
    return rest, digest


def _take_tag(text: str, rest: str) -> tuple[str, str | None]:
    before, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag or "]" in tag:
        # No colon, or that of a port or an IPv6 address.
        return rest, None
    if not is_tag(tag):
        raise UsageError(
            f"not a reference: {text!r}",
            cause=f"{tag!r} is not a tag",
            hint="a tag is up to 128 of A-Z a-z 0-9 _ . - and begins with none of . and -",
        )
    return before, tag


def _split_host(rest: str) -> tuple[str, str, bool]:
    """Return host, repository and whether the host was written (distribution's splitDockerDomain)."""
    first, slash, remainder = rest.partition("/")
    explicit = bool(slash) and ("." in first or ":" in first or first == _LOCALHOST or first.lower() != first)
    host, repository = (first, remainder) if explicit else (DOCKER_HUB, rest)
    if host == _LEGACY_HUB:
        host = DOCKER_HUB
    if host == DOCKER_HUB and repository and "/" not in repository:
        repository = _OFFICIAL + repository
    return host, repository, explicit


def _check_host(text: str, host: str) -> None:
    found = _HOST.fullmatch(host)
    if found is None:
        raise UsageError(f"not a reference: {text!r}", cause=f"{host!r} is not a host")
    if found["port"] and not (len(found["port"]) <= 5 and 0 < int(found["port"]) <= _PORT_LIMIT):
        raise UsageError(f"not a reference: {text!r}", cause=f"there is no port {found['port'][:20]}")


def _check_repository(text: str, repository: str) -> None:
    if not repository:
        raise UsageError(f"not a reference: {text!r}", cause="it names no repository", hint="as ghcr.io/me/image:tag")
    if len(repository) > _REPOSITORY_LIMIT:
        raise UsageError(
            f"not a reference: {text[:80]!r}…",
            cause=f"the repository's name has {len(repository)} characters; {_REPOSITORY_LIMIT} is the most",
        )
    if all(_PATH_COMPONENT.fullmatch(component) for component in repository.split("/")):
        return
    lower = repository.lower()
    if all(_PATH_COMPONENT.fullmatch(component) for component in lower.split("/")):
        raise UsageError(
            f"not a reference: {text!r}",
            cause=f"the repository {repository!r} has upper-case letters",
            hint=f"write {text.replace(repository.removeprefix(_OFFICIAL), lower.removeprefix(_OFFICIAL))}",
        )
    raise UsageError(
        f"not a reference: {text!r}",
        cause=f"{repository!r} is not a repository",
        hint="its parts are a-z and 0-9, joined by one of . _ __ or by -, and separated by /",
    )
