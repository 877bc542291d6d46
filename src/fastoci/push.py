"""Push: an image on disk to one or more references at registries.

Whether pushing is allowed is proven first, at every registry. Then the blobs travel, several at once and each to each
host once; then the manifests that an index lists; and only when all of that stands everywhere, the image's own manifest
under its names. What is interrupted leaves blobs behind and no name that means half an image.
"""

from __future__ import annotations

import contextlib
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fastoci.errors import BlobMismatchError, UsageError
from fastoci.events import PushSummary, Sink, Tagged, discard
from fastoci.images.blob import ImageBlob
from fastoci.images.contents import Contents
from fastoci.images.destinations import Mount, destination, destination_of, own_names
from fastoci.images.documents import select_manifest
from fastoci.images.source import StoredImage, open_image
from fastoci.parallel import run_all
from fastoci.registry.client import RegistryClient
from fastoci.registry.options import RegistryOptions
from fastoci.registry.upload import BlobSource, UploadResult, upload_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fastoci.building.onepass import Sent
    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform
    from fastoci.spec.reference import Reference

__all__ = ["PushedImage", "deliver", "push"]


@dataclass(frozen=True, slots=True)
class PushedImage:
    """An image that stands at a registry.

    Attributes:
        reference: What it is called there; without a tag where it has its digest alone.
        digest: Of its manifest or index.
    """

    reference: Reference
    digest: Digest

    @property
    def name(self) -> str:
        """`REPOSITORY@DIGEST`, which means this image and no other."""
        return f"{self.reference.name}@{self.digest}"


def push(
    image: str | ImageName,
    references: Sequence[str] = (),
    options: RegistryOptions | None = None,
    sink: Sink = discard,
    *,
    by_digest: bool = False,
    platform: Platform | None = None,
    mount_from: str | None = None,
) -> list[PushedImage]:
    """Push an image from a layout or archive.

    Args:
        image: Which.
        references: Where to, each with its host; none means the full names that the image has in its layout.
        options: How the registries are reached.
        sink: Given the events of the work, from several threads.
        by_digest: Whether the image gets no tag.
        platform: Which member of an index; None is the whole index with all its members.
        mount_from: A repository, at the same registry unless it names its host, that may have blobs of this image.

    Returns:
        What stands now, one for each reference, in order.

    Raises:
        UsageError: A reference is none, or has no host.
        ImageNotFoundError: The image, or a blob of it, is not there.
        InvalidImageError: One of its documents is not valid.
        AccessDeniedError: A registry does not let it in; nothing has been sent then.
        RegistryError: A registry could not be reached, or did not take the image.
    """
    options = options or RegistryOptions()
    wanted = [destination(text) for text in references]
    with open_image(image, options, sink) as source:
        if not isinstance(source, StoredImage):
            raise UsageError(
                f"{source.name} is at a registry",
                cause="push takes an image from a layout or an archive",
                hint="name one, as oci:PATH:TAG or oci-archive:FILE",
            )
        found = source.resolve()
        wanted = wanted or own_names(source, found)
        descriptor = found if platform is None else select_manifest(source, found, platform)
        return deliver(source, descriptor, wanted, options, sink, by_digest=by_digest, mount_from=mount_from)


def deliver(
    source: ImageSource,
    descriptor: Descriptor,
    references: Sequence[Reference],
    options: RegistryOptions,
    sink: Sink = discard,
    *,
    by_digest: bool = False,
    mount_from: str | None = None,
    sent: Sent | None = None,
) -> list[PushedImage]:
    """Have an image that can be read stand at registries; what comes from a registry passes through memory alone.

    A blob that comes from another repository of the same registry is mounted from there.

    Args:
        source: Where to read it.
        descriptor: Of its manifest or index there.
        references: Where to.
        options: See `push`.
        sink: See `push`.
        by_digest: See `push`.
        mount_from: See `push`.
        sent: What a build has sent already, by connections that were allowed to push; None is nothing.

    Raises:
        FastociError: See `push`.
    """
    mounts = None if mount_from is None else Mount.parse(mount_from)
    destinations = [destination_of(descriptor, reference, by_digest=by_digest) for reference in references]
    elsewhere = () if sent is None else {digest for _, digest in sent.sources} | {one[2] for one in sent.standing}
    contents = Contents.collect(source, descriptor, elsewhere=elsewhere)
    with _Push(source, contents, destinations, options, mounts, sink, sent) as work:
        work.run()
    return [PushedImage(reference, descriptor.digest) for reference in destinations]


