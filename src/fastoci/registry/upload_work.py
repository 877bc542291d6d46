"""What the states of an upload share: its session, the budgets that end it, and the ways to ask the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import quote

from fastoci.errors import RegistryError
from fastoci.events import BlobProgress, Notice, Resumed, Retry, Throttle
from fastoci.registry.auth import pull_scope, push_scope
from fastoci.registry.chunks import Chunk, SourceError
from fastoci.registry.faults import Fault, TransportError
from fastoci.registry.patience import OutOfPatienceError, Patience, is_passing, retry_after
from fastoci.registry.refusals import cause_of, unreachable
from fastoci.registry.session import DEFAULT_CHUNK, LARGEST_CHUNK, Mode, UploadSession
from fastoci.registry.transport import READ_TIMEOUT
from fastoci.registry.upload_account import Account
from fastoci.registry.upload_steps import Step, UploadResult
from fastoci.units import format_part, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastoci.events import Sink
    from fastoci.registry.auth import Scopes
    from fastoci.registry.chunks import BlobSource, GrowingSource
    from fastoci.registry.client import RegistryClient
    from fastoci.registry.journal import Journal, Memory
    from fastoci.registry.response import Response
    from fastoci.registry.urls import Url
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest

__all__ = ["UploadWork"]

RESTARTS = 5  # that get no further than the best one before


class UploadWork:
    """One upload. Belongs to one thread.

    Args:
        client: See `upload_blob`.
        repository: See `upload_blob`.
        blob: The blob's descriptor; None as long as it is not known.
        source: See `upload_blob` and `upload_growing`.
        title: See `upload_blob`.
        sink: See `upload_blob`.
        mount_from: See `upload_blob`.
        journal: Where its session is noted.
    """

    def __init__(
        self,
        client: RegistryClient,
        repository: str,
        blob: Descriptor | None,
        source: BlobSource | GrowingSource,
        title: str,
        sink: Sink,
        mount_from: str | None,
        journal: Journal,
    ) -> None:
        self.client = client
        self.repository = repository
        self.blob = blob
        self.source = source
        self.growing = cast("GrowingSource", source) if blob is None else None
        self.key = cast("GrowingSource", source).subject if blob is None else str(blob.digest)
        self.title = title
        self.sink = sink
        self.mount_from = None if mount_from == repository else mount_from
        self.scopes: Scopes = (push_scope(repository),)
        self.how: Literal["pushed", "skipped", "mounted"] = "pushed"
        self.may_choose = client.options.upload == "auto"
        self.journal = journal
        self.session = self._new_session(self.client.profile.first_mode(self.client.options.upload))
        self.between: Callable[[], None] = lambda: None  # called between the pieces of a body; what it raises ends that
        self.recalled = False  # whether the session is that of an earlier run, and has not been heard of yet

        # What ends an upload.
        self.patience = Patience(client.pacer, client.options.retry)
        self.restarts = 0
        self.best = 0  # how far any session before this one came
        self.under_way = 0  # the end of the furthest chunk that was begun, in any session
        self.trouble: str | None = None  # the last fault, until it is overcome
        self.trouble_cause: str | None = None

        self.digest_refused = (
            False  # for good: a registry that refused the digest may still serve the blob (Artifactory)
        )
        self.account = Account()
        self.said_at: int | None = None  # the offset that was last told to be gone on from
        self._started = client.pacer.clock()
        self._throttle = Throttle(clock=client.pacer.clock)

    @property
    def digest(self) -> Digest:
        """The blob's digest, once it is known."""
        return self._whole().digest

    @property
    def size(self) -> int:
        """The blob's size in bytes, once it is known."""
        return self._whole().size

    @property
    def total(self) -> int | None:
        """How many bytes there are to be sent; None as long as that is not known."""
        return None if self.blob is None else self.blob.size

    def _whole(self) -> Descriptor:
        if self.blob is None:
            raise ValueError("the blob is not whole yet")
        return self.blob

    def wait(self, offset: int | None) -> int:
        """Wait until there are `offset` bytes to be sent, None for all; return how many there are.

        Raises:
            SourceError: They will not be made.
        """
        if self.growing is None:
            return self.size
        try:
            return self.growing.wait(offset)
        except Exception as error:
            raise SourceError from error

    # What is asked of the registry.

    def ask(
        self,
        method: str,
        url: Url | str,
        *,
        scopes: Scopes | None = None,
        headers: Mapping[str, str] | None = None,
        body: Chunk | None = None,
        read_timeout: float = READ_TIMEOUT,
    ) -> Response | None:
        """Send a request; after a passing failure wait, and return None.

        Args:
            method: See `Transport.send`.
            url: See `RegistryClient.exchange`.
            scopes: What it needs; None is what pushing this blob needs.
            headers: See `Transport.send`.
            body: See `Transport.send`.
            read_timeout: See `Transport.send`.

        Raises:
            OutOfPatienceError: That was one failure too many.
            RegistryError: The failure does not pass.
        """
        try:
            response = self.client.exchange(
                method, url, scopes or self.scopes, headers=headers, body=body, read_timeout=read_timeout
            )
        except TransportError as error:
            self.failed(error)
            return None
        if is_passing(response.status):
            self.failed(response)
            return None
        return response

    def failed(self, failure: TransportError | Response) -> None:
        """Count a failure that may pass, and wait.

        Raises:
            OutOfPatienceError: That was one too many.
            RegistryError: It does not pass.
        """
        asked = None
        if isinstance(failure, TransportError):
            if not failure.passing:
                raise unreachable(self.client.host, failure, self.stopped_at()) from failure
            self.trouble = str(failure)
            self.trouble_cause = f"{failure.request}: {failure}" if failure.request else str(failure)
        else:
            failure.close()
            self.trouble = self.trouble_cause = cause_of(failure)
            asked = retry_after(failure.header("Retry-After"), self.client.pacer.wall())
        wait = self.patience.failed(self.trouble_cause, asked)
        self.sink(Retry(self.title, self.trouble, wait))
        self.client.pacer.wait(wait)

    def ask_again(self, response: Response) -> Step:
        """Count an answer that leaves it open how far the session is, and have SYNC find out.

        Raises:
            OutOfPatienceError: That was one too many without progress.
        """
        self.trouble = self.trouble_cause = cause_of(response)
        self.patience.failed(self.trouble_cause)
        return Step.SYNC

    def mount_request(self) -> tuple[str, Scopes]:
        """Return the path that asks for a session or for the blob to be mounted, and what that needs."""
        path = f"/v2/{self.repository}/blobs/uploads/"
        if self.mount_from is None or self.blob is None:
            return path, self.scopes
        query = f"?mount={quote(str(self.digest), safe='')}&from={quote(self.mount_from, safe='')}"
        return path + query, (*self.scopes, pull_scope(self.mount_from))

    def stands(self) -> bool:
        """Ask once whether the blob stands under its digest; no answer is no."""
        if self.digest_refused:
            return False
        try:
            response = self.client.exchange("HEAD", f"/v2/{self.repository}/blobs/{self.digest}", self.scopes)
        except TransportError as error:
            if error.fault is Fault.CANCELLED:
                raise
            return False
        response.close()
        if response.status != 200:
            return False
        length = response.length()
        if length is None:
            return response.header("Docker-Content-Digest") == str(self.digest)
        return length == self.size

    # What the answers mean for the session.

    def take_location(self, response: Response) -> None:
        """Go on where an answer says: after every one the session may have another `Location`.

        Raises:
            RegistryError: It leads where we do not go.
        """
        location = response.header("Location")
        if location is not None:
            self.session.location = self.client.resolve(response, location)

    def acknowledge(self, offset: int) -> None:
        """Note how many bytes the registry holds. Going on from here is what a resumed upload does."""
        self.session.offset = offset
        if self.growing is not None:
            self.growing.passed(offset)
        self.note()
        if offset > self.session.reached:
            self.session.reached = offset
            self.patience.progress()
            self.session.refused_offsets.clear()
            self.session.stuck = 0
            self.session.blind = False

    def note(self) -> None:
        """Have the journal say how far the session is."""
        if self.journal.kept:
            proof = "" if self.growing is None else self.growing.proof(max(self.session.offset, self.under_way))
            self.journal.note(self.session, proof)

    def promise(self, end: int) -> None:
        """Note that bytes up to `end` are about to be sent: how many of them arrive, a killed run cannot note."""
        if self.growing is not None and end > self.under_way:
            self.under_way = end
            self.note()

    def remembered(self) -> Memory | None:
        """Return what an earlier run has left, None where there is nothing to go on with."""
        memory = self.journal.recall(self.client.origin)
        if memory is None or self.client.options.upload not in {"auto", memory.mode.value}:
            return None
        return memory

    def recall(self, memory: Memory) -> None:
        """Take up the session of an earlier run."""
        # What an earlier run found out about chunks holds for its session: registries that assemble an object from
        # parts want all of one size.
        self.session = self._new_session(memory.mode)
        self.session.location, self.session.offset = memory.location, memory.offset
        self.session.chunk = memory.chunk
        self.session.limit_chunk(memory.minimum, None)
        if self.growing is not None:
            self.growing.passed(memory.offset)
        self.recalled = True
        self.session.tried = memory.offset + memory.chunk if memory.mode is Mode.CHUNKED else None

    def overcome(self) -> None:
        """Say that a fault is over and the upload goes on."""
        if self.recalled:
            self.recalled = False
            self.account.recall(self.session.offset)
            self.sink(Resumed(self.title, self.session.offset, None if self.blob is None else self.size))
            self.trouble = None
        if self.trouble is not None:
            if self.said_at != self.session.offset:  # how far it is need not be said at each of several failures
                self.said_at = self.session.offset
                self.account.resume(self.session.offset)
                self.sink(Retry(self.title, self.trouble, 0.0, self.session.offset))
            self.trouble = None
            self.session.shrink_chunk()

    def restart(self, reason: str, mode: Mode | None = None) -> Step:
        """Give the session up for a new one.

        Args:
            reason: What is wrong with it.
            mode: How the bytes travel from now on; None leaves that as it is.

        Raises:
            OutOfPatienceError: That was one restart too many.
        """
        if self.recalled:
            # Nothing of this run has failed: it begins as if there had been none before.
            self.recalled = False
            self.journal.forget()
            self.session = self._new_session(self.client.profile.first_mode(self.client.options.upload))
            self.trouble = None
            self.patience.progress()
            self.sink(Retry(self.title, f"the upload of an earlier run is lost: {reason}", 0.0, 0))
            return Step.OPEN
        if self.session.reached > self.best:
            self.best = self.session.reached
            self.restarts = 0
        self.restarts += 1
        if self.restarts > RESTARTS:
            raise OutOfPatienceError(f"{reason}; {RESTARTS} sessions got no further", 1)
        mode = mode or self.session.mode
        if mode is not self.session.mode:
            self.sink(Notice(f"{self.title}: going on in {mode.value} mode: {reason}"))
        chunk, minimum = self.session.chunk, self.session.minimum
        self.session = self._new_session(mode)
        self.session.limit_chunk(minimum, chunk)
        self.said_at = None
        self.trouble = None
        wait = self.client.pacer.backoff(self.restarts)
        self.sink(Retry(self.title, reason, wait, 0))
        self.client.pacer.wait(wait)
        return Step.OPEN

    def switch(self, mode: Mode, response: Response) -> Step:
        """Start again in another mode, if the user has left it to us; else the answer that asks for it is final."""
        if not self.may_choose or mode is self.session.mode:
            raise self.refused(response)
        self.abort()
        return self.restart(cause_of(response), mode)

    def body(self, end: int) -> Chunk:
        """Return the bytes from the acknowledged offset up to `end`."""
        return Chunk(self.source, self.session.offset, end, self._on_piece)

    def refused(self, response: Response, hint: str | None = None) -> RegistryError:
        """Return the error for an answer that ends the upload."""
        what = f"{self.client.host}/{self.repository} does not take {self.title}"
        if response.status in {401, 403}:
            what = f"not allowed to push to {self.client.host}/{self.repository}"
        return self.client.refused(response, what, self.scopes, hint)

    # How it ends.

    def abort(self) -> None:
        """Close the session, which nobody will go on with."""
        self.journal.forget()
        if self.session.location is not None and not self.client.cancelled:
            self.client.abort(self.session.location, self.repository)

    def stopped_at(self) -> str:
        """Return what failed, for the error of an upload that did not come to its end."""
        return f"upload of {self.title} stopped at {self._so_far()}"

    def stopped(self, error: OutOfPatienceError) -> RegistryError:
        """Return the error for an upload that failed too often."""
        return RegistryError(self.stopped_at(), cause=str(error), hint=self._hint())

    def _hint(self) -> str:
        if self.session.offset and self.session.location is not None and self.journal.kept:
            return f"run the same command again: {self._so_far()} stand already"
        return "run the same command again: blobs that stand are not sent again"

    def _so_far(self) -> str:
        offset, total = self.session.offset, self.total
        return format_size(offset) if total is None else format_part(offset, total)

    def result(self) -> UploadResult:
        """Return what it came to."""
        if self.how == "pushed":
            self.sink(BlobProgress(self.key, self.title, self.size, self.size))
        seconds = self.client.pacer.clock() - self._started
        cost = self.account
        return UploadResult(self.how, self.size, cost.sent, cost.repeated, cost.resumed, seconds)

    def _on_piece(self, offset: int, size: int) -> None:
        if self.client.cancelled:
            raise TransportError(Fault.CANCELLED)
        self.account.send(offset, size)
        if self.session.tried is not None:
            self.session.tried = max(self.session.tried, offset + size)
        if self._throttle.due():
            self.sink(BlobProgress(self.key, self.title, offset, self.total))
        self.between()

    def _new_session(self, mode: Mode) -> UploadSession:
        asked, most = self.client.options.chunk_size, self.client.profile.chunk or LARGEST_CHUNK
        chunk = min(asked or DEFAULT_CHUNK, self.client.profile.chunk or asked or DEFAULT_CHUNK)
        # A blob that is being made is waited for chunk by chunk, and held in memory by chunks.
        grows = asked is None and self.growing is None
        session = UploadSession(mode, chunk, min(most, LARGEST_CHUNK) if grows else 0)
        session.limit_chunk(self.client.profile.minimum, None)
        return session
