"""Collect garbage: take away what no image of a layout needs.

What is needed is found from index.json: every descriptor in it, and every descriptor in the documents that these mean,
whatever kind of document it is. A document that cannot be read ends the work, for what it needs is not known then.

While blobs are taken away nobody who adds to the layout is at work in it: the locks of `store.locks` see to that, as
far as fastoci's own processes go.
"""

from __future__ import annotations

import contextlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastoci.checks.findings import Findings
from fastoci.checks.layout import list_blobs
from fastoci.ending import EndingStack
from fastoci.errors import InvalidImageError, StoreError, UsageError
from fastoci.images.source import locate_image
from fastoci.spec import canonical, mediatypes
from fastoci.spec.canonical import DOCUMENT_LIMIT
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.store.atomic import TEMP_PREFIX
from fastoci.store.faults import explained
from fastoci.store.layout import Layout
from fastoci.store.locks import locked, open_directory, try_lock_alone
from fastoci.store.partial import PARTIAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastoci.spec.imagename import ImageName

__all__ = ["Collected", "collect_garbage"]

_NO_DOCUMENTS = mediatypes.LAYERS | mediatypes.CONFIGS


@dataclass(frozen=True, slots=True)
class Collected:
    """What was taken away.

    Attributes:
        path: The layout.
        blobs: What no image needs: digest and size, in the order of digests.
        files: Paths in the layout of files that killed processes have left, and their sizes.
        dry_run: Whether it was left where it is.
    """

    path: str
    blobs: tuple[tuple[Digest, int], ...]
    files: tuple[tuple[str, int], ...]
    dry_run: bool

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return sum(size for _, size in (*self.blobs, *self.files))

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON object."""
        return {
            "path": self.path,
            "dryRun": self.dry_run,
            "size": self.size,
            "blobs": [{"digest": str(digest), "size": size} for digest, size in self.blobs],
            "files": [{"path": path, "size": size} for path, size in self.files],
        }


def collect_garbage(place: str | ImageName, *, dry_run: bool = False, partial: bool = False) -> Collected:
    """Take away the blobs of a layout that none of its images needs, and what killed processes have left.

    Args:
        place: The layout.
        dry_run: Whether to look only.
        partial: Whether also to take away what interrupted pulls have left, and would go on with.

    Raises:
        UsageError: It is not a layout as a whole.
        ImageNotFoundError: There is none.
        InvalidImageError: A document in it cannot be read; nothing was taken away.
        StoreError: Somebody adds to it now, or the disk refuses.
    """
    located = locate_image(place)
    path = located.location
    if located.transport != "oci":
        raise UsageError(f"{place} is no layout", cause="nothing but a layout has garbage", hint="oci:DIR")
    if located.tag is not None or located.digest is not None:
        raise UsageError(f"{place} names one image", hint=f"all of the layout is looked at: oci:{path}")
    layout = Layout.open(path)
    root = Path(path).absolute()
    what = f"cannot collect garbage in {path}"
    with EndingStack() as stack, explained(what, path):
        stack.enter_context(locked(root))
        if not dry_run:
            held = stack.enter_context(open_directory(root / "blobs"))
            if not try_lock_alone(held.fd):
                raise StoreError(
                    what, path=path, cause="another process adds to it", hint="run it again when that has ended"
                )
        needed = _needed(layout)
        blobs = tuple((digest, size) for _, digest, size in list_blobs(path, Findings()) if digest not in needed)
        files = tuple(_left_behind(root, partial=partial))
        if not dry_run:
            for digest, _ in blobs:
                layout.blob_path(digest).unlink(missing_ok=True)
            for name, _ in files:
                (root / name).unlink(missing_ok=True)
    return Collected(path, blobs, files, dry_run)


def _needed(layout: Layout) -> set[Digest]:
    """Return the digests of all that the images of a layout need."""
    needed: set[Digest] = set()
    open_ends = list(layout.index().manifests)
    while open_ends:
        descriptor = open_ends.pop()
        if descriptor.digest in needed:
            continue
        needed.add(descriptor.digest)
        if descriptor.media_type not in _NO_DOCUMENTS:
            document = _document(layout, descriptor)
            open_ends += [] if document is None else _descriptors(document)
    return needed


def _document(layout: Layout, descriptor: Descriptor) -> dict[str, Any] | None:
    """Return a document; None for what is none, or is not there, as the members of an index may not be."""
    what = f"{descriptor.digest} in {layout.path}"
    size = layout.blob_size(descriptor.digest)
    is_known = descriptor.media_type in mediatypes.MANIFESTS or descriptor.media_type in mediatypes.INDEXES
    if size is None or (size > DOCUMENT_LIMIT and not is_known):
        return None
    try:
        data = layout.read_blob(Descriptor(descriptor.media_type, descriptor.digest, size))
        return canonical.loads(data, what)
    except InvalidImageError as error:
        if not is_known:
            return None
        error.hint = "what it needs is not known, and nothing was taken away; fastoci validate says more"
        raise


def _descriptors(value: object) -> Iterator[Descriptor]:
    """Yield every descriptor anywhere in a document: what has a digest, and is not known to be something else."""
    if isinstance(value, dict):
        digest, media_type = value.get("digest"), value.get("mediaType")
        if isinstance(digest, str):
            with contextlib.suppress(InvalidImageError):  # no blob can be called that
                yield Descriptor(media_type if isinstance(media_type, str) else "", Digest.parse(digest), 0)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _descriptors(item)


def _left_behind(root: Path, *, partial: bool) -> Iterator[tuple[str, int]]:
    """Yield the temporary files of processes that were killed: nobody is at work here who could have one."""
    directories = [root, *sorted((root / "blobs").iterdir())]
    if partial and (root / PARTIAL).is_dir():
        directories.append(root / PARTIAL)
    for directory in directories:
        for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
            if not (entry.name.startswith(TEMP_PREFIX) or directory.name == PARTIAL):
                continue
            found = entry.lstat()
            if stat.S_ISREG(found.st_mode):
                yield str(entry.relative_to(root)), found.st_size
