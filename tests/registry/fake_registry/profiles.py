"""How the registries that are played differ: what is left of a PATCH that was cut, what they say, what they refuse.

Of distribution 2.8 and 3 it is what was measured; of the hosted ones what is publicly reported, which is no promise.
Sizes are scaled down to blobs of some hundred KiB: where GHCR refuses more than 4 MiB in a PATCH, the one here refuses
more than 80 kB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PROFILES", "Profile"]


@dataclass(frozen=True)
class Profile:
    """One registry's ways.

    Args:
        cut: What becomes of a session whose PATCH was cut: it `keeps` every byte that came, keeps `whole` requests
            only, `loses` itself although the bytes are there, or is `dropped`.
        one_location: Whether only the last Location that was given out is taken.
        locations: `absolute`, `path` (from the root), or `relative` to the request's URL.
        place: The part of a session's path before its name.
        patch_status: What a PATCH is answered with.
        patch_range: What Range its answer has: `true`, `stuck` at none, or the size of this `chunk` alone.
        get_status: What a GET of a session is answered with.
        high: How much the Range of a GET and of a 416 is too high.
        prefix: What stands before these Ranges.
        min_chunk: Bytes that a chunk which is not the last must have; told by OCI-Chunk-Min-Length.
        max_chunk: Bytes that it may have; told by OCI-Chunk-Max-Length.
        parts: Whether all chunks but the last must be of one size, as those of an object in S3 or R2.
        largest_patch: Bytes from which on a PATCH is answered with 416; None takes any.
        largest_put: The same of a PUT with a body and 413.
        patches: How many PATCHes a session takes; None is any number.
        delete_status: What a DELETE of a session is answered with.
        empty_blob: Whether a blob without bytes is `stored`, `refused`, or stored and then `unreadable`.
        made_before: Whether a repository must be made before it is pushed to.
        oauth: Whether tokens can be asked for by POST.
        redirects: Whether blobs are read by a signed URL at another host.
        referrers: Whether there is the referrers API.
    """

    cut: Literal["keeps", "whole", "loses", "dropped"] = "keeps"
    one_location: bool = False
    locations: Literal["absolute", "path", "relative"] = "absolute"
    place: str = "/blobs/uploads/"
    patch_status: int = 202
    patch_range: Literal["true", "stuck", "chunk"] = "true"
    get_status: int = 204
    high: int = 0
    prefix: str = ""
    min_chunk: int | None = None
    max_chunk: int | None = None
    parts: bool = False
    largest_patch: int | None = None
    largest_put: int | None = None
    patches: int | None = None
    delete_status: int = 204
    empty_blob: Literal["stored", "refused", "unreadable"] = "stored"
    made_before: bool = False
    oauth: bool = True
    redirects: bool = False
    referrers: bool = False


PROFILES = {
    # Measured: the signed state in the Location no longer fits what a cut PATCH has left.
    "2.8": Profile(cut="loses", one_location=True),
    # Measured: goes on at the byte, after a restart as well.
    "3.1": Profile(),
    # A read error deletes the session.
    "zot": Profile(cut="dropped", locations="path", referrers=True),
    # In 2025 the Range of a PATCH said how much that one had brought.
    "zot-2025": Profile(cut="dropped", locations="path", patch_range="chunk", referrers=True),
    # Parts of an S3 upload; Range stands still although the bytes are stored.
    "ecr": Profile(
        cut="whole",
        patch_status=201,
        patch_range="stuck",
        get_status=404,
        parts=True,
        empty_blob="refused",
        made_before=True,
        redirects=True,
        referrers=True,
    ),
    "ghcr": Profile(
        locations="path",
        place="/blobs/upload/",
        largest_patch=80_000,
        delete_status=405,
        empty_blob="unreadable",
        redirects=True,
    ),
    "google": Profile(patches=1, redirects=True, referrers=True),
    # One too high, and with the unit of HTTP's own ranges.
    "quay": Profile(high=1, prefix="bytes=", redirects=True, referrers=True),
    "acr": Profile(cut="loses", locations="path", largest_put=200_000, oauth=False, redirects=True, referrers=True),
    # Parts of an R2 upload, whose bounds it tells.
    "cloudflare": Profile(cut="whole", min_chunk=120_000, max_chunk=150_000, parts=True, redirects=True),
}
