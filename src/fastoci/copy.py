"""Copy: an image, with all its platforms or one, from any place to any other, its documents byte for byte.

Blobs travel first, several at once; then the manifests that an index lists; last the image's own under its name. Into
a layout what is not whole yet is kept, and gone on with by the next run. From registry to registry bytes pass through
memory, or are mounted where both are one. An archive is one stream, written blob after blob; it appears when whole.
"""

from __future__ import annotations

import io
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from fastoci.building.targets import Discarding
from fastoci.counted import CountedReader
from fastoci.ending import EndingStack
from fastoci.errors import RegistryError, UsageError
from fastoci.events import BlobDone, BlobProgress, PullSummary, Sink, Tagged, Throttle, discard
from fastoci.images.contents import Contents
from fastoci.images.destinations import destination
from fastoci.images.documents import select_manifest
from fastoci.images.fetch import Fetched, fetch_blob, summary_of
from fastoci.images.source import ImageSource, StoredImage, locate_image, open_image
from fastoci.parallel import run_all
from fastoci.push import deliver
from fastoci.registry.options import RegistryOptions
from fastoci.spec.annotations import IMAGE_NAME, REF_NAME
from fastoci.spec.imagename import ImageName
from fastoci.spec.reference import Reference
from fastoci.store.archive import ArchiveWriter
from fastoci.store.layout import Layout
from fastoci.units import format_part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.platform import Platform

__all__ = ["STDOUT", "CopiedImage", "copy", "pull", "put"]

STDOUT = "-"


@dataclass(frozen=True, slots=True)
class CopiedImage:
    """An image where it was copied to.

    Attributes:
        name: In a form that fastoci reads; empty for an archive on stdout.
        digest: Of its manifest or index.
    """

    name: str
    digest: Digest


def copy(
    source: str | ImageName,
    target: str | ImageName,
    source_options: RegistryOptions | None = None,
    target_options: RegistryOptions | None = None,
    *,
    platform: Platform | None = None,
    stdout: BinaryIO | None = None,
    sink: Sink = discard,
) -> CopiedImage:
    """Copy an image.

    Args:
        source: Its name, of any transport.
        target: Where to, of any transport; `-` is an archive on stdout.
        source_options: How the registry that it comes from is reached.
        target_options: How the registry that it goes to is reached.
        platform: Which member of an index; None is the whole index with all its members. A docker archive, which can
            hold no index, gets the one for this host then.
        stdout: Where `-` is written; None is this process's stdout.
        sink: Given the events of the work, from several threads.

    Raises:
        UsageError: A name is none, or says no place to copy to.
        ImageNotFoundError: The image, or a blob of it, is not there.
        InvalidImageError: One of its documents or blobs is not what it should be.
        AccessDeniedError: A registry does not let us in.
        RegistryError: A registry could not be reached, or does not give or take the image.
        StoreError: What is on disk cannot be read or written.
    """
    with open_image(source, source_options, sink) as opened:
        found = opened.resolve()
        if platform is None and str(target).startswith("docker-archive:"):
            descriptor = select_manifest(opened, found, None)
        else:
            descriptor = found if platform is None else select_manifest(opened, found, platform)
        return put(opened, descriptor, target, target_options, names=_names(opened, found), stdout=stdout, sink=sink)


def pull(
    reference: str,
    target: str | ImageName | None = None,
    options: RegistryOptions | None = None,
    *,
    platform: Platform | None = None,
    stdout: BinaryIO | None = None,
    sink: Sink = discard,
) -> CopiedImage:
    """Copy an image from a registry; see `copy`.

    Args:
        reference: Its name there.
        target: Where to on this disk; None is `./NAME.oci`, a layout named after the repository.
        options: How the registry is reached.
        platform: See `copy`.
        stdout: See `copy`.
        sink: See `copy`.
    """
    image = ImageName.parse(reference)
    if image.transport not in {None, "docker"}:
        raise UsageError(
            f"{reference} is not at a registry", cause="pull takes a reference", hint="fastoci copy takes any name"
        )
    wanted = Reference.parse(image.target)
    if target is None:
        target = ImageName("oci", f"./{wanted.repository.rpartition('/')[2]}.oci")
    elif target != STDOUT:
        place = ImageName.parse(target) if isinstance(target, str) else target
        if place.transport == "docker":
            raise UsageError(
                f"{target} is no place to pull to",
                cause="pull writes to the disk, and this is at a registry",
                hint=f"fastoci copy {reference} {target}",
            )
        if place.transport is None:
            # What is pulled goes to the disk, whatever the name looks like.
            target = f"./{target}"
    return copy(
        ImageName("docker", wanted.name, wanted.tag, wanted.digest),
        target,
        options,
        # How many blobs travel at once is said once; what is said of the registry is for it alone.
        None if options is None else RegistryOptions(jobs=options.jobs),
        platform=platform,
        stdout=stdout,
        sink=sink,
    )


