"""Archives: one tar that is an OCI layout and what `docker save` writes, both over the same blobs.

`index.json` is for skopeo, podman, containerd and docker since 25 (image-spec image-layout.md), `manifest.json` for
docker before that; it names each layer's blob by its path. Blobs stand in the order in which they were committed, the
documents that name them at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from fastoci.ending import Ending
from fastoci.errors import InvalidImageError
from fastoci.spec import canonical, mediatypes
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest
from fastoci.spec.reference import Reference
from fastoci.store.archive_blobs import BlobTar
from fastoci.store.archive_output import open_output
from fastoci.store.naming import name_manifest
from fastoci.store.tarformat import END

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastoci.spec.digest import Digest
    from fastoci.store.blobs import BlobWriter

__all__ = ["ArchiveWriter"]


class ArchiveWriter(Ending):
    """Writes one archive. A context manager: left without `finish`, it leaves nothing behind.

    Args:
        target: The path of a file, which is replaced when the archive is whole; or a stream, such as
            `sys.stdout.buffer`, which is left open.

    Attributes:
        path: The target, for messages.

    Raises:
        StoreError: It cannot be written.
    """

    def __init__(self, target: str | BinaryIO) -> None:
        self._out = open_output(target)
        self.path = self._out.name
        self._tar = BlobTar(self._out)
        self._index = Index()
        self._documents: dict[Digest, bytes] = {}
        self._names: dict[Digest, list[str]] = {}
        try:
            self._tar.put_file("oci-layout", canonical.dumps({"imageLayoutVersion": "1.0.0"}))
            self._tar.put_directories()
        except BaseException:
            self.close()
            raise

    def blob_writer(self) -> BlobWriter:
        """Return a writer for one blob.

        Raises:
            StoreError: There is no room for it.
        """
        return self._tar.blob_writer()

    def put_blob(self, data: bytes, media_type: str) -> Descriptor:
        """Put a small blob, and return its descriptor. Manifests must come this way: `finish` reads them.

        Raises:
            StoreError: The disk did not take it.
        """
        descriptor = Descriptor.of(media_type, data)
        self._documents[descriptor.digest] = data
        self._tar.put_blob(descriptor.digest, len(data), data)
        return descriptor

    def copy_blob(self, descriptor: Descriptor, source: BinaryIO) -> None:
        """Copy a blob whose size and digest are known: it goes straight to its place, on a stream, too.

        Args:
            descriptor: Of the blob; whether its bytes have the digest is for the source to check.
            source: Where to read it, from its first byte to its last.

        Raises:
            StoreError: The disk, or whoever reads the stream, did not take it.
            InvalidImageError: It has another size.
        """
        self._tar.copy_blob(descriptor.digest, descriptor.size, source)

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:
        """Return whether a blob was put, and of that size where one is given."""
        found = self._tar.sizes.get(digest)
        return found is not None and size in (None, found)

    def put_manifest(self, descriptor: Descriptor, names: Sequence[str]) -> None:
        """Enter a manifest that was put into the index, under its names; see `Layout.put_manifest`.

        Raises:
            UsageError: A name is none.
        """
        self._index = name_manifest(self._index, descriptor, names)
        self._names.setdefault(descriptor.digest, []).extend(names)

    def finish(self, docker_tags: Sequence[str] = ()) -> None:
        """Write the index and docker's list of images, and let the archive appear.

        Args:
            docker_tags: Names that docker gives the image whose manifest was put last, besides those of
                `put_manifest`. Names without a repository mean nothing to docker, and are left out.

        Raises:
            StoreError: The disk did not take it.
            InvalidImageError: A blob that a manifest names was not put.
            UsageError: A name is none.
        """
        if self._names:
            self._names[next(reversed(self._names))].extend(docker_tags)
        images = self._docker_images()
        self._tar.put_file("index.json", self._index.to_bytes())
        self._tar.put_file("manifest.json", canonical.dumps(images))
        self._out.write(END)
        self._out.finish()

    def end(self) -> None:
        """Give up what is not finished; so does `close`."""
        self._tar.close()
        self._out.close()

    def _docker_images(self) -> list[dict[str, Any]]:
        """Return what `docker load` reads: for each image its config, its layers and its names."""
        images = []
        for entry in {entry.digest: entry for entry in self._index.manifests}.values():
            data = self._documents.get(entry.digest)
            if data is None:
                raise self._missing(entry.digest)
            if entry.media_type not in mediatypes.MANIFESTS:
                continue
            manifest = Manifest.from_bytes(data, entry.media_type, f"the manifest {entry.digest}")
            if manifest.config.media_type not in mediatypes.CONFIGS:
                continue
            missing = [
                blob for blob in (manifest.config, *manifest.layers) if not self.has_blob(blob.digest, blob.size)
            ]
            if any(not (blob.media_type in mediatypes.NONDISTRIBUTABLE and blob.urls) for blob in missing):
                raise self._missing(missing[0].digest)
            if missing:
                # Layers that are at their urls alone: docker's list has no words for these.
                continue
            images.append(
                {
                    "Config": self._tar.place(manifest.config.digest),
                    "RepoTags": _repository_tags(self._names.get(entry.digest, ())),
                    "Layers": [self._tar.place(layer.digest) for layer in manifest.layers],
                }
            )
        return images

    def _missing(self, digest: Digest) -> InvalidImageError:
        return InvalidImageError(
            f"the blob {digest} was not put into {self.path}", cause="a manifest names it", digest=str(digest)
        )


def _repository_tags(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(Reference.parse(name).familiar for name in names if "/" in name or ":" in name))
