"""The tags of a repository, page by page (distribution-spec, "Listing Tags")."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from fastoci.errors import ManifestNotFoundError, RegistryResponseError
from fastoci.registry.auth import pull_scope
from fastoci.registry.refusals import cause_of
from fastoci.registry.response import Response, TooLongError, parse_object
from fastoci.spec.canonical import DOCUMENT_LIMIT
from fastoci.spec.reference import is_tag

if TYPE_CHECKING:
    from fastoci.registry.client import RegistryClient
    from fastoci.registry.urls import Url

__all__ = ["list_tags"]

_PAGE = 1000
_MOST = 1_000_000  # tags of one repository
_NEXT = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?', re.IGNORECASE)


def list_tags(client: RegistryClient, repository: str) -> list[str]:
    """Return the tags of a repository, in the registry's order.

    Raises:
        ManifestNotFoundError: There is no such repository.
        RegistryError: The registry cannot be reached, or does not list them.
    """
    name = f"{client.host}/{repository}"
    what = f"cannot list the tags of {name}"
    scopes = (pull_scope(repository),)
    page: Url | str | None = f"/v2/{repository}/tags/list?n={_PAGE}"
    tags: dict[str, None] = {}
    while page is not None:
        url = page

        def attempt(url: Url | str = url) -> Response:
            response = client.exchange("GET", url, scopes)
            return response.load(DOCUMENT_LIMIT) if response.status == 200 else response

        try:
            response = client.patiently(attempt, what=what)
        except TooLongError:
            raise RegistryResponseError(what, cause=f"a page of it has over {DOCUMENT_LIMIT:,} bytes") from None
        if response.status == 404:
            raise ManifestNotFoundError(
                f"there is no {name}", cause=cause_of(response), method="GET", url=str(response.url), status=404
            )
        if response.status != 200:
            hint = f"check the name, or fastoci login {client.host}" if response.status in {401, 403} else None
            raise client.refused(response, what, scopes, hint)
        before = len(tags)
        tags |= dict.fromkeys(_tags(response, what))
        link = _NEXT.search(", ".join(response.headers("Link")))
        # A page without a new tag would lead round in a circle.
        page = client.resolve(response, link[1]) if link and len(tags) > before else None
        if len(tags) > _MOST:
            raise RegistryResponseError(what, cause=f"there are over {_MOST:,}")
    return list(tags)


def _tags(response: Response, what: str) -> list[str]:
    document = parse_object(response.data)
    # `null` is what distribution says of a repository whose tags were all deleted.
    found = [] if document is None else document.get("tags") or []
    if document is None or not isinstance(found, list):
        raise RegistryResponseError(what, cause="the answer is no list of tags", url=str(response.url))
    for tag in found:
        if not isinstance(tag, str) or not is_tag(tag):
            raise RegistryResponseError(what, cause=f"{json.dumps(tag)[:100]} is not a tag", url=str(response.url))
    return found
