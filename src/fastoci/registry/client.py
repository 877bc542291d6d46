"""A registry's front door: one client for one host, for any number of threads and repositories.

What is asked for once and answered at once is asked patiently here: passing failures are waited for and tried again.
An upload has its own idea of what to do after a failure, and uses `exchange`.
"""

from __future__ import annotations

import contextlib
import io
import random
import threading
import time
from typing import TYPE_CHECKING, Self

from fastoci.errors import AccessDeniedError, RegistryError
from fastoci.events import PushAllowed, Retry, Sink, discard
from fastoci.registry import manifests
from fastoci.registry.auth import Authenticator, Grant, Scopes, pull_scope, push_scope
from fastoci.registry.authfile import HUB_HOSTS
from fastoci.registry.download import BlobReader
from fastoci.registry.faults import Fault, TransportError
from fastoci.registry.hosts import MEMORY_LIFE, recall_profile
from fastoci.registry.journal import SESSION_LIFE
from fastoci.registry.options import RegistryOptions
from fastoci.registry.patience import OutOfPatienceError, Pacer, Patience, is_passing, retry_after
from fastoci.registry.probe import find_origin
from fastoci.registry.refusals import refusal, unreachable
from fastoci.registry.statedir import StateDirectory
from fastoci.registry.transport import READ_TIMEOUT, Body, Transport
from fastoci.registry.urls import InvalidUrlError, Origin, Url, host_and_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from fastoci.registry.download import Hasher
    from fastoci.registry.response import Response
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest

__all__ = ["RegistryClient"]

_ABORT_TIMEOUT = 10.0
_OPENED_LIFE = 60.0  # seconds within which a session that was opened is used: nobody forgets one so soon

# The host that speaks for Docker Hub, whatever name references have for it.
_HUB_API = "registry-1.docker.io"