class _Push:
    """The work of one push, against all its registries. A context manager, which closes the connections."""

    def __init__(
        self,
        source: ImageSource,
        contents: Contents,
        destinations: Sequence[Reference],
        options: RegistryOptions,
        mounts: Mount | None,
        sink: Sink,
        sent: Sent | None,
    ) -> None:
        self._source = source
        self._contents = contents
        self._destinations = destinations
        self._options = options
        self._mounts = mounts
        self._sink = sink
        self._sent = sent
        self._stack = ExitStack()
        self._stop = threading.Event()
        self._clients: dict[str, RegistryClient] = {}
        self._repositories: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        with self._stack as stack:
            for reference in self._destinations:
                if self._sent is not None and reference.host in self._sent.clients:
                    self._clients[reference.host] = self._sent.clients[reference.host]
                elif reference.host not in self._clients:
                    client = RegistryClient(reference.host, self._options, self._sink)
                    self._clients[reference.host] = stack.enter_context(client)
                repositories = self._repositories.setdefault(reference.host, [])
                if reference.repository not in repositories:
                    repositories.append(reference.repository)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> None:
        if self._sent is None:
            for client, repository in self._places():
                client.check_push(repository)
        results = self._send_blobs()
        if self._sent is not None:
            results = [*self._sent.results, *results]
            self._sent.results = []  # told once, to however many places the image goes
        *listed, image = self._contents.manifests
        for client, repository in self._places():
            for descriptor in listed:
                self._put(client, repository, str(descriptor.digest), descriptor)
        for reference in self._destinations:
            client = self._clients[reference.host]
            self._put(client, reference.repository, reference.tag or str(image.digest), image)
            name = str(reference) if reference.tag else f"{reference.name}@{image.digest}"
            platform = self._contents.platform
            self._sink(Tagged(name, str(image.digest), None if platform is None else str(platform)))
        for client in self._clients.values():
            client.close_opened()
        self._sink(_summary(results))

    def _places(self) -> Iterator[tuple[RegistryClient, str]]:
        for host, repositories in self._repositories.items():
            for repository in repositories:
                yield self._clients[host], repository

    def _send_blobs(self) -> list[UploadResult]:
        done = run_all(
            [
                self._sending(client, descriptor, title)
                for descriptor, title in self._contents.blobs
                for client in self._clients.values()
            ],
            jobs=self._options.jobs,
            stop=self._stop,
            on_stop=self._cancel,
        )
        return [result for results in done for result in results]

    def _sending(self, client: RegistryClient, descriptor: Descriptor, title: str) -> Callable[[], list[UploadResult]]:
        def send() -> list[UploadResult]:
            return list(self._send(client, descriptor, title))

        return send

    def _send(self, client: RegistryClient, descriptor: Descriptor, title: str) -> Iterator[UploadResult]:
        """Have a blob stand in each repository at one host: what the first has, the others mount from it."""
        mount_from = None if self._mounts is None else self._mounts.at(client.host)
        origin = self._source.origin(descriptor.digest)
        if origin is not None and origin.host == client.host:
            mount_from = origin.repository
        standing = set() if self._sent is None else self._sent.standing
        with ExitStack() as stack:
            blob: BlobSource | None = None
            for repository in self._repositories[client.host]:
                if (client.host, repository, descriptor.digest) not in standing:
                    blob = blob or self._open(client.host, descriptor, stack)
                    yield upload_blob(
                        client, repository, descriptor, blob, title=title, sink=self._sink, mount_from=mount_from
                    )
                mount_from = repository

    def _open(self, host: str, descriptor: Descriptor, stack: ExitStack) -> BlobSource:
        if self._sent is not None and (made := self._sent.sources.get((host, descriptor.digest))) is not None:
            return made
        return stack.enter_context(contextlib.closing(ImageBlob(self._source, descriptor, self._stop)))

    def _put(self, client: RegistryClient, repository: str, name: str, descriptor: Descriptor) -> None:
        data = self._source.read_manifest(descriptor)
        digest = client.put_manifest(repository, name, descriptor.media_type, data)
        if digest.algorithm == descriptor.digest.algorithm and digest != descriptor.digest:
            raise BlobMismatchError(
                f"{client.host}/{repository} took the manifest for another",
                cause=f"{descriptor.digest} was sent, {digest} stands",
            )

    def _cancel(self) -> None:
        for client in self._clients.values():
            client.cancel()
        self._source.cancel()


def _summary(results: Iterable[UploadResult]) -> PushSummary:
    results = list(results)
    return PushSummary(
        sent=sum(result.sent for result in results),
        skipped=sum(result.size for result in results if result.how == "skipped"),
        mounted=sum(result.size for result in results if result.how == "mounted"),
        resumed=sum(result.resumed for result in results),
        repeated=sum(result.repeated for result in results),
    )
