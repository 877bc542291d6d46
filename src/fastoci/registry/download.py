"""A blob as a stream: verified, bounded, and mended where its connection breaks.

What is still wanted is asked for as a range. A server that answers a range with the whole is skipped forward through,
and so is one that answers with a range that was not asked for: that one is asked for the whole from then on.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Protocol

from fastoci.errors import BlobMismatchError, ManifestNotFoundError, RegistryError
from fastoci.events import Retry
from fastoci.registry.auth import pull_scope
from fastoci.registry.faults import Fault, TransportError
from fastoci.registry.patience import OutOfPatienceError, Patience, is_passing, retry_after
from fastoci.registry.refusals import cause_of, unreachable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from fastoci.registry.client import RegistryClient
    from fastoci.registry.response import Response
    from fastoci.spec.descriptor import Descriptor

__all__ = ["BlobReader", "Hasher"]

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/(?:[0-9]{1,19}|\*)")
_PIECE = 1 << 20


class Hasher(Protocol):
    """What `hashlib` makes."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all that was taken."""


class BlobReader(io.RawIOBase):
    """A blob, read to its end once. The registry's URL is asked anew each time, for redirects expire.

    Args:
        client: The registry's.
        repository: The path at the registry.
        descriptor: The blob's.
        offset: The first byte that is wanted.
        hasher: What has taken the bytes before `offset`. None where that is 0; with another offset it means that the
            digest is somebody else's to check.

    Raises:
        RegistryError: The blob is not there, cannot be had, or has another size.
    """

    def __init__(
        self,
        client: RegistryClient,
        repository: str,
        descriptor: Descriptor,
        offset: int = 0,
        hasher: Hasher | None = None,
    ) -> None:
        super().__init__()
        self._client = client
        self._repository = repository
        self._digest = descriptor.digest
        self._size = descriptor.size
        self._hasher = descriptor.digest.hasher() if hasher is None and offset == 0 else hasher
        self._patience = Patience(client.pacer, client.options.retry)
        self._offset = offset
        self._ranges = True
        self._asked: float | None = None  # seconds that the registry asks to wait
        self._trouble: str | None = None  # the last fault, until it is overcome
        # A range is asked for when it is read: what is wrong with it is handled there.
        # Nothing is asked for an empty blob: GHCR takes one and does not give it back.
        self._response: Response | None = None if offset or not self._size else self._open()
        if offset == self._size:
            self._verify(self._response)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read some bytes into `buffer` and return how many, 0 at the end.

        Raises:
            BlobMismatchError: The bytes were not those of the descriptor.
            RegistryError: They stopped coming.
        """
        view = memoryview(buffer).cast("B")
        while view and self._offset < self._size:
            try:
                if self._response is None:
                    self._response = self._reopen()
                data = _must_read(self._response, min(len(view), self._size - self._offset))
            except TransportError as error:
                self._failed(error)
                continue
            if self._trouble is not None:
                self._overcome(self._trouble)
            view[: len(data)] = data
            if self._hasher is not None:
                self._hasher.update(data)
            self._offset += len(data)
            self._patience.progress()
            if self._offset == self._size:
                self._verify(self._response)
            return len(data)
        return 0

    def close(self) -> None:
        """Let go of the connection."""
        if not self.closed and getattr(self, "_response", None) is not None:
            self._drop()
        super().close()

    def _drop(self) -> None:
        if self._response is not None:
            self._response.drop()
            self._response = None

    def _open(self) -> Response:
        response = self._client.patiently(self._request, what=f"cannot read {self._name()}")
        if response.status != 200:
            raise self._refused(response)
        length = response.length()
        if length is not None and length != self._size:
            response.drop()
            raise self._mismatch(f"it has {length} bytes, {self._size} were said")
        return response

    def _reopen(self) -> Response:
        response = self._request()
        if response.status == 206:
            found = _CONTENT_RANGE.match(response.header("Content-Range") or "")
            if found is None or int(found[1]) != self._offset:
                response.drop()
                self._ranges = False
                raise _trouble(response, Fault.GARBLED, "a range that was not asked for")
        elif response.status == 200:
            self._skip(response)
        else:
            response.close()
            if response.status == 416:
                self._ranges = False
            self._asked = retry_after(response.header("Retry-After"), self._client.pacer.wall())
            if response.status == 416 or is_passing(response.status):
                raise _trouble(response, Fault.ANSWER)
            raise self._refused(response)
        return response

    def _skip(self, response: Response) -> None:
        left = self._offset
        while left:
            try:
                left -= len(_must_read(response, left))
            except TransportError:
                response.drop()
                raise

    def _request(self) -> Response:
        headers = {"Range": f"bytes={self._offset}-"} if self._offset and self._ranges else None
        path = f"/v2/{self._repository}/blobs/{self._digest}"
        response = self._client.exchange("GET", path, (pull_scope(self._repository),), headers=headers)
        if response.status in {400, 403} and response.url.origin != self._client.origin:
            # Another host's no is that to a signed URL, which may have run out; the registry gives a new one.
            raise _trouble(response, Fault.ANSWER)
        return response

    def _failed(self, error: TransportError) -> None:
        """Wait for the connection to become better, or give up."""
        self._drop()
        failure = unreachable(self._client.host, error, f"cannot read {self._name()}")
        if not error.passing:
            raise failure from error
        try:
            self._trouble = str(error)
            wait, self._asked = self._patience.failed(self._trouble, self._asked), None
            self._client.sink(Retry(self._digest.short, self._trouble, wait, pulling=True))
            self._client.pacer.wait(wait)
        except OutOfPatienceError as end:
            failure.cause = f"{failure.cause}; {end.failures} failures without progress"
            raise failure from error
        except TransportError as end:
            raise unreachable(self._client.host, end, f"cannot read {self._name()}") from end

    def _overcome(self, trouble: str) -> None:
        """Say that a fault is over, and that what came before it need not come again."""
        self._trouble = None
        if self._offset:
            self._client.count_mended()
            self._client.sink(Retry(self._digest.short, trouble, 0.0, self._offset, pulling=True))

    def _verify(self, response: Response | None) -> None:
        """Hold what came against the descriptor, before the last of it is handed out."""
        if response is not None:
            try:
                longer = response.read(1)
            except TransportError:
                longer = b""  # broken after the last byte that was wanted
            self._drop() if longer else response.close()
            if longer:
                raise self._mismatch(f"it goes on after the {self._size} bytes that were said")
        if self._hasher is not None and self._hasher.hexdigest() != self._digest.hex:
            raise self._mismatch(f"its bytes have the digest {self._digest.algorithm}:{self._hasher.hexdigest()}")

    def _name(self) -> str:
        return f"{self._client.host}/{self._repository}@{self._digest}"

    def _mismatch(self, cause: str) -> BlobMismatchError:
        return BlobMismatchError(f"{self._name()} is not what it should be", cause=cause)

    def _refused(self, response: Response) -> RegistryError:
        if response.status == 404:
            return ManifestNotFoundError(
                f"there is no {self._name()}", cause=cause_of(response), method="GET", url=str(response.url), status=404
            )
        return self._client.refused(response, f"cannot read {self._name()}", (pull_scope(self._repository),))


def _must_read(response: Response, most: int) -> bytes:
    data = response.read(min(most, _PIECE))
    if not data:
        raise _trouble(response, Fault.RESET, "the body ended early")
    return data


def _trouble(response: Response, fault: Fault, detail: str | None = None) -> TransportError:
    """Return what is wrong with an answer that another request may better."""
    said = f"{response.status} {response.diagnostics()}".rstrip() if detail is None else detail
    return TransportError(fault, said, known=True, request=f"{response.method} {response.url}")
