"""The documents of an image: reading them, and choosing the member of an index that a platform runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import ImageNotFoundError, InvalidImageError
from fastoci.spec import mediatypes
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest
from fastoci.spec.platform import Platform

if TYPE_CHECKING:
    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor

__all__ = ["read_document", "select_manifest"]

_NESTING = 4  # indexes within indexes; one within another is what is seen

# What a processor runs besides its own variant, best first (containerd's platformVector).
_RUNS = {"arm": ("v8", "v7", "v6", "v5"), "arm64": ("v9", None), "amd64": ("v4", "v3", "v2", None)}


def read_document(source: ImageSource, descriptor: Descriptor) -> Manifest | Index:
    """Return the manifest or index that a descriptor means.

    Raises:
        InvalidImageError: It is neither, or not valid.
        ImageNotFoundError: It is not there.
        RegistryError: The registry does not give it out.
    """
    what = f"{descriptor.digest} in {source.name}"
    if descriptor.media_type in mediatypes.INDEXES:
        return Index.from_bytes(source.read_manifest(descriptor), descriptor.media_type, f"the index {what}")
    if descriptor.media_type in mediatypes.MANIFESTS:
        return Manifest.from_bytes(source.read_manifest(descriptor), descriptor.media_type, f"the manifest {what}")
    raise InvalidImageError(
        f"{what} is neither a manifest nor an index",
        cause=f"its media type is {descriptor.media_type[:100]!r}",
        hint="push it again with a newer tool" if "manifest.v1+" in descriptor.media_type else None,
        digest=str(descriptor.digest),
    )


def select_manifest(source: ImageSource, descriptor: Descriptor, platform: Platform | None) -> Descriptor:
    """Return the manifest to use: the descriptor itself, or where it is an index the member for a platform.

    Args:
        source: Where to read indexes.
        descriptor: Of a manifest or an index.
        platform: None is this machine's.

    Raises:
        ImageNotFoundError: The index has none for it; the cause lists the platforms that it has.
        InvalidImageError: A document is not valid.
    """
    wanted = (platform or Platform.host()).normalized()
    for _ in range(_NESTING):
        if descriptor.media_type not in mediatypes.INDEXES:
            return descriptor
        index = read_document(source, descriptor)
        assert isinstance(index, Index)  # noqa: S101 - by its media type
        member = next(filter(None, map(index.for_platform, _acceptable(wanted))), None)
        if member is None:
            raise ImageNotFoundError(
                f"{source.name} has no image for {wanted}",
                path=source.name,
                cause=f"it has {_platforms(index)}",
                hint="--platform OS/ARCH[/VARIANT]",
            )
        descriptor = member
    raise InvalidImageError(f"{source.name} is nested too deeply", cause=f"more than {_NESTING} indexes in each other")


def _acceptable(platform: Platform) -> list[Platform]:
    """Return a platform and what else runs on it, best first."""
    variants = _RUNS.get(platform.architecture, ())
    if platform.variant not in variants:
        return [platform]
    return [
        Platform(platform.os, platform.architecture, variant)
        for variant in variants[variants.index(platform.variant) :]
    ]


def _platforms(index: Index) -> str:
    known = dict.fromkeys(str(entry.platform) for entry in index.manifests if entry.platform is not None)
    return ", ".join(known) or "none that names a platform"
