"""One blob on its way to a registry: a state machine that goes on where the registry says it stopped.

    CHECK ── it stands ─────────────────────────────────────────────────────────► DONE
     │  └─── an earlier run has left a session ──► SYNC                            ▲
     ▼                                                                             │
    OPEN ─── mounted from another repository ──────────────────────────────────────┤
     ▼                                                                             │
    SEND ─── all bytes acknowledged ──► COMMIT ─── it stands under its digest ─────┘
     │ ▲                                 │  │
   fault └── offset ── SYNC ◄── bytes missing
     └───────────────►  │                   │
    OPEN ◄── lost ──────┴───────────────────┘

CHECK and OPEN are here, SEND and SYNC in `upload_send`, COMMIT in `upload_commit`; what is different for a blob that is
still being made is in `upload_growing`; what they share, the session and the budgets that end an upload, in
`upload_work`. The registry's word on the offset is believed, even when it goes back; the digest at the end decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import AccessDeniedError, BlobMismatchError, FastociError, RegistryResponseError
from fastoci.events import BlobDone, BlobProgress
from fastoci.registry.chunks import BlobSource, GrowingSource, SourceError
from fastoci.registry.faults import TransportError
from fastoci.registry.journal import open_journal
from fastoci.registry.patience import OutOfPatienceError
from fastoci.registry.refusals import cause_of, unreachable
from fastoci.registry.upload_commit import commit
from fastoci.registry.upload_growing import check_growing
from fastoci.registry.upload_send import send, sync
from fastoci.registry.upload_steps import Step, UploadResult
from fastoci.registry.upload_work import UploadWork

if TYPE_CHECKING:
    from fastoci.events import Sink
    from fastoci.registry.client import RegistryClient
    from fastoci.registry.response import Response
    from fastoci.spec.descriptor import Descriptor

__all__ = ["BlobSource", "GrowingSource", "UploadResult", "upload_blob", "upload_growing"]

# What registries say to a mount that they do not want to make, or know nothing of.
_MOUNT_REFUSED = frozenset({400, 401, 403, 404, 405})
_OPENED = frozenset({200, 202, 204})


def upload_blob(
    client: RegistryClient,
    repository: str,
    descriptor: Descriptor,
    source: BlobSource,
    *,
    title: str,
    sink: Sink,
    mount_from: str | None = None,
) -> UploadResult:
    """Have a blob stand at a registry, sending as little of it as can be.

    Args:
        client: The registry's. Several uploads may use it at once, each in a thread of its own.
        repository: The path there.
        descriptor: The blob's.
        source: Its bytes.
        title: What to call it on screen.
        sink: Told how it goes on.
        mount_from: A repository at the same registry that may have the blob; None knows of none.

    Raises:
        AccessDeniedError: The registry does not let us in.
        BlobMismatchError: The source is not what the descriptor says, or the registry found so.
        RegistryError: The registry refused, or failed too often.
        FastociError: What the source raised.
    """
    if source.size != descriptor.size:
        raise BlobMismatchError(
            f"{title} is not what it should be",
            cause=f"it has {source.size} bytes, its descriptor says {descriptor.size}",
        )
    journal = open_journal(client.journals, client.origin, repository, str(descriptor.digest), descriptor.size)
    return _upload(UploadWork(client, repository, descriptor, source, title, sink, mount_from, journal))


def upload_growing(
    client: RegistryClient,
    repository: str,
    source: GrowingSource,
    *,
    title: str,
    sink: Sink,
    mount_from: str | None = None,
) -> UploadResult:
    """Have a blob stand at a registry that is still being made; see `upload_blob`.

    Registries without chunked uploads are sent nothing before it is whole.

    Args:
        client: See `upload_blob`.
        repository: See `upload_blob`.
        source: Its bytes, as they are made.
        title: See `upload_blob`.
        sink: See `upload_blob`.
        mount_from: See `upload_blob`; it is asked for the blob when its digest is known.

    Raises:
        RegistryError: See `upload_blob`.
        Exception: What the source has failed with.
    """
    journal = open_journal(client.journals, client.origin, repository, source.subject, None)
    return _upload(UploadWork(client, repository, None, source, title, sink, mount_from, journal))


def _upload(work: UploadWork) -> UploadResult:
    client, journal = work.client, work.journal
    try:
        _run(work)
        journal.forget()
    except SourceError as error:
        # A source that is at fault will not be sent again; one that only was told to stop may be.
        if isinstance(error.__cause__, FastociError):
            work.abort()
        raise error.__cause__ or error from None
    except OutOfPatienceError as error:
        # The session is left as it is: whoever comes again may find it.
        raise work.stopped(error) from error
    except TransportError as error:
        raise unreachable(client.host, error, work.stopped_at()) from error
    except AccessDeniedError as error:
        # Credentials that ran out are renewed, and whoever then runs the command again goes on.
        if error.status == 403 or not work.session.offset:
            work.abort()
        raise
    except (BlobMismatchError, RegistryResponseError):
        work.abort()
        raise
    finally:
        journal.close()
    result = work.result()
    work.sink(BlobDone(str(work.digest), work.title, work.size, result.how, result.seconds, work.key))
    return result


def _run(work: UploadWork) -> None:
    states = {Step.CHECK: _check, Step.OPEN: _open, Step.SEND: send, Step.SYNC: sync, Step.COMMIT: commit}
    step = Step.CHECK
    while step is not Step.DONE:
        step = states[step](work)


def _check(work: UploadWork) -> Step:
    """Ask whether the blob stands already, and whether an earlier run has left a session."""
    if work.blob is None:
        return check_growing(work)
    try:
        standing = work.client.blob_size(work.repository, work.digest, scopes=work.scopes)
    except (RegistryResponseError, AccessDeniedError):
        return Step.OPEN  # which asks for more, and whose refusal says more
    if standing != work.size:
        memory = work.remembered()
        if memory is None:
            return Step.OPEN
        work.recall(memory)
        return Step.SYNC
    work.how = "skipped"
    return Step.DONE


def _open(work: UploadWork) -> Step:
    """Ask for an upload session, or for the blob to be mounted (distribution specification, "Mounting a blob")."""
    mounting = work.mount_from if work.blob is not None else None
    opened = None if mounting is not None else work.client.take_opened(work.repository)
    if opened is not None:
        return _begin(work, opened)
    path, scopes = work.mount_request()
    try:
        response = work.ask("POST", path, scopes=scopes)
    except (AccessDeniedError, RegistryResponseError):
        if mounting is None:
            raise
        # Docker Hub gives no token at all where one of its scopes is for what does not exist.
        return _without_mount(work)
    if response is None:
        return Step.OPEN
    response.close()
    if response.status == 201 and work.blob is not None and work.stands():
        work.how = "mounted" if mounting is not None else "skipped"
        return Step.DONE
    if mounting is not None and (response.status == 201 or response.status in _MOUNT_REFUSED):
        return _without_mount(work)
    if response.status not in _OPENED:
        hint = "some registries want the repository to be made first" if response.status == 404 else None
        raise work.refused(response, hint=hint)
    return _begin(work, response)


def _without_mount(work: UploadWork) -> Step:
    work.mount_from = None
    return Step.OPEN


def _begin(work: UploadWork, response: Response) -> Step:
    work.take_location(response)
    if work.session.location is None:
        raise RegistryResponseError(
            f"{work.client.host} opens no upload session",
            cause=f"{cause_of(response)} without a Location",
            method=response.method,
            url=str(response.url),
            status=response.status,
        )
    work.session.limit_chunk(
        _number(response.header("OCI-Chunk-Min-Length")), _number(response.header("OCI-Chunk-Max-Length"))
    )
    work.note()
    work.sink(BlobProgress(work.key, work.title, 0, work.total))
    return Step.SEND


def _number(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 20 else None
