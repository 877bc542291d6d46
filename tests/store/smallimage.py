"""An image of one layer, with one file in it, for tests to put into stores; a blob; and a look at what stands there."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from fastoci.spec import mediatypes
from fastoci.spec.config import ImageConfig
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.manifest import Manifest
from fastoci.spec.platform import Platform

BLOB = b"some bytes"
DIGEST = Digest.of(BLOB)


@dataclass(frozen=True)
class SmallImage:
    """An image of one layer, with one file in it."""

    layer: bytes
    config: bytes
    manifest: bytes
    layer_descriptor: Descriptor
    descriptor: Descriptor

    def put(self, store, names=()):
        with store.blob_writer() as writer:
            writer.write(self.layer)
            writer.commit(self.layer_descriptor.digest)
        store.put_blob(self.config, mediatypes.OCI_CONFIG)
        descriptor = store.put_blob(self.manifest, mediatypes.OCI_MANIFEST)
        assert descriptor == self.descriptor
        store.put_manifest(descriptor, names)
        return descriptor


def make_image(content: bytes = b"hello") -> SmallImage:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("hello")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    layer = gzip.compress(buffer.getvalue(), mtime=0)
    layer_descriptor = Descriptor.of(mediatypes.OCI_LAYER_GZIP, layer)
    config = ImageConfig(
        Platform("linux", "amd64"), diff_ids=(Digest.of(buffer.getvalue()),), cmd=("/hello",)
    ).to_bytes()
    manifest = Manifest(Descriptor.of(mediatypes.OCI_CONFIG, config), (layer_descriptor,)).to_bytes()
    return SmallImage(layer, config, manifest, layer_descriptor, Descriptor.of(mediatypes.OCI_MANIFEST, manifest))


def tree(path: Path) -> list[str]:
    """Return all names beneath a directory."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))
