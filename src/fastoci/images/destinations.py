"""Where a push goes: references that are said, names that an image has already, repositories to mount from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastoci.errors import UsageError
from fastoci.spec.annotations import IMAGE_NAME, REF_NAME
from fastoci.spec.reference import DOCKER_HUB, Reference

if TYPE_CHECKING:
    from fastoci.images.source import StoredImage
    from fastoci.spec.descriptor import Descriptor

__all__ = ["Mount", "destination", "destination_of", "own_names"]

_TRANSPORT = "docker://"


@dataclass(frozen=True, slots=True)
class Mount:
    """Where blobs may be mounted from: a repository, at one host or at any."""

    host: str | None
    repository: str

    @classmethod
    def parse(cls, text: str) -> Mount:
        """Return what `--mount-from` says."""
        reference = Reference.parse(text.removeprefix(_TRANSPORT), default_tag=None)
        if reference.explicit_host:
            return cls(reference.host, reference.repository)
        return cls(None, text)

    def at(self, host: str) -> str | None:
        """Return the repository to mount from at a host, None where none is meant."""
        return self.repository if self.host in (None, host) else None


def destination(text: str) -> Reference:
    """Return the reference of a push.

    Raises:
        UsageError: It is none, or does not spell the host out.
    """
    reference = Reference.parse(text.removeprefix(_TRANSPORT))
    if not reference.explicit_host:
        raise UsageError(
            f"{text!r} does not say which registry to push to",
            cause="a push wants the host spelled out",
            hint=f"{reference} for Docker Hub, or as ghcr.io/me/{reference.repository.rpartition('/')[2]}",
        )
    return reference


def destination_of(descriptor: Descriptor, reference: Reference, *, by_digest: bool) -> Reference:
    """Return what an image is going to be called at a registry: without a tag where it gets its digest alone.

    Args:
        descriptor: Of its manifest or index.
        reference: What the user says.
        by_digest: Whether it gets no tag.

    Raises:
        UsageError: The reference has the digest of another image.
    """
    if reference.digest not in (None, descriptor.digest):
        raise UsageError(
            f"{reference} is not the name of this image",
            cause=f"its digest is {descriptor.digest}",
            hint="leave the digest out: it follows from the image",
        )
    return reference.with_tag(None if by_digest else reference.tag)


def own_names(source: StoredImage, found: Descriptor) -> list[Reference]:
    """Return the full names that an image has in its layout: that of the tag asked for, or all of them.

    Raises:
        UsageError: It has none, or one of nobody's own registry.
    """
    tag = source.image.tag
    names = [
        name
        for entry in source.store.index().manifests
        if entry.digest == found.digest
        and (name := entry.annotation(IMAGE_NAME)) is not None
        and tag in (None, name, entry.annotation(REF_NAME))
    ]
    references = [Reference.parse(name) for name in dict.fromkeys(names)]
    if not references:
        raise UsageError(
            f"{source.name} does not say where to push it to",
            cause="it has no name with a registry in it",
            hint=f"fastoci push {source.name} HOST/REPOSITORY:TAG",
        )
    for reference in references:
        if reference.host == DOCKER_HUB and reference.repository.startswith("library/"):
            # What a name without a host becomes. Nobody but Docker pushes there, and nobody else means to.
            raise UsageError(
                f"{source.name} does not say where to push it to",
                cause=f"its name is {reference.familiar}, without a registry",
                hint=f"fastoci push {source.name} HOST/{reference.familiar}",
            )
    return references
