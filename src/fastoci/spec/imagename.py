"""Names of images wherever they are: `oci:PATH[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE`, `docker://REF`.

The transports and their forms are skopeo's. Here a name is taken apart and nothing else: what stands on the disk, which
decides about a name without a transport, is for the caller to ask (`located`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from fastoci.errors import InvalidImageError, UsageError
from fastoci.spec.digest import Digest
from fastoci.spec.reference import is_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ImageName", "Transport", "is_ref_name"]

Transport = Literal["oci", "oci-archive", "docker-archive", "docker"]

_ON_DISK: tuple[Transport, ...] = ("oci", "oci-archive", "docker-archive")
_DOCKER = "docker://"
_PATH_STARTS = ("/", "./", "../")
_FOREIGN = ("containers-storage:", "docker-daemon:", "oci-layout:", "http://", "https://", "oci://", "dir:/", "dir:.")
_DIGEST_START = re.compile(r"sha(?:256|512):")
_HINT = "oci:PATH[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE, docker://HOST/REPOSITORY:TAG, or a path"

# annotations.md, "org.opencontainers.image.ref.name"; a name may be a whole reference.
_REF_NAME = re.compile(r"[A-Za-z0-9]+(?:(?:[-._:@+]|--|__|/)[A-Za-z0-9]+)*")
_REF_NAME_LIMIT = 512


@dataclass(frozen=True, slots=True)
class ImageName:
    """Where an image is, and which of those that are there.

    Args:
        transport: How it is kept; None where the name does not say. A name that begins like a path (`/`, `./`, `../`)
            is `oci`, which then may still be the path of an archive.
        location: A path as written, or for `docker` and None the reference without tag and digest.
        tag: None where none was written. In a layout or archive it may be any name that an index can hold.
        digest: None where none was written. It decides, whatever the tag.
    """

    transport: Transport | None
    location: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what a user means by `text`, or by a result line of fastoci.

        After a transport the tag begins at the first colon, as in skopeo; without one at the last, and only where no
        slash follows.

        Raises:
            UsageError: It is no name of an image.
        """
        if "\0" in text:
            raise UsageError(f"not the name of an image: {text!r}", hint=_HINT)
        for foreign in _FOREIGN:
            if text.startswith(foreign):
                raise UsageError(
                    f"not the name of an image: {text!r}", cause=f"{foreign} is not known here", hint=_HINT
                )
        transport, rest, last_colon = _take_transport(text)
        rest, digest = _take_digest(text, rest)
        if last_colon:
            location, colon, tag = rest.rpartition(":")
            if not colon or "/" in tag or "]" in tag:
                location, colon, tag = rest, "", ""
        else:
            location, colon, tag = rest.partition(":")
        if not location:
            raise UsageError(f"not the name of an image: {text!r}", hint=_HINT)
        if colon and not is_ref_name(tag):
            raise UsageError(f"not the name of an image: {text!r}", cause=f"{tag!r} is not a tag", hint=_HINT)
        return cls(transport, location, tag if colon else None, digest)

    @property
    def target(self) -> str:
        """The name without its transport: what `Reference.parse` takes where it is one of a registry."""
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{self.location}{tag}" + (f"@{self.digest}" if self.digest is not None else "")

    def located(self, exists: Callable[[str], bool]) -> Self | None:
        """Return the reading of this name whose path exists, since a path may have colons in it, too.

        Args:
            exists: Tells whether there is something at a path.

        Returns:
            The reading to use, with the transport unchanged; None where no path exists, or the name is a registry's.
        """
        if self.transport == "docker":
            return None
        return next((reading for reading in self._readings() if exists(reading.location)), None)

    def _readings(self) -> Iterator[Self]:
        yield self
        whole = self.location if self.tag is None else f"{self.location}:{self.tag}"
        for position, character in enumerate(whole):
            if character == ":" and is_ref_name(whole[position + 1 :]):
                yield replace(self, location=whole[:position], tag=whole[position + 1 :])
        yield replace(self, location=whole, tag=None)

    def __str__(self) -> str:
        match self.transport:
            case None:
                return self.target
            case "docker":
                return f"{_DOCKER}{self.target}"
        return f"{self.transport}:{self.target}"


def is_ref_name(text: str) -> bool:
    """Return whether `text` can name an image in a layout's index: a tag, or what annotations.md lets ref.name be."""
    return is_tag(text) or (len(text) <= _REF_NAME_LIMIT and _REF_NAME.fullmatch(text) is not None)


def _take_transport(text: str) -> tuple[Transport | None, str, bool]:
    """Return the transport, what follows it, and whether a tag is behind the last colon or the first."""
    if text.startswith(_DOCKER):
        return "docker", text.removeprefix(_DOCKER), True
    for transport in _ON_DISK:
        if text.startswith(f"{transport}:"):
            return transport, text.removeprefix(f"{transport}:"), False
    return ("oci" if text.startswith(_PATH_STARTS) or text in (".", "..") else None), text, True


def _take_digest(text: str, rest: str) -> tuple[str, Digest | None]:
    before, at, encoded = rest.rpartition("@")
    if not at or not _DIGEST_START.match(encoded):
        return rest, None
    try:
        return before, Digest.parse(encoded)
    except InvalidImageError as error:
        raise UsageError(f"not the name of an image: {text!r}", cause=str(error)) from None
