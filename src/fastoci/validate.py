"""Validate: every digest, size, diff_id, media type and reference of an image recomputed, and compared.

The documents come first, one by one. Then the blobs that they name are read once each, several at a time: hashed,
inflated, hashed again, and their tars walked to the end. What is wrong becomes a finding; only a disk or a registry
that cannot be read is an error.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastoci.checks.archive import check_docker_list
from fastoci.checks.blob import BlobCheck
from fastoci.checks.documents import BlobUse, DocumentCheck
from fastoci.checks.findings import Finding, Findings
from fastoci.checks.layout import check_marker, check_names, list_blobs
from fastoci.events import Sink, discard
from fastoci.images.source import StoredImage, locate_image, open_image
from fastoci.layer.cpus import available_cpus
from fastoci.parallel import run_all
from fastoci.registry.options import RegistryOptions
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.index import Index
from fastoci.store.archive_reader import Archive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastoci.images.source import ImageSource
    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName

__all__ = ["Finding", "Validation", "validate"]


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation came to.

    Attributes:
        name: What the user called the image, or the layout as a whole.
        findings: What is wrong or could not be checked, errors first.
        images: How many manifests were looked into.
        blobs: How many blobs were read, documents left out.
        size: How many bytes these have.
        fast: Whether blobs were not read, but only looked for.
    """

    name: str
    findings: tuple[Finding, ...]
    images: int
    blobs: int
    size: int
    fast: bool

    @property
    def is_valid(self) -> bool:
        """Whether no error was found; what could not be checked is none."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON object."""
        return {
            "name": self.name,
            "valid": self.is_valid,
            "fast": self.fast,
            "images": self.images,
            "blobs": self.blobs,
            "size": self.size,
            "findings": [finding.to_json() for finding in self.findings],
        }


def validate(
    image: str | ImageName,
    options: RegistryOptions | None = None,
    *,
    fast: bool = False,
    sink: Sink = discard,
) -> Validation:
    """Check an image; or, where neither tag nor digest is named, a whole layout or archive with all its images.

    Args:
        image: Its name, of any transport.
        options: How a registry is reached.
        fast: Whether to look only for the presence and size of blobs; documents are read all the same.
        sink: Told how far the reading is, and which blob was checked; given the registry client's events.

    Returns:
        What was found. Nothing wrong: `is_valid`.

    Raises:
        UsageError: It is no name of an image.
        ImageNotFoundError: There is no such layout, archive or tag.
        ManifestNotFoundError: The registry has no such image.
        StoreError: The disk cannot be read.
        RegistryError: The registry could not be reached, or does not give it out.
    """
    options = options or RegistryOptions()
    findings = Findings()
    located = locate_image(image)
    if located.transport == "oci" and not check_marker(located.location, findings):
        return Validation(str(located), findings.all(), 0, 0, 0, fast)
    stop = threading.Event()
    with open_image(located, options, sink) as source:
        documents = DocumentCheck(source, findings)
        for descriptor, path in _roots(source, findings):
            documents.check(descriptor, path)
        blobs = BlobCheck(source, findings, fast=fast, stop=stop, sink=sink)
        tasks = blobs.tasks(documents.uses)
        if isinstance(source, StoredImage) and source.place == "layout" and not source.names_one:
            checked = documents.read | {use.descriptor.digest for use in documents.uses}
            tasks += blobs.tasks(_others(source.path, checked, findings))
        if isinstance(source, StoredImage) and isinstance(source.store, Archive) and not source.names_one and not fast:
            check_docker_list(source.store, documents.layers, findings)
        # One check keeps two CPUs busy where the blobs are at hand, and none while it waits for a registry.
        jobs = max(1, available_cpus() // 2) if isinstance(source, StoredImage) else options.jobs
        run_all(tasks, jobs=jobs, stop=stop, on_stop=source.cancel)
        return Validation(source.name, findings.all(), documents.images, blobs.count, blobs.size, fast)


def _roots(source: ImageSource, findings: Findings) -> Iterator[tuple[Descriptor, str]]:
    """Yield what to begin with: the image that is named, or all that there are."""
    if not isinstance(source, StoredImage) or source.names_one:
        descriptor = source.resolve()
        yield descriptor, str(descriptor.digest)
        return
    index = Index()
    with findings.noting("index.json"):
        index = source.store.index()
    check_names(index, findings)
    for number, entry in enumerate(index.manifests):
        yield entry, f"index.json/manifests/{number}"


def _others(path: str, checked: set[Digest], findings: Findings) -> Iterator[BlobUse]:
    """Yield the blobs that no image names: they may be anything, but have to be what they are called."""
    for place, digest, size in list_blobs(path, findings):
        if digest not in checked:
            yield BlobUse(place, Descriptor("", digest, size))
