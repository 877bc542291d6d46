"""Layers on their way to registries while they are packed.

Each layer's blob is a `BlobStream`, one for each registry: the packer writes it, an upload reads it, and nothing is
stored between them. An upload that falls behind has its bytes made again from the plan, so plans stay open until all
is sent; where a layout takes the blob as well, it is read from there instead. Only for a registry that takes a blob as
a whole, and so would have all of it made twice, it is kept in a temporary file, where there is room. What fails first
stops packing and uploads; the sessions of uploads that were not at fault stay, for whoever runs the command again.
"""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from fastoci.building.packedbefore import KnownLayer, PackedBefore
from fastoci.ending import Ending, EndingStack
from fastoci.errors import FastociError, RegistryError, reason
from fastoci.events import BlobDone, Notice
from fastoci.layer.stream import BlobStream
from fastoci.parallel import StoppedError
from fastoci.registry.auth import push_scope
from fastoci.registry.client import RegistryClient
from fastoci.registry.session import DEFAULT_CHUNK, Mode
from fastoci.registry.upload import BlobSource, UploadResult, upload_growing
from fastoci.temporary import large_tmp
from fastoci.threads import Crew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from fastoci.events import Sink
    from fastoci.layer.pack import BlobSink, PackedLayer, PlannedLayer
    from fastoci.registry.options import RegistryOptions
    from fastoci.spec.digest import Digest
    from fastoci.spec.reference import Reference
    from fastoci.store.blobs import BlobWriter

__all__ = ["LayerUploads", "Sent"]

T = TypeVar("T")

_WINDOW_CHUNKS = 2  # one is sent while the next is packed
_LARGEST_WINDOW = 64 << 20
_GRACE = 1.0  # seconds that uploads are given to close their sessions, and then to notice a stop


@dataclass(slots=True)
class Sent:
    """What has been sent before the image that it belongs to is pushed.

    Attributes:
        clients: By host.
        results: What the uploads came to.
        standing: Where a blob is known to stand: host, repository and digest.
        sources: A blob's bytes by host and digest, for another repository at that host; read by one thread at a time.
    """

    clients: dict[str, RegistryClient] = field(default_factory=dict)
    results: list[UploadResult] = field(default_factory=list)
    standing: set[tuple[str, str, Digest]] = field(default_factory=set)
    sources: dict[tuple[str, Digest], BlobSource] = field(default_factory=dict)


