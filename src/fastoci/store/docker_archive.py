"""What `docker save` writes, told in the words of OCI: manifests and an index are made up from `manifest.json`.

It lists images, each with the path of its config, the paths of its layers and its names; there are no digests in it.
A layer that is a bare tar has the digest that the config has as its diff_id; whether it really has shows when it is
read. A compressed one is hashed here.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from fastoci.errors import InvalidImageError, UsageError
from fastoci.spec import canonical, mediatypes
from fastoci.spec.annotations import IMAGE_NAME, REF_NAME
from fastoci.spec.config import ImageConfig
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.fields import Fields
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest
from fastoci.spec.reference import Reference

if TYPE_CHECKING:
    from fastoci.store.tarmembers import Member

__all__ = ["read_docker_archive"]

_COPY_SIZE = 1 << 20
_IMAGE_LIMIT = 1000
_LAYER_LIMIT = 1000
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class Files(Protocol):
    """The files of an archive."""

    path: str

    def find_member(self, name: str) -> Member | None:
        """Return the file of that name."""

    def open_member(self, member: Member) -> BinaryIO:
        """Open a file."""

    def read_member(self, name: str, limit: int) -> bytes:
        """Return a small file's content."""


def read_docker_archive(files: Files) -> tuple[Index, dict[Digest, Member | bytes]]:
    """Return an index of the images in a docker archive, and the blobs that it leads to.

    Args:
        files: The archive's.

    Raises:
        InvalidImageError: manifest.json is not valid, or names what is not there.
    """
    entries: list[Descriptor] = []
    blobs: dict[Digest, Member | bytes] = {}
    for position, image in enumerate(_read_list(files)):
        fields = Fields(image, f"{files.path}: manifest.json[{position}]")
        config_data = files.read_member(fields.required_text("Config"), canonical.DOCUMENT_LIMIT)
        config = ImageConfig.from_bytes(config_data, f"the config of {fields.where}")
        layers = _layers(files, fields, config, blobs)
        config_descriptor = Descriptor.of(mediatypes.OCI_CONFIG, config_data)
        data = Manifest(config_descriptor, layers).to_bytes()
        manifest = Descriptor.of(mediatypes.OCI_MANIFEST, data)
        blobs[config_descriptor.digest] = config_data
        blobs[manifest.digest] = data
        entries += _named(manifest, fields) or [manifest]
    return Index(tuple(entries)), blobs


def _named(manifest: Descriptor, fields: Fields) -> list[Descriptor]:
    """Return an entry of the index for each name of an image."""
    entries = []
    for text in fields.texts("RepoTags") or ():
        try:
            reference = Reference.parse(text)
        except UsageError as error:
            raise fields.error("RepoTags", f"is not valid: {error}") from None
        entries.append(manifest.annotated(**{REF_NAME: reference.tag, IMAGE_NAME: str(reference)}))
    return entries


def _read_list(files: Files) -> list[Any]:
    data = files.read_member("manifest.json", canonical.DOCUMENT_LIMIT)
    what = f"{files.path}: manifest.json"
    # A list where all other documents are objects: inside one it is checked as they are.
    images = canonical.loads(b'{"images":' + data + b"}", what, limit=canonical.DOCUMENT_LIMIT + 16)
    if images.keys() != {"images"} or not isinstance(images["images"], list):
        raise InvalidImageError(f"{what} is not a list")
    if len(images["images"]) > _IMAGE_LIMIT:
        raise InvalidImageError(f"{what} is too long", cause=f"{_IMAGE_LIMIT} images are the most")
    found: list[Any] = images["images"]
    return found


def _layers(
    files: Files, fields: Fields, config: ImageConfig, blobs: dict[Digest, Member | bytes]
) -> tuple[Descriptor, ...]:
    names = fields.texts("Layers") or ()
    if len(names) > _LAYER_LIMIT or len(names) != len(config.diff_ids):
        raise fields.error("Layers", f"has {len(names)} entries, and the config {len(config.diff_ids)} diff_ids")
    layers = []
    for name, diff_id in zip(names, config.diff_ids, strict=True):
        member = files.find_member(name.removeprefix("./"))
        if member is None:
            raise fields.error("Layers", f"names {name[:200]!r}, which is not there")
        media_type, digest = _identify(files, member, diff_id)
        blobs[digest] = member
        layers.append(Descriptor(media_type, digest, member.size))
    return tuple(layers)


def _identify(files: Files, member: Member, diff_id: Digest) -> tuple[str, Digest]:
    """Return the media type and digest of a layer."""
    with files.open_member(member) as stream:
        start = stream.read(4)
        if start.startswith(_GZIP):
            media_type = mediatypes.OCI_LAYER_GZIP
        elif start == _ZSTD:
            media_type = mediatypes.OCI_LAYER_ZSTD
        else:
            return mediatypes.OCI_LAYER_TAR, diff_id
        hasher = hashlib.sha256(start)
        while piece := stream.read(_COPY_SIZE):
            hasher.update(piece)
    return media_type, Digest("sha256", hasher.hexdigest())