class RegistryClient:
    """A registry. Any thread may use it; `cancel` ends what the others do with it.

    Args:
        host: Its name in references, with the port where one was said.
        options: How it is reached, as whom, and how hard it is tried.
        sink: Told where credentials were found, what is retried, and how uploads go on.
        clock: A monotonic clock in seconds.
        sleep: Waits for some seconds; None waits so that `cancel` ends it.
        rng: Returns a number from 0 up to 1, for the jitter of waits.

    Raises:
        RegistryError: The host is not the name of one.
    """

    def __init__(
        self,
        host: str,
        options: RegistryOptions | None = None,
        sink: Sink = discard,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.host = host
        self.options = options or RegistryOptions()
        self.sink = sink
        self.profile = recall_profile(host, StateDirectory("hosts", sink, life=MEMORY_LIFE))
        self.journals = StateDirectory("uploads", sink, life=SESSION_LIFE)
        try:
            self._name, self._port = host_and_port(_HUB_API if host in HUB_HOSTS else host)
        except InvalidUrlError as error:
            raise RegistryError(f"not a registry's host: {host!r}", cause=str(error)) from error
        self._transport = Transport(self._name, self.options)
        self.pacer = Pacer(self._transport.cancelled, clock=clock, sleep=sleep, rng=rng)
        self._auth = Authenticator(host, self.options, self._transport, sink, patiently=self.patiently, clock=clock)
        self._lock = threading.Lock()
        self._origin: Origin | None = None
        self._opened: dict[str, tuple[Response, Url, float]] = {}  # by repository: what opened a session, which, when
        self.mended = 0  # how often a stream of a blob was gone on with after it had broken off

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client may be used again, and opens new ones."""
        self._transport.close()

    def cancel(self) -> None:
        """Have all requests and waits of this client, in all threads, end at once with a RegistryError; for good."""
        self._transport.cancel()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._transport.cancelled.is_set()

    @property
    def origin(self) -> Origin:
        """Scheme, host and port of the registry; found out by `GET /v2/` the first time.

        Raises:
            RegistryError: It cannot be reached, or is no registry.
        """
        with self._lock:
            if self._origin is None:
                self._origin = find_origin(self, self._name, self._port, self._transport, self._auth)
            return self._origin

    def ping(self) -> None:
        """Make sure that there is a registry (distribution specification, "Determining Support").

        Raises:
            RegistryError: See `origin`.
        """
        _ = self.origin

    def check_login(self) -> None:
        """Make sure that the registry takes the credentials there are for it.

        Raises:
            AccessDeniedError: It does not.
            RegistryError: It cannot be reached, or is no registry.
        """
        response = self.patiently(lambda: self.exchange("GET", "/v2/", ()))
        if response.status != 200:
            raise self.refused(response, f"{self.host} does not take these credentials", ())
        response.close()

    def check_push(self, repository: str) -> None:
        """Prove that blobs may be pushed, by opening an upload session, before anything is read.

        The first upload to the repository that needs a session takes this one.

        Args:
            repository: The path at this registry.

        Raises:
            AccessDeniedError: They may not, by these credentials.
            RegistryError: The registry cannot be reached, or takes no blobs for this repository.
        """
        scopes = (push_scope(repository),)
        what = f"not allowed to push to {self.host}/{repository}"
        try:
            response = self.patiently(lambda: self.exchange("POST", f"/v2/{repository}/blobs/uploads/", scopes))
        except AccessDeniedError as error:  # by the token service, which does not know what it is about
            raise AccessDeniedError(
                what, cause=error.cause, hint=error.hint, method=error.method, url=error.url, status=error.status
            ) from error
        if response.status == 405:
            raise self.refused(
                response, what, scopes, hint="the registry is read-only, or a mirror: push where it mirrors from"
            )
        if response.status == 404:
            raise self.refused(response, what, scopes, hint="some registries want the repository to be made first")
        if response.status not in {201, 202}:
            raise self.refused(response, what, scopes)
        response.close()
        location = response.header("Location")
        if location is not None and response.status == 202:
            opened = self.resolve(response, location)
            with self._lock:
                self._opened[repository] = response, opened, self.pacer.clock()
        self.sink(PushAllowed(f"{self.host}/{repository}"))

    def take_opened(self, repository: str) -> Response | None:
        """Return, once, the answer that opened a session when pushing was proven to be allowed; None where none did.

        Args:
            repository: The path at this registry.
        """
        with self._lock:
            found = self._opened.pop(repository, None)
        if found is None:
            return None
        response, location, when = found
        if self.pacer.clock() - when < _OPENED_LIFE:
            return response
        self.abort(location, repository)
        return None

    def close_opened(self) -> None:
        """Close the sessions that no upload has taken."""
        while self._opened:
            repository, (_, location, _) = self._opened.popitem()
            self.abort(location, repository)

    def blob_size(self, repository: str, digest: Digest, *, scopes: Scopes | None = None) -> int | None:
        """Return how many bytes a blob has, None where the registry does not have it.

        Args:
            repository: The path at this registry.
            digest: The blob's.
            scopes: What the token is to be good for; None asks for reading.

        Raises:
            RegistryError: The registry cannot be reached, or does not say.
        """
        scopes = scopes or (pull_scope(repository),)
        path = f"/v2/{repository}/blobs/{digest}"
        response = self.patiently(lambda: self.exchange("HEAD", path, scopes))
        response.close()
        size = response.length()
        if response.status == 200 and size is not None:
            return size
        elsewhere = response.url.origin != self.origin
        if response.status in {200, 405} or (elsewhere and response.status in {400, 403}):
            # No HEAD here, or a signed URL that is good for GET alone.
            first = {"Range": "bytes=0-0"}
            response = self.patiently(lambda: self.exchange("GET", path, scopes, headers=first))
            response.drop()
            total = (response.header("Content-Range") or "").rpartition("/")[2]
            if response.status == 206 and total.isascii() and total.isdigit() and len(total) < 20:
                return int(total)
            if response.status == 200 and response.length() is not None:
                return response.length()
        if response.status == 404:
            return None
        raise self.refused(response, f"cannot see whether {self.host}/{repository} has {digest}", scopes)

    def open_blob(
        self, repository: str, descriptor: Descriptor, *, offset: int = 0, hasher: Hasher | None = None
    ) -> io.BufferedReader:
        """Return a stream of a blob. Broken connections are mended where they broke.

        Its last bytes are handed out only after size and digest were found right: a read that fails with
        BlobMismatchError may follow others that gave wrong bytes, but no stream of wrong bytes comes to its end.

        Args:
            repository: The path at this registry.
            descriptor: The blob's; its digest must be sha256 or sha512.
            offset: The first byte that is wanted.
            hasher: What has taken the bytes before it; without one, and with an offset, the digest is not checked.

        Raises:
            ManifestNotFoundError: The registry does not have it.
            BlobMismatchError: It has another size.
            RegistryError: The registry cannot be reached, or does not give it.
        """
        return io.BufferedReader(BlobReader(self, repository, descriptor, offset, hasher), 1 << 20)

    def count_mended(self) -> None:
        """Count one more stream that is gone on with."""
        with self._lock:
            self.mended += 1

    def get_manifest(self, repository: str, reference: str) -> tuple[Descriptor, bytes]:
        """Return a manifest or an index, its digest verified.

        Args:
            repository: The path at this registry.
            reference: A tag or a digest.

        Raises:
            ManifestNotFoundError: There is none of that name.
            BlobMismatchError: It has another digest than it should.
            InvalidImageError: It is neither a manifest nor an index.
            RegistryError: The registry cannot be reached, or does not give it.
        """
        return manifests.get(self, repository, reference)

    def put_manifest(self, repository: str, reference: str, media_type: str, data: bytes) -> Digest:
        """Put a manifest or an index under a tag or its digest.

        Args:
            repository: The path at this registry.
            reference: A tag, or the digest of `data`.
            media_type: What `data` is.
            data: The document.

        Returns:
            Its digest.

        Raises:
            BlobMismatchError: The registry took it for something else.
            RegistryError: It cannot be reached, or does not take it.
        """
        return manifests.put(self, repository, reference, media_type, data)

    def abort(self, location: Url, repository: str) -> None:
        """Close an upload session that is not to be gone on with. That it fails does not matter."""
        with contextlib.suppress(TransportError, RegistryError):
            self.exchange("DELETE", location, (push_scope(repository),), read_timeout=_ABORT_TIMEOUT).close()

    def resolve(self, response: Response, location: str) -> Url:
        """Return the URL that a `Location` means; see `Transport.resolve`."""
        return self._transport.resolve(response, location, self.origin)

    def exchange(
        self,
        method: str,
        url: Url | str,
        scopes: Scopes,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        read_timeout: float = READ_TIMEOUT,
    ) -> Response:
        """Send one request, with what authorization it takes, and return the answer whatever it is.

        A 401 is answered with a fresh token, at most twice; a 401 that is returned is final.

        Args:
            method: See `Transport.send`.
            url: A URL, or a path at this registry.
            scopes: What the request needs.
            headers: See `Transport.send`.
            body: See `Transport.send`.
            read_timeout: See `Transport.send`.

        Raises:
            TransportError: No answer.
            RegistryError: The registry is none, a redirect is not followed, or the token service does not let us in.
        """
        origin = self.origin
        if isinstance(url, str):
            url = Url(origin, url)
        grant = Grant(None, fresh=False)
        if url.origin == origin:
            grant = self._auth.grant(origin, scopes)
        rounds = 2
        while True:
            self.pacer.hold()
            response = self._transport.send(
                method, url, headers=headers, body=body, authorization=grant.authorization, read_timeout=read_timeout
            )
            if response.status != 401 or response.url.origin != origin or rounds == 0:
                return response
            rounds -= 1
            renewed = self._auth.renew(response, origin, scopes, grant)
            if renewed is None:
                return response
            grant = renewed

    def patiently(
        self, attempt: Callable[[], Response], *, what: str | None = None, limit: int | None = None
    ) -> Response:
        """Try until there is an answer that is no passing failure, and return it.

        Args:
            attempt: Sends the request, which must do no harm when it is sent again.
            what: What failed, for the error; None says that the host could not be reached.
            limit: Failures that end it; None is the caller's `retry`.

        Raises:
            RegistryError: It failed for good, or too often.
        """
        patience = Patience(self.pacer, self.options.retry if limit is None else limit)
        wait = 0.0
        while True:
            trouble: TransportError | None = None
            asked, weight = None, 1
            try:
                self.pacer.wait(wait)
                response = attempt()
            except TransportError as error:
                failure, trouble, reason = unreachable(self.host, error, what), error, str(error)
                if not error.passing:
                    raise failure from error
                if error.fault is Fault.TIMEOUT and not error.known:
                    weight = 3  # a quarter of a minute each: who waits for a host that may not be there has had enough
            else:
                if not is_passing(response.status):
                    return response
                failure = refusal(response, what or f"{self.host} does not answer as it should", host=self.host)
                reason = str(response.status)
                asked = retry_after(response.header("Retry-After"), self.pacer.wall())
            try:
                wait = patience.failed(reason, asked, weight=weight)
            except OutOfPatienceError as error:
                if error.failures > 1:
                    failure.cause = f"{failure.cause}; {error.failures} failures in a row"
                raise failure from trouble
            self.sink(Retry(self.host, reason, wait))

    def refused(self, response: Response, what: str, scopes: Scopes, hint: str | None = None) -> RegistryError:
        """Return the error for an answer that ends the work; see `refusal`."""
        identity = self._auth.identity(scopes) if response.status in {401, 403} else None
        return refusal(response, what, host=self.host, identity=identity, hint=hint)