class _Upload:
    """One layer on its way to one registry, in a thread."""

    def __init__(
        self,
        stream: BlobStream,
        host: str,
        run: Callable[[], UploadResult],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.stream = stream
        self.host = host
        self.result: UploadResult | None = None
        self.thread: threading.Thread | None = None  # or the machine gave none for it
        self._work = run
        self._failed = failed

    def run(self) -> None:
        """Do it, in that thread."""
        try:
            self.result = self._work()
        except BaseException as error:  # raised in the thread that packs, or waits
            self._failed(error)
        else:
            # What is still packed is for its digest alone.
            self.stream.close()

    @property
    def is_under_way(self) -> bool:
        """Whether its thread is at work."""
        return self.thread is not None and self.thread.is_alive()


class LayerUploads(Ending):
    """The layers of one build, on their way to all its registries. A context manager, which stops what is not done.

    Args:
        references: What the image is going to be pushed as.
        options: How the registries are reached.
        mount_from: Returns the repository at a host that may have the blobs, None where none is known.
        sink: Given the events of the work, from several threads.
    """

    def __init__(
        self,
        references: Sequence[Reference],
        options: RegistryOptions,
        mount_from: Callable[[str], str | None],
        sink: Sink,
    ) -> None:
        self._options = options
        self._mount_from = mount_from
        self._sink = sink
        self._repositories: dict[str, list[str]] = {}
        for reference in references:
            repositories = self._repositories.setdefault(reference.host, [])
            if reference.repository not in repositories:
                repositories.append(reference.repository)
        self._before = PackedBefore(sink)
        self._slots = threading.Semaphore(options.jobs)
        self._under_way = 0  # uploads that have begun, or are about to
        self._ended = threading.Condition()  # an upload has, or all are stopped
        self._uploads: list[_Upload] = []
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._stopped = False
        self._crew = Crew(self._halt, _GRACE)
        self._plans = EndingStack()
        self._stack = EndingStack()
        self._sent = Sent()

    def begin(self) -> None:
        """Make a client for each registry; nothing is connected yet."""
        for host in self._repositories:
            self._sent.clients[host] = self._stack.enter_context(RegistryClient(host, self._options, self._sink))

    def end(self) -> None:
        """Stop what is not done, and let go of plans and connections."""
        self._cancel()
        for upload in self._uploads:
            upload.stream.close()
        self._plans.close()
        self._stack.close()

    def prove(self) -> None:
        """Make sure that every registry takes blobs for every repository, before anything is read.

        Raises:
            AccessDeniedError: One does not.
            RegistryError: One cannot be reached.
        """
        for host, repositories in self._repositories.items():
            for repository in repositories:
                self._sent.clients[host].check_push(repository)

    def open(self, plan: AbstractContextManager[T]) -> T:
        """Enter the context of a plan, which stays open until all is sent."""
        return self._plans.enter_context(plan)

    @property
    def at_once(self) -> int:
        """How many layers can be on their way at once."""
        return max(1, self._options.jobs // max(1, len(self._repositories)))

    def pack(self, planned: PlannedLayer, writer: BlobWriter | None, *, patient: bool = False) -> PackedLayer:
        """Pack a layer, and send it meanwhile. It may be on its way still when this returns.

        Args:
            planned: The layer; its plan was opened by `open`.
            writer: Takes the blob, too, and what is sent again comes from there; None: nobody else wants it, and what
                stands already need not be made.
            patient: Whether it is packed only when its uploads can begin: nothing waits for its digest, and while
                others are sent there are more of its kind to pack. Otherwise it is packed at once, and once more when
                its turn comes. Several threads may pack patiently at once.

        Raises:
            TreeError: It cannot be packed.
            RegistryError: A registry did not take it.
        """
        if writer is None:
            known = self._before.find(planned)
            if known is not None and self._stands(known, planned.title):
                return planned.packed_before(known.descriptor, known.diff_id)
        if patient:
            self._await_turn()
        begun = [self._begin(host, planned, writer, counted=patient) for host in self._repositories]
        sinks: list[BlobSink] = [upload.stream for upload in begun]
        try:
            packed = planned.pack(_Tee(sinks if writer is None else [writer, *sinks]))
        except BaseException as error:
            self._packing_failed(begun, error)
            raise
        for upload in begun:
            self._sent.sources[upload.host, packed.descriptor.digest] = upload.stream
            self._sent.standing.add((upload.host, self._repositories[upload.host][0], packed.descriptor.digest))
        self._before.keep(planned, packed)
        return packed

    def finish(self) -> Sent:
        """Wait until all layers stand in the first repository at each registry.

        Raises:
            RegistryError: A registry did not take one.
            TreeError: One that had to be read again has changed.
        """
        try:
            for upload in self._uploads:
                while upload.thread is not None and upload.is_under_way and self._error is None:
                    upload.thread.join(0.1)
        except BaseException:
            self._cancel()
            raise
        if self._error is not None:
            self._cancel()
            raise self._error
        self._sent.results += [upload.result for upload in self._uploads if upload.result is not None]
        return self._sent

    def stop(self) -> None:
        """Have whoever packs or waits for its turn give up; leaving the context ends the uploads."""
        with self._lock:
            self._stopped = True
        with self._ended:
            self._ended.notify_all()
        for upload in list(self._uploads):
            upload.stream.fail(StoppedError())

    def _await_turn(self) -> None:
        """Wait until the uploads of one more layer can begin, and count them: all of them or none."""
        count, most = len(self._repositories), self._options.jobs
        with self._ended:
            self._ended.wait_for(lambda: self._stopped or not self._under_way or self._under_way + count <= most)
            if self._stopped:
                raise self._error or StoppedError()
            self._under_way += count

    def _begin(self, host: str, planned: PlannedLayer, writer: BlobWriter | None, *, counted: bool) -> _Upload:
        if not counted:
            with self._ended:
                self._under_way += 1
        free = self._slots.acquire(blocking=False)
        # Who has to wait for others to end gets nothing kept: it would be kept for long.
        chunk = self._options.chunk_size or DEFAULT_CHUNK
        window = min(_WINDOW_CHUNKS * chunk, _LARGEST_WINDOW) if free else 0
        client, repository = self._sent.clients[host], self._repositories[host][0]
        whole = client.profile.first_mode(self._options.upload) is not Mode.CHUNKED
        stored = None if writer is None else writer.open_written()
        if stored is not None:
            spool: int | None = self._stack.enter_context(stored).fd
        else:
            spool = self._open_spool() if whole else None
        stream = BlobStream(planned, f"place:{planned.place}", window, spool=spool, filled=stored is not None)

        def run() -> UploadResult:
            if not free:
                self._slots.acquire()
            try:
                if self._stopped:
                    raise StoppedError
                return upload_growing(
                    client,
                    repository,
                    stream,
                    title=planned.title,
                    sink=self._sink,
                    mount_from=self._mount_from(host),
                )
            finally:
                self._slots.release()
                with self._ended:
                    self._under_way -= 1
                    self._ended.notify_all()

        upload = _Upload(stream, host, run, self._upload_failed)
        with self._lock:
            self._uploads.append(upload)
            upload.thread = self._crew.start(f"fastoci-upload-{host}", upload.run)
        return upload

    def _open_spool(self) -> int | None:
        """Open a file without a name for a blob that travels as a whole; without one it is made twice."""
        try:
            return self._stack.enter_context(tempfile.TemporaryFile(prefix="fastoci-", dir=large_tmp())).fileno()
        except OSError as error:
            self._sink(Notice(f"no room for a temporary file ({reason(error)}): the layer is packed twice"))
            return None

    def _stands(self, known: KnownLayer, title: str) -> bool:
        """Return whether a layer that was packed before stands in every repository."""
        started = time.monotonic()
        descriptor = known.descriptor
        for host, repositories in self._repositories.items():
            for repository in repositories:
                client = self._sent.clients[host]
                try:
                    size = client.blob_size(repository, descriptor.digest, scopes=(push_scope(repository),))
                except RegistryError:
                    return False  # what is wrong there shows again where it can be said better
                if size != descriptor.size:
                    return False
        self._sink(Notice(f"{title}: nothing has changed since it was packed last; it is not read"))
        seconds = time.monotonic() - started
        digest = descriptor.digest
        self._sink(BlobDone(str(digest), title, descriptor.size, "skipped", seconds))
        for host, repositories in self._repositories.items():
            self._sent.results.append(UploadResult("skipped", descriptor.size, 0, 0, 0, seconds))
            self._sent.standing |= {(host, repository, digest) for repository in repositories}
        return True

    def _upload_failed(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None and not self._stopped:
                self._error = error
        # Not with the error itself: it is not the fault of the other uploads' sources.
        self.stop()

    def _packing_failed(self, begun: Iterable[_Upload], error: BaseException) -> None:
        """Stop all uploads; that of a layer which will never be closes its session."""
        with self._lock:
            first, self._stopped = self._error, True
        if first is not None:
            self._cancel()
            raise first
        if isinstance(error, FastociError):
            for upload in begun:
                upload.stream.fail(error)
            _join(begun)
        self._cancel()

    def _cancel(self) -> None:
        """Stop all uploads and wait for them, not for long: a registry may not answer."""
        self._crew.cancel()

    def _halt(self) -> None:
        if not any(upload.is_under_way for upload in self._uploads):
            return
        self.stop()
        for client in self._sent.clients.values():
            client.cancel()


def _join(uploads: Iterable[_Upload]) -> None:
    deadline = time.monotonic() + _GRACE
    for upload in uploads:
        if upload.thread is not None:
            upload.thread.join(max(0.0, deadline - time.monotonic()))


class _Tee:
    """Several sinks of one blob."""

    def __init__(self, sinks: Sequence[BlobSink]) -> None:
        self._sinks = sinks

    def write(self, data: bytes | memoryview) -> None:
        for sink in self._sinks:
            sink.write(data)

    def commit(self, digest: Digest) -> None:
        for sink in self._sinks:
            sink.commit(digest)
