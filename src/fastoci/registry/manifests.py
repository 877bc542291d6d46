"""Manifests and indexes, read and written whole, their digests compared on both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.errors import BlobMismatchError, InvalidImageError, ManifestNotFoundError
from fastoci.registry.auth import pull_scope, push_scope
from fastoci.registry.referrers import announce
from fastoci.registry.refusals import cause_of
from fastoci.registry.response import Response, TooLongError, parse_object
from fastoci.spec.canonical import DOCUMENT_LIMIT
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest
from fastoci.spec.mediatypes import (
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
)

if TYPE_CHECKING:
    from fastoci.registry.client import RegistryClient

__all__ = ["get", "put"]

_ACCEPT = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_MANIFEST_LIST}, {DOCKER_MANIFEST}"
_KNOWN = INDEXES | MANIFESTS
# It has no blob, or no member of an index, although it said so.
_LACKING = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})
# What servers call a document that they know nothing about.
_ANYTHING = frozenset({"", "application/json", "text/plain", "application/octet-stream"})


def get(client: RegistryClient, repository: str, reference: str) -> tuple[Descriptor, bytes]:
    """Return a manifest; see `RegistryClient.get_manifest`."""
    name = _name(client, repository, reference)
    scopes = (pull_scope(repository),)
    path = f"/v2/{repository}/manifests/{reference}"

    def attempt() -> Response:
        response = client.exchange("GET", path, scopes, headers={"Accept": _ACCEPT})
        return response.load(DOCUMENT_LIMIT) if response.status == 200 else response

    try:
        response = client.patiently(attempt, what=f"cannot read {name}")
    except TooLongError:
        raise InvalidImageError(f"{name} is too large", cause=f"{DOCUMENT_LIMIT:,} bytes is the most") from None
    data = response.data
    if response.status == 404:
        raise ManifestNotFoundError(
            f"there is no {name}",
            cause=cause_of(response),
            hint="check the name and the tag",
            method=response.method,
            url=str(response.url),
            status=404,
        )
    if response.status != 200:
        # Many registries say of what is not there that it is not allowed.
        hint = f"check the name, or fastoci login {client.host}" if response.status in {401, 403} else None
        raise client.refused(response, f"cannot read {name}", scopes, hint)
    digest = Digest.parse(reference) if ":" in reference else Digest.of(data)
    said = response.header("Docker-Content-Digest") or str(digest)
    if not digest.matches(data) or _differs(digest, said):
        raise BlobMismatchError(
            f"{name} is not what it should be", cause=f"its digest is {Digest.of(data)}, not {said[:80]}"
        )
    return Descriptor(_media_type(response, data, name), digest, len(data)), data


def put(client: RegistryClient, repository: str, reference: str, media_type: str, data: bytes) -> Digest:
    """Put a manifest; see `RegistryClient.put_manifest`."""
    name = _name(client, repository, reference)
    what = f"{client.host} does not take the manifest {name}"
    scopes = (push_scope(repository),)
    path = f"/v2/{repository}/manifests/{reference}"
    headers = {"Content-Type": media_type}
    response = client.patiently(lambda: client.exchange("PUT", path, scopes, headers=headers, body=data), what=what)
    response.close()
    if response.status not in {200, 201, 202}:
        lacks = _LACKING.intersection(response.codes())
        hint = "run the same command again: what the registry does not have is sent" if lacks else None
        raise client.refused(response, what, scopes, hint)
    digest = Digest.parse(reference) if ":" in reference else Digest.of(data)
    said = response.header("Docker-Content-Digest")
    if said is not None and _differs(digest, said):
        raise BlobMismatchError(
            f"{client.host} took the manifest {name} for another", cause=f"{digest} was sent, {said[:80]} is there"
        )
    if response.header("OCI-Subject") is None:
        _announce(client, repository, Descriptor(media_type, digest, len(data)), data)
    return digest


def _announce(client: RegistryClient, repository: str, descriptor: Descriptor, data: bytes) -> None:
    """Keep a subject's list of referrers where the registry keeps none ("Pushing Manifests with Subject")."""
    if not (parse_object(data) or {}).get("subject"):
        return
    kind = Index if descriptor.media_type in INDEXES else Manifest
    document = kind.from_bytes(data, descriptor.media_type, f"the manifest {descriptor.digest}")
    announce(client, repository, document, descriptor)


def _name(client: RegistryClient, repository: str, reference: str) -> str:
    return f"{client.host}/{repository}{'@' if ':' in reference else ':'}{reference}"


def _differs(digest: Digest, said: str) -> bool:
    """Return whether a `Docker-Content-Digest` contradicts a digest; one by another algorithm cannot."""
    return said.partition(":")[0] == digest.algorithm and said != str(digest)


def _media_type(response: Response, data: bytes, name: str) -> str:
    """Return what a manifest is, by its own word and the registry's.

    Raises:
        InvalidImageError: They contradict each other, or it is none that is known here.
    """
    document = parse_object(data)
    if document is None:
        raise InvalidImageError(f"{name} is not a JSON object")
    said = (response.header("Content-Type") or "").partition(";")[0].strip().lower()
    own = document.get("mediaType")
    if isinstance(own, str) and own in _KNOWN:
        if said in _KNOWN and said != own:
            # To one reader an index, to another a manifest (CVE-2021-41190).
            raise InvalidImageError(f"{name} calls itself {own}, and the registry calls it {said}")
        return own
    if own is None and said in _KNOWN:
        return said
    if own is None and said in _ANYTHING:
        # Before OCI 1.1 a document did not have to say what it is.
        if isinstance(document.get("layers"), list) and "manifests" not in document:
            return OCI_MANIFEST
        if isinstance(document.get("manifests"), list) and "layers" not in document:
            return OCI_INDEX
    raise InvalidImageError(f"{name} is neither a manifest nor an index", cause=f"its media type is {own or said!r}")
