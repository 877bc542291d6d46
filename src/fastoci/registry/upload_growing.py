"""An upload of a blob that is still being made: what is different as long as its digest is not known.

Chunks are sent as they become whole. An earlier run's session is gone on with only if this run has made the same bytes
as far as it went. And as soon as the digest is known, which may be long before the last byte is sent, the registry is
asked whether the blob stands already: then nothing more is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import RegistryError
from fastoci.events import Notice
from fastoci.registry.chunks import SourceError
from fastoci.registry.faults import Fault, TransportError
from fastoci.registry.session import Mode
from fastoci.registry.upload_steps import Step

if TYPE_CHECKING:
    from fastoci.registry.chunks import GrowingSource
    from fastoci.registry.upload_work import UploadWork

__all__ = ["StandsError", "await_chunk", "check_growing", "stands_after_all"]


class StandsError(Exception):
    """The blob was found to stand while a chunk of it was on its way. Never leaves the registry room.

    It is no OSError, so that urllib3 does not take it for a broken connection.
    """


def check_growing(work: UploadWork) -> Step:
    """Find out whether an earlier run has left a session of these very bytes."""
    work.between = lambda: _look(work)
    source = work.growing
    memory = work.remembered()
    if source is None or memory is None:
        return Step.OPEN
    work.sink(Notice(f"{work.title}: an earlier run has sent {memory.offset:,} bytes; packing as many, to compare"))
    if fits(source, memory.proof):
        work.recall(memory)
        return Step.SYNC
    # What it holds will never be a blob of ours.
    work.sink(Notice(f"{work.title}: what an earlier run has sent is not what is packed now"))
    work.client.abort(memory.location, work.repository)
    work.journal.forget()
    return Step.OPEN


def fits(source: GrowingSource, proof: str) -> bool:
    """Return whether a source begins with what a proof is about, when it is there.

    Raises:
        SourceError: It will not be made.
    """
    try:
        return source.fits(proof)
    except Exception as error:
        raise SourceError from error


def await_chunk(work: UploadWork) -> bool:
    """Wait for the next chunk, or for the whole blob where it travels as a whole; say whether it stands already.

    Raises:
        SourceError: It will not be made.
    """
    session = work.session
    work.wait(session.offset + session.chunk if session.mode is Mode.CHUNKED else None)
    return stands_after_all(work)


def stands_after_all(work: UploadWork) -> bool:
    """Look, once, whether a blob whose digest has become known stands already or can be mounted.

    Raises:
        TransportError: The client was cancelled.
    """
    if work.blob is not None or work.growing is None or work.growing.descriptor is None:
        return False
    work.blob = work.growing.descriptor
    if work.stands():
        work.how = "skipped"
        return True
    return _mounted(work)


def _look(work: UploadWork) -> None:
    if stands_after_all(work):
        raise StandsError


def _mounted(work: UploadWork) -> bool:
    if work.mount_from is None:
        return False
    path, scopes = work.mount_request()
    try:
        response = work.client.exchange("POST", path, scopes)
        response.close()
        location = response.header("Location")
        if response.status == 202 and location is not None:
            # A second session, where the blob could not be mounted.
            work.client.abort(work.client.resolve(response, location), work.repository)
    except TransportError as error:
        if error.fault is Fault.CANCELLED:
            raise
        return False
    except RegistryError:
        return False  # no token for the other repository, or no place to follow to: the upload goes on
    if response.status != 201 or not work.stands():
        return False
    work.how = "mounted"
    return True
