"""Checks the documents of an image, index by manifest by config, and lists the blobs that they say there are.

A document whose bytes are not what its descriptor says is not looked into: what stands in it is nobody's word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastoci.images.documents import read_document
from fastoci.spec import mediatypes
from fastoci.spec.config import ImageConfig
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest

if TYPE_CHECKING:
    from fastoci.checks.findings import Findings
    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.platform import Platform

__all__ = ["BlobUse", "DocumentCheck"]

_NESTING = 4  # indexes within indexes; one within another is what is seen
_MOST = 100_000  # documents and blobs; a manifest of 4 MiB has room for 20,000 layers

# RFC 3339, 5.6, as Go reads it: `created` of another form makes docker refuse the whole config.
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

_DOCKER = "application/vnd.docker."
_OCI = "application/vnd.oci."


@dataclass(frozen=True, slots=True)
class BlobUse:
    """A blob as one document points at it.

    Attributes:
        path: Where the document does.
        descriptor: What it says of the blob.
        diff_id: What the config says of its tar; None where it is no layer of an image that runs.
    """

    path: str
    descriptor: Descriptor
    diff_id: Digest | None = None


@dataclass(slots=True)
class DocumentCheck:
    """Walks the documents of images, each document once.

    Attributes:
        source: Where they are read.
        findings: Told what is wrong.
        images: How many manifests were looked into.
        uses: The blobs that they name, configs left out: these were read.
        read: Digests of the documents that are what their descriptors say, configs included.
        layers: The digests of each image's layers, by that of its config.
    """

    source: ImageSource
    findings: Findings
    images: int = 0
    uses: list[BlobUse] = field(default_factory=list)
    read: set[Digest] = field(default_factory=set)
    layers: dict[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    _platforms: dict[Digest, Platform | None] = field(default_factory=dict)
    _seen: set[tuple[Digest, int, str]] = field(default_factory=set)

    def check(self, descriptor: Descriptor, path: str, depth: int = 0) -> None:
        """Check what a descriptor points at, and all that this points at.

        Args:
            descriptor: Of a manifest, an index, or anything else.
            path: Where it stands.
            depth: How many indexes it stands in.
        """
        if len(self._seen) + len(self.uses) >= _MOST:
            if len(self._seen) + len(self.uses) == _MOST:
                self.findings.add("unchecked", path, f"more than {_MOST:,} blobs: the rest is not looked at")
                self._seen.add((descriptor.digest, -1, ""))
            return
        if descriptor.media_type not in mediatypes.MANIFESTS | mediatypes.INDEXES:
            self.findings.add("unchecked", path, f"its media type is not known here: {descriptor.media_type[:100]!r}")
            self.uses.append(BlobUse(path, descriptor))
            return
        key = (descriptor.digest, descriptor.size, descriptor.media_type)
        if key not in self._seen:
            self._seen.add(key)
            with self.findings.noting(path, digest=descriptor.digest):
                self._document(descriptor, depth)
        self._compare_platforms(descriptor, path)

    def _document(self, descriptor: Descriptor, depth: int) -> None:
        document = read_document(self.source, descriptor)
        self.read.add(descriptor.digest)
        path = str(descriptor.digest)
        if isinstance(document, Manifest):
            self.images += 1
            self._manifest(document, descriptor, path)
        elif depth == _NESTING:
            self.findings.add("error", path, f"more than {_NESTING} indexes in each other", descriptor.digest)
        else:
            self._index(document, path, depth)

    def _index(self, index: Index, path: str, depth: int) -> None:
        if not index.manifests:
            self.findings.add("warning", path, "the index is empty")
        for number, entry in enumerate(index.manifests):
            self.check(entry, f"{path}/manifests/{number}", depth + 1)

    def _manifest(self, manifest: Manifest, descriptor: Descriptor, path: str) -> None:
        self._check_family(manifest, path)
        if manifest.config.media_type not in mediatypes.CONFIGS:
            # An artifact: what its blobs hold is known to its own tools.
            self.uses.append(BlobUse(f"{path}/config", manifest.config))
            self.uses += [BlobUse(f"{path}/layers/{number}", layer) for number, layer in enumerate(manifest.layers)]
            return
        config = None
        with self.findings.noting(f"{path}/config", digest=manifest.config.digest):
            what = f"the config {manifest.config.digest}"
            data = self.source.read_blob(manifest.config)
            self.read.add(manifest.config.digest)
            self.layers[manifest.config.digest] = tuple(layer.digest for layer in manifest.layers)
            config = ImageConfig.from_bytes(data, what)
        diff_ids: tuple[Digest | None, ...] = (None,) * len(manifest.layers)
        if config is not None:
            self._platforms[descriptor.digest] = config.platform
            self._config(config, manifest, str(manifest.config.digest))
            if len(config.diff_ids) == len(manifest.layers):
                diff_ids = config.diff_ids
        if not manifest.layers:
            self.findings.add("warning", path, "the image has no layer, which some engines refuse")
        for number, (layer, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=True)):
            self._layer(layer, diff_id, f"{path}/layers/{number}")

    def _check_family(self, manifest: Manifest, path: str) -> None:
        """Warn of a manifest of Docker's form with OCI's parts, or the other way round, which some readers refuse."""
        other = _OCI if manifest.media_type.startswith(_DOCKER) else _DOCKER
        for name, descriptor in (("config", manifest.config), *(("a layer", layer) for layer in manifest.layers)):
            if descriptor.media_type.startswith(other):
                self.findings.add(
                    "warning", path, f"{name} is of the type {descriptor.media_type!r}, in a {manifest.media_type!r}"
                )
                return

    def _config(self, config: ImageConfig, manifest: Manifest, path: str) -> None:
        layers = len(manifest.layers)
        if len(config.diff_ids) != layers:
            self.findings.add("error", f"{path}/rootfs/diff_ids", f"{len(config.diff_ids)} for {layers} layers")
        steps = sum(not step.empty_layer for step in config.history)
        if config.history and steps != layers:
            # config.md, "history": each step that is not marked as an empty layer made one.
            self.findings.add("error", f"{path}/history", f"{steps} steps made a layer, and there are {layers}")
        dates = [("created", config.created)]
        dates += [(f"history/{number}/created", step.created) for number, step in enumerate(config.history)]
        for name, date in dates:
            if date is not None and not _DATE.fullmatch(date):
                self.findings.add("error", f"{path}/{name}", f"{date[:40]!r} is not a time as in RFC 3339")

    def _layer(self, layer: Descriptor, diff_id: Digest | None, path: str) -> None:
        if layer.media_type not in mediatypes.LAYERS:
            self.findings.add("unchecked", path, f"its media type is not known here: {layer.media_type[:100]!r}")
        self.uses.append(BlobUse(path, layer, diff_id))

    def _compare_platforms(self, descriptor: Descriptor, path: str) -> None:
        """Hold what an index says of a member against the member's config."""
        said, is_ = descriptor.platform, self._platforms.get(descriptor.digest)
        if said is None or is_ is None or said.matches(is_):
            return
        said, is_ = said.normalized(), is_.normalized()
        if (said.os, said.architecture) != (is_.os, is_.architecture):
            self.findings.add("error", path, f"it is listed for {said}, and its config says {is_}", descriptor.digest)
        elif is_.variant is not None:
            self.findings.add("warning", path, f"it is listed for {said}, and its config says {is_}", descriptor.digest)
