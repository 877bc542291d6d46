"""COMMIT: a session becomes a blob under its digest.

The answer to a commit is the one that must not be taken for lost too soon: a registry may be assembling gigabytes still
when the connection times out, and the blob stands a minute later. So it is looked for before anything is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import BlobMismatchError
from fastoci.events import Notice
from fastoci.registry.chunks import digest_of
from fastoci.registry.faults import Fault, TransportError
from fastoci.registry.patience import is_passing
from fastoci.registry.ranges import held_by
from fastoci.registry.refusals import cause_of
from fastoci.registry.session import Mode
from fastoci.registry.upload_steps import Step

if TYPE_CHECKING:
    from fastoci.registry.response import Response
    from fastoci.registry.upload_work import UploadWork

__all__ = ["commit"]

SHORTEST_TIMEOUT = 300.0
ASSEMBLY_RATE = 20e6  # bytes a second at which a registry is trusted to put a blob together
# Seconds between looks whether the blob stands after all.
POLLS = (1.0, 2.0, 4.0)
MORE_POLLS = (8.0, 16.0, 30.0, 30.0, 30.0)

_LOST_CODES = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "SIZE_INVALID"})
_STILL_AT_WORK = frozenset({408, 504})


def commit(work: UploadWork) -> Step:
    """Name the digest (distribution specification, "Pushing a blob in chunks", closing request)."""
    session = work.session
    if session.location is None:
        return Step.OPEN
    url = session.location.with_query(f"digest={work.digest.algorithm}%3A{work.digest.hex}")
    body = work.body(work.size) if session.mode is Mode.MONOLITHIC else None
    headers = {"Content-Type": "application/octet-stream"}
    timeout = max(SHORTEST_TIMEOUT, work.size / ASSEMBLY_RATE)
    try:
        response = work.client.exchange("PUT", url, work.scopes, headers=headers, body=body, read_timeout=timeout)
    except TransportError as error:
        if not error.passing:
            work.failed(error)
        return _unanswered(work, error, patient=error.fault is Fault.TIMEOUT)
    response.close()
    return _answered(work, response)


def _answered(work: UploadWork, response: Response) -> Step:
    status, codes = response.status, set(response.codes())
    whole = work.session.mode is Mode.MONOLITHIC
    if status in {200, 201, 202, 204}:
        return _standing(work, response)
    if status == 429:
        work.failed(response)
        return Step.COMMIT
    if is_passing(status):
        return _unanswered(work, response, patient=status in _STILL_AT_WORK)
    if status == 400 and work.size == 0:  # ECR
        raise work.refused(response, hint="some registries take no empty blob: leave it out of the image")
    if "DIGEST_INVALID" in codes:
        return _digest_refused(work, response)
    if status == 416 or "RANGE_INVALID" in codes:
        return work.ask_again(response)
    if status in {404, 410} or _LOST_CODES & codes:
        return _vanished(work, response)
    if whole and status in {405, 411, 413, 501}:  # 413: ACR's basic tier
        return work.switch(Mode.CHUNKED, response)
    if status == 400 and "digest" in response.text():
        return _digest_refused(work, response)
    raise work.refused(response)


def _standing(work: UploadWork, response: Response) -> Step:
    said = response.header("Docker-Content-Digest")
    # Where the digest was refused before, a blob that is seen proves nothing, but the 201 itself does.
    taken = response.status == 201 and (said == str(work.digest) or (said is None and work.digest_refused))
    if not taken and not _look(work):
        raise BlobMismatchError(
            f"{work.client.host} took {work.title} for something else",
            cause=f"{cause_of(response)}, and {work.digest} does not stand"
            + (f"; Docker-Content-Digest says {said[:80]!r}" if said else ""),
        )
    work.overcome()
    if work.may_choose and (work.session.patches > 1 or work.session.mode is not Mode.CHUNKED):
        work.client.profile.learn_mode(work.session.mode)
    return Step.DONE


def _look(work: UploadWork) -> bool:
    """Return whether the blob stands; for a while after a commit a registry may not see it itself."""
    if work.digest_refused:
        return False
    for seconds in (0.0, *POLLS):
        work.client.pacer.wait(seconds)
        if work.stands():
            return True
    return False


def _vanished(work: UploadWork, response: Response) -> Step:
    """Look for the blob where its session is gone: a proxy may have sent the commit twice."""
    if _look(work):
        return Step.DONE
    if work.session.shrink_chunk():
        # Who puts an object together from parts of one size may not say so before it comes to that.
        work.client.profile.learn_chunk(work.session.chunk)
    return work.restart(cause_of(response))


def _unanswered(work: UploadWork, failure: TransportError | Response, *, patient: bool) -> Step:
    """Look for the blob where the answer was lost or late.

    Args:
        work: The upload.
        failure: What came instead of an answer.
        patient: Whether the registry may be at work still, so that its session says nothing.
    """
    what = failure.request if isinstance(failure, TransportError) else f"{failure.method} {failure.url}"
    work.sink(Notice(f"{work.title}: no answer to {what}; looking whether it stands"))
    if _look(work):
        return Step.DONE
    step = None if patient else _session_step(work)
    if step is None and not work.digest_refused:
        for seconds in MORE_POLLS:
            work.client.pacer.wait(seconds)
            if work.stands():
                return Step.DONE
        step = _session_step(work)
    work.failed(failure)
    if step is None:
        return work.restart(work.trouble or "no answer to the commit")
    return step


def _session_step(work: UploadWork) -> Step | None:
    """Return how to go on with a session whose commit got no answer, None where it is gone."""
    session = work.session
    if session.location is None or session.mode is Mode.MONOLITHIC:
        return None
    try:
        response = work.client.exchange("GET", session.location, work.scopes)
    except TransportError as error:
        if error.fault is Fault.CANCELLED:
            raise
        return Step.COMMIT  # nothing is known; the commit tells
    response.close()
    if is_passing(response.status):
        return Step.COMMIT
    held = held_by(response.header("Range"))
    if response.status not in {200, 202, 204} or held is None:
        return None
    work.take_location(response)
    return Step.COMMIT if held.size >= work.size else Step.SYNC


def _digest_refused(work: UploadWork, response: Response) -> Step:
    """Find out who is wrong: the source, or what arrived of it. That is tried once more, in another way."""
    found = digest_of(work.source, work.digest)
    if found != work.digest.hex:
        raise BlobMismatchError(
            f"{work.title} is not what it should be",
            cause=f"{cause_of(response)}; its bytes have the digest {work.digest.algorithm}:{found}, not {work.digest}",
            hint="it is damaged, or was changed while it was sent: build or copy the image again",
        )
    if work.digest_refused:
        raise BlobMismatchError(
            f"{work.client.host} does not receive {work.title} as it was sent",
            cause=f"{cause_of(response)}; the source has this digest",
            hint="look for a proxy that changes what passes it",
        )
    work.digest_refused = True
    work.abort()
    return work.restart(cause_of(response), work.session.mode.other if work.may_choose else None)