def put(
    source: ImageSource,
    descriptor: Descriptor,
    target: str | ImageName,
    options: RegistryOptions | None = None,
    *,
    names: Sequence[str] = (),
    stdout: BinaryIO | None = None,
    sink: Sink = discard,
) -> CopiedImage:
    """Have an image that can be read stand at a place.

    Args:
        source: Where to read it.
        descriptor: Of its manifest or index there.
        target: See `copy`.
        options: How the registry that it goes to is reached, and how many blobs travel at once.
        names: What it is called in a layout or archive whose name says no tag.
        stdout: See `copy`.
        sink: See `copy`.

    Raises:
        FastociError: See `copy`.
    """
    options = options or RegistryOptions()
    if target == STDOUT:
        return _to_archive(source, descriptor, ImageName("oci-archive", STDOUT), names, stdout or _stdout(), sink)
    image = locate_image(target)
    if image.transport == "docker":
        pushed = deliver(source, descriptor, [destination(image.target)], options, sink)
        return CopiedImage(pushed[0].name, descriptor.digest)
    if image.digest not in {None, descriptor.digest}:
        raise UsageError(f"{image} is not the name of this image", cause=f"its digest is {descriptor.digest}")
    names = names if image.tag is None else [image.tag]
    if image.transport == "oci":
        return _to_layout(source, descriptor, image, names, options.jobs, sink)
    return _to_archive(source, descriptor, image, names, image.location, sink)


def _names(source: ImageSource, found: Descriptor) -> list[str]:
    """Return what an image is called where it comes from."""
    if isinstance(source, StoredImage):
        if source.image.tag is not None:
            return [source.image.tag]
        entries = [entry for entry in source.store.index().manifests if entry.digest == found.digest]
        said = [entry.annotation(IMAGE_NAME) or entry.annotation(REF_NAME) for entry in entries]
        return list(dict.fromkeys(name for name in said if name))
    origin = source.origin(found.digest)
    return [] if origin is None or origin.tag is None else [str(origin.with_tag(origin.tag))]


def _to_layout(
    source: ImageSource, descriptor: Descriptor, image: ImageName, names: Sequence[str], jobs: int, sink: Sink
) -> CopiedImage:
    contents = Contents.collect(source, descriptor)
    layout = Layout.create(image.location)
    stop = threading.Event()
    # What was fetched stays: it is what the next run goes on with. A layout that holds nothing goes.
    with EndingStack() as stack:
        stack.enter_context(Discarding(layout))
        try:
            results = run_all(
                [_fetching(source, blob, layout, title, sink, stop) for blob, title in contents.blobs],
                jobs=jobs,
                stop=stop,
                on_stop=source.cancel,
            )
        except RegistryError as error:
            _tell_what_stands(error, contents, layout)
            raise
        for manifest in contents.manifests:
            data = source.read_manifest(manifest)
            with layout.blob_writer() as writer:
                writer.write(data)
                writer.commit(manifest.digest)
        layout.put_manifest(descriptor, names)
    return _done(descriptor, contents, image, names, summary_of(results, source.mended), sink)


def _fetching(
    source: ImageSource, blob: Descriptor, layout: Layout, title: str, sink: Sink, stop: threading.Event
) -> Callable[[], Fetched]:
    return lambda: fetch_blob(source, blob, layout, title=title, sink=sink, stop=stop)


def _tell_what_stands(error: RegistryError, contents: Contents, layout: Layout) -> None:
    """Have an error that another run may overcome say how much that one will find."""
    if error.exit_code != RegistryError.exit_code:
        return
    total = sum(blob.size for blob, _ in contents.blobs)
    stands = sum(
        blob.size if layout.has_blob(blob.digest, blob.size) else layout.partial_size(blob)
        for blob, _ in contents.blobs
    )
    if stands:
        error.hint = f"run the same command again: {format_part(stands, total)} are here already"


def _to_archive(
    source: ImageSource,
    descriptor: Descriptor,
    image: ImageName,
    names: Sequence[str],
    target: str | BinaryIO,
    sink: Sink,
) -> CopiedImage:
    contents = Contents.collect(source, descriptor)
    with ArchiveWriter(target) as archive:
        for blob, title in contents.blobs:
            with source.open_verified(blob) as stream:
                archive.copy_blob(blob, io.BufferedReader(CountedReader(stream, _telling(blob, title, sink)), 1 << 20))
            sink(BlobDone(str(blob.digest), title, blob.size, "pulled", 0.0))
        for manifest in contents.manifests:
            archive.put_blob(source.read_manifest(manifest), manifest.media_type)
        archive.put_manifest(descriptor, names)
        archive.finish(names)
    fetched = [Fetched(fetched=blob.size) for blob, _ in contents.blobs]
    return _done(descriptor, contents, image, names, summary_of(fetched, source.mended), sink)


def _telling(descriptor: Descriptor, title: str, sink: Sink) -> Callable[[int], None]:
    """Return what is told how many more bytes of a blob were read, and says how far that is."""
    throttle = Throttle()
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if throttle.due():
            sink(BlobProgress(str(descriptor.digest), title, done, descriptor.size, pulling=True))

    return advance


def _done(
    descriptor: Descriptor, contents: Contents, image: ImageName, names: Sequence[str], summary: PullSummary, sink: Sink
) -> CopiedImage:
    tag = names[0].rpartition("/")[2].rpartition(":")[2] if names else None
    if image.location == STDOUT and image.transport == "oci-archive":
        name = ""
    else:
        name = str(ImageName(image.transport, image.location, tag, descriptor.digest))
    sink(
        Tagged(name or "stdout", str(descriptor.digest), None if contents.platform is None else str(contents.platform))
    )
    sink(summary)
    return CopiedImage(name, descriptor.digest)


def _stdout() -> BinaryIO:
    if sys.stdout.isatty():
        raise UsageError(
            "an archive is not for a terminal", hint="pipe stdout into a program or a file, or name a file"
        )
    return sys.stdout.buffer
