"""SEND and SYNC: bytes to the registry, and the question how many of them it has.

The answers to a PATCH, and what is done about each, stand in `_ANSWERS`. Registries named in comments are those whose
quirk a line is there for; it is found by what they answer, not by their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import RegistryError
from fastoci.registry.patience import OutOfPatienceError
from fastoci.registry.ranges import held_by
from fastoci.registry.refusals import cause_of
from fastoci.registry.session import Mode
from fastoci.registry.transport import READ_TIMEOUT
from fastoci.registry.upload_growing import StandsError, await_chunk
from fastoci.registry.upload_steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastoci.registry.ranges import Held
    from fastoci.registry.response import Response
    from fastoci.registry.upload_work import UploadWork

__all__ = ["send", "sync"]

SYNC_WAIT = 0.5  # seconds: a server may still be writing what it took before the connection broke
CRUMB = 1 / 16  # of a chunk: who takes less than this of each has the whole blob sent many times over
CRUMBS = 8  # such chunks in a row
STUCK = 2  # times that bytes are sent again because a registry says that it has none of them

# A whole blob in one request may take the registry a while to store after its last byte has come.
_STREAM_TIMEOUT = 300.0
_LOST_CODES = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"})


def send(work: UploadWork) -> Step:
    """Send the next chunk (distribution specification, "Pushing a blob in chunks")."""
    session = work.session
    location, offset = session.location, session.offset
    if location is None:
        return Step.OPEN
    if await_chunk(work):
        return _needless(work)
    if work.blob is not None and (offset >= work.size or session.mode is Mode.MONOLITHIC):
        return Step.COMMIT
    headers = {"Content-Type": "application/octet-stream"}
    if session.mode is Mode.CHUNKED:
        end, timeout = offset + session.chunk, READ_TIMEOUT
        if work.blob is not None:
            end = min(end, work.size)
    else:
        end, timeout = work.size, _STREAM_TIMEOUT
    if session.mode is Mode.CHUNKED or offset > 0:
        headers["Content-Range"] = f"{offset}-{end - 1}"
    work.promise(end)
    session.patches += 1
    session.begun = work.client.pacer.clock()
    try:
        response = work.ask("PATCH", location, headers=headers, body=work.body(end), read_timeout=timeout)
    except StandsError:
        return _needless(work)
    if response is None:
        return Step.SYNC
    response.close()
    return _ANSWERS.get(response.status, _refused)(work, response, end)


def _needless(work: UploadWork) -> Step:
    """End an upload whose blob was found to stand when its digest became known."""
    work.abort()
    return Step.DONE


def _accepted(work: UploadWork, response: Response, end: int) -> Step:
    work.take_location(response)
    session = work.session
    held = held_by(response.header("Range"))
    if held is not None and held.size == end:
        session.crumbs = 0
        return _go_on(work, end, whole=True)
    if held is not None and not held.ambiguous and session.offset < held.size < end:
        return _partly(work, response, held.size, end)
    return _doubtful(work, end)


def _partly(work: UploadWork, response: Response, offset: int, end: int) -> Step:
    """Go on behind what was taken of a chunk, unless that is next to nothing time after time."""
    session = work.session
    taken, offered = offset - session.offset, end - session.offset
    session.crumbs = session.crumbs + 1 if taken < CRUMB * offered else 0
    if session.crumbs > CRUMBS:
        return work.restart(f"{cause_of(response)}: of each chunk it takes a few bytes")
    return _go_on(work, offset)


def _doubtful(work: UploadWork, end: int) -> Step:
    """Find out what a registry holds that took a chunk, but does not say how far it is.

    One that is known to say nothing true here (ECR) is not asked again: the bytes are counted, and the digest decides.
    """
    session = work.session
    if work.client.profile.patch_range == "ignored" or session.location is None:
        return _go_on(work, end, whole=True)
    response = work.ask("GET", session.location)
    if response is None:
        return Step.SYNC
    response.close()
    if response.status in {404, 405, 501}:
        work.client.profile.ignore_patch_range()
        return _go_on(work, end)
    held = held_by(response.header("Range"))
    if response.status not in {200, 202, 204} or held is None:
        return work.ask_again(response)
    work.take_location(response)
    offset = session.offset
    if held.size in {end, end + 1}:  # one too high: Quay
        work.client.profile.ignore_patch_range()
        return _go_on(work, end)
    if offset < held.size < end and not held.ambiguous:
        return _partly(work, response, held.size, end)
    if held.size == offset or (held.ambiguous and offset <= 1):
        session.stuck += 1
        if session.stuck <= STUCK:
            return Step.SEND
        return work.restart(f"{cause_of(response)}: it does not hold what it took")
    return work.ask_again(response)


def _go_on(work: UploadWork, offset: int, *, whole: bool = False) -> Step:
    if whole:
        # Before it is noted: what a killed run may have sent at most is a chunk more than was acknowledged.
        work.session.grow_chunk(work.client.pacer.clock() - work.session.begun)
    work.acknowledge(offset)
    work.overcome()
    return Step.SEND


def _too_large(work: UploadWork, response: Response, end: int) -> Step:
    """Send less at a time; whether any of this chunk was kept, SYNC tells."""
    del end
    session = work.session
    if session.mode is not Mode.CHUNKED:
        if not work.may_choose:
            raise work.refused(response)
        session.mode = Mode.CHUNKED
    elif not session.halve_chunk():
        raise work.refused(response, hint="the registry, or a proxy before it, takes only smaller requests")
    work.client.profile.learn_chunk(session.chunk)
    work.trouble = work.trouble or cause_of(response)
    return Step.SYNC


def _wrong_range(work: UploadWork, response: Response, end: int) -> Step:
    if "too large" in response.text():  # GHCR, over 4 MiB
        return _too_large(work, response, end)
    session = work.session
    if session.told == session.offset:
        session.refused_offsets.add(session.told)
    return work.ask_again(response)


def _no_chunks(work: UploadWork, response: Response, end: int) -> Step:
    """Send all at once to a registry that takes one PATCH (Google), or none."""
    del end
    session = work.session
    if session.patches > 1 and session.mode is Mode.STREAMED:
        return work.restart(cause_of(response))  # it was to go on after a fault
    return work.switch(Mode.STREAMED if session.patches > 1 else Mode.MONOLITHIC, response)


def _lost(work: UploadWork, response: Response, end: int) -> Step:
    del end
    return work.restart(cause_of(response))


def _bad_request(work: UploadWork, response: Response, end: int) -> Step:
    if _LOST_CODES.intersection(response.codes()):
        return _lost(work, response, end)
    return _refused(work, response, end)


def _refused(work: UploadWork, response: Response, end: int) -> Step:
    del end
    if response.status not in {401, 403} and work.session.shrink_chunk():
        # Not everybody says what is wrong with a chunk that is too large.
        work.session.largest = 0
        work.client.profile.learn_chunk(work.session.chunk)
        work.trouble = work.trouble or cause_of(response)
        return Step.SYNC
    raise work.refused(response)


_ANSWERS: dict[int, Callable[[UploadWork, Response, int], Step]] = {
    200: _accepted,
    201: _accepted,  # ECR
    202: _accepted,
    204: _accepted,
    400: _bad_request,
    404: _lost,
    405: _no_chunks,
    410: _lost,
    413: _too_large,
    416: _wrong_range,
    501: _no_chunks,
    # 401 comes here only when a fresh token was refused as well; 408, 429 and 5xx never do: they are waited for.
}


def sync(work: UploadWork) -> Step:
    """Ask how many bytes the registry holds, and go on from there, even where that is less than before."""
    session = work.session
    if session.location is None:
        return Step.OPEN
    if session.mode is Mode.MONOLITHIC:
        return work.restart(work.trouble or "a fault in one request")
    work.client.pacer.wait(SYNC_WAIT)
    try:
        response = work.ask("GET", session.location)
    except (RegistryError, OutOfPatienceError) as error:
        if not work.recalled or work.client.cancelled:
            raise
        # What an earlier run has left may lead to where nobody is any more: no reason not to begin anew.
        return work.restart(str(error))
    if response is None:
        return Step.SYNC
    response.close()
    if response.status in {200, 202, 204}:
        work.take_location(response)
        held = held_by(response.header("Range"))
        return _blindly(work, response) if held is None else _from(work, response, held)
    if (
        response.status == 404
        and work.client.profile.patch_range == "ignored"
        and not _LOST_CODES & {*response.codes()}
    ):
        return _blindly(work, response)  # ECR knows no such question, which says nothing about the session
    if response.status in {400, 404, 410, 416} or (work.recalled and response.status not in {405, 501}):
        return work.restart(work.trouble or cause_of(response))
    if response.status in {405, 501}:
        return _blindly(work, response)
    raise work.refused(response)


def _from(work: UploadWork, response: Response, held: Held) -> Step:
    """Go on from what is held, or from what may have been meant where a 416 has refused that."""
    session = work.session
    # What an earlier run has sent, this one may still have to make.
    most = held.size if session.tried is None else min(held.size, session.tried)
    size = min(most, work.wait(most))
    meant = [0, 1] if held.ambiguous else [held.size, held.size - 1]
    # One too high (Quay) cannot be told from right, but for the last byte and by a refusal.
    offsets = [offset for offset in meant if 0 <= offset <= size and offset not in session.refused_offsets]
    if not offsets or held.size > size + 1:
        reason = work.trouble or cause_of(response)
        return work.restart(f"{reason}; it says that it holds {held.size:,} bytes, and does not go on there")
    session.told = offsets[0]
    work.acknowledge(offsets[0])
    work.overcome()
    return Step.SEND


def _blindly(work: UploadWork, response: Response) -> Step:
    """Go on once from what was acknowledged last, where the registry does not say how far it is."""
    if work.session.blind:
        return work.restart(f"{cause_of(response)}: it does not say how far it came")
    work.session.blind = True
    work.overcome()
    return Step.SEND
