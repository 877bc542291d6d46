"""Index: images that stand already, each for its platform, joined under one name.

The members may stand anywhere: what the target has not is mounted or copied. A member that is an index itself gives its
own members, with what it says of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from fastoci.copy import STDOUT, CopiedImage, put
from fastoci.errors import UsageError
from fastoci.events import Sink, discard
from fastoci.images.composed import ComposedImage
from fastoci.images.contents import Contents
from fastoci.images.documents import read_document
from fastoci.images.source import ImageSource, locate_image, open_image, options_for
from fastoci.registry.options import RegistryOptions
from fastoci.spec import mediatypes
from fastoci.spec.config import ImageConfig
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.index import Index
from fastoci.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform

__all__ = ["create_index"]

_UNKNOWN = "unknown"  # what buildx calls the platform of an attestation


def create_index(
    target: str | ImageName,
    members: Sequence[str | ImageName],
    options: RegistryOptions | None = None,
    *,
    annotations: Mapping[str, str] | None = None,
    sink: Sink = discard,
) -> CopiedImage:
    """Join images into an index.

    Args:
        target: Where it shall stand: a reference, a layout or an archive.
        members: Images and indexes, in the order in which a reader shall prefer them.
        options: How registries are reached.
        annotations: Of the index.
        sink: Given the events of the work.

    Raises:
        UsageError: There is no member, or two are for one platform.
        ImageNotFoundError: A member is not there.
        InvalidImageError: A member is not valid.
        RegistryError: A registry could not be reached, or did not do what was asked.
        StoreError: The target cannot be written.
    """
    if not members:
        raise UsageError("an index of nothing", hint="name the images to join")
    options = options or RegistryOptions()
    located = None if target == STDOUT else locate_image(target)
    if located is not None and located.transport == "docker":
        hosts = {Reference.parse(located.target).host}
    else:
        hosts = {Reference.parse(one.target).host for one in map(locate_image, members) if one.transport == "docker"}
        if options.credentials is not None and len(hosts) > 1:
            raise UsageError(
                f"--creds does not say for which of {', '.join(sorted(hosts))}",
                hint="fastoci login, one after the other",
            )
    with ExitStack() as stack:
        entries: dict[Digest, Descriptor] = {}
        parts: dict[Digest, ImageSource] = {}
        taken: dict[str, str] = {}
        for member in members:
            source = stack.enter_context(open_image(member, options_for(member, options, hosts), sink))
            found = source.resolve()
            for entry in _entries(source, found):
                _take(entry, str(member), taken, known=entry.digest in entries)
                entries.setdefault(entry.digest, entry)
            contents = Contents.collect(source, found)
            for descriptor in (*contents.manifests, *(blob for blob, _ in contents.blobs)):
                # The first that has it at a registry: there it may be mounted.
                if descriptor.digest not in parts or parts[descriptor.digest].origin(descriptor.digest) is None:
                    parts[descriptor.digest] = source
        index = Index(tuple(entries.values()), annotations or None, _media_type(entries.values(), annotations))
        data = index.to_bytes()
        top = Descriptor.of(index.media_type, data)
        composed = ComposedImage(f"the index {target}", top, {top.digest: data}, parts)
        return put(composed, top, target, options, sink=sink)


def _entries(source: ImageSource, found: Descriptor) -> Iterator[Descriptor]:
    """Yield the entries that a member becomes."""
    document = read_document(source, found)
    if isinstance(document, Index):
        yield from document.manifests
        return
    platform: Platform | None = None
    if document.config.media_type in mediatypes.CONFIGS:
        what = f"the config {document.config.digest} of {source.name}"
        platform = ImageConfig.from_bytes(source.read_blob(document.config), what).platform
    yield Descriptor(
        found.media_type, found.digest, found.size, platform=platform, artifact_type=document.artifact_type
    )


def _take(entry: Descriptor, member: str, taken: dict[str, str], *, known: bool) -> None:
    """Note whose a platform is.

    Raises:
        UsageError: It is another image's: a reader would find one of the two, and nobody knows which.
    """
    platform = entry.platform
    if known or platform is None or platform.os == _UNKNOWN:
        return
    name = str(platform.normalized()) + (f" {platform.os_version}" if platform.os_version else "")
    if name in taken:
        raise UsageError(
            f"two images for {name}", cause=f"{taken[name]} and {member}", hint="an index has one image for a platform"
        )
    taken[name] = member


def _media_type(entries: Iterable[Descriptor], annotations: Mapping[str, str] | None) -> str:
    """Return OCI's, or Docker's where all members are Docker's and there is nothing that it cannot hold."""
    docker = all(entry.media_type == mediatypes.DOCKER_MANIFEST for entry in entries)
    return mediatypes.DOCKER_MANIFEST_LIST if docker and not annotations else mediatypes.OCI_INDEX
