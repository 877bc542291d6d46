"""Manifests that speak about another one, their subject: listed by the registry, or under a tag that clients keep.

distribution-spec, "Listing Referrers" and "Pushing Manifests with Subject". A registry that has the API says so in the
header `OCI-Subject`; for one that has not, the list is an index under a tag made of the subject's digest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fastoci.errors import InvalidImageError, ManifestNotFoundError
from fastoci.registry.auth import pull_scope
from fastoci.registry.response import Response, TooLongError
from fastoci.spec import mediatypes
from fastoci.spec.canonical import DOCUMENT_LIMIT
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest

if TYPE_CHECKING:
    from fastoci.registry.client import RegistryClient
    from fastoci.spec.digest import Digest

__all__ = ["announce", "list_referrers", "referrers_tag"]

_ATTEMPTS = 3  # of two that write the list at once, the one that lost writes again


def referrers_tag(subject: Digest) -> str:
    """Return the tag under which a subject's referrers are listed ("Referrers Tag Schema")."""
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def list_referrers(client: RegistryClient, repository: str, subject: Digest) -> Index:
    """Return the referrers of a manifest, which need not be there.

    Args:
        client: The registry's.
        repository: The path there.
        subject: The digest of the manifest that they speak about.

    Raises:
        InvalidImageError: What the registry gives is no index.
        RegistryError: It cannot be reached, or does not give it.
    """
    scopes = (pull_scope(repository),)
    path = f"/v2/{repository}/referrers/{subject}"
    what = f"the referrers of {client.host}/{repository}@{subject}"

    def attempt() -> Response:
        response = client.exchange("GET", path, scopes, headers={"Accept": mediatypes.OCI_INDEX})
        return response.load(DOCUMENT_LIMIT) if response.status == 200 else response

    try:
        response = client.patiently(attempt, what=f"cannot list {what}")
    except TooLongError:
        raise InvalidImageError(f"{what} are too many", cause=f"over {DOCUMENT_LIMIT:,} bytes") from None
    said = (response.header("Content-Type") or "").partition(";")[0].strip()
    if response.status == 200 and said == mediatypes.OCI_INDEX:
        return Index.from_bytes(response.data, said, what)
    if response.status not in {200, 400, 404, 405, 501}:
        raise client.refused(response, f"cannot list {what}", scopes)
    response.close()
    return _tagged(client, repository, subject)


def announce(client: RegistryClient, repository: str, manifest: Manifest | Index, descriptor: Descriptor) -> None:
    """Enter a manifest that was pushed into the list that is kept under its subject's tag.

    Args:
        client: The registry's, which has no API for it.
        repository: The path there.
        manifest: What was pushed; nothing is done where it has no subject.
        descriptor: The same's.

    Raises:
        InvalidImageError: Something else stands under the tag.
        RegistryError: The registry does not take the list.
    """
    if manifest.subject is None:
        return
    artifact_type = manifest.artifact_type
    if artifact_type is None and isinstance(manifest, Manifest):
        artifact_type = manifest.config.media_type
    entry = replace(descriptor, annotations=manifest.annotations, artifact_type=artifact_type)
    for _ in range(_ATTEMPTS):
        index = _tagged(client, repository, manifest.subject.digest)
        if any(one.digest == entry.digest for one in index.manifests):
            return
        data = replace(index, manifests=(*index.manifests, entry)).to_bytes()
        client.put_manifest(repository, referrers_tag(manifest.subject.digest), mediatypes.OCI_INDEX, data)


def _tagged(client: RegistryClient, repository: str, subject: Digest) -> Index:
    tag = referrers_tag(subject)
    try:
        found, data = client.get_manifest(repository, tag)
    except ManifestNotFoundError:
        return Index()
    return Index.from_bytes(data, found.media_type, f"{client.host}/{repository}:{tag}")
