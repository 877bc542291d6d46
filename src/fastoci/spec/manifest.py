"""The manifest of an image: its config and its layers (image-spec manifest.md; Docker's schema 2 has the same form).

A manifest's digest is one of bytes, so whoever passes a manifest on keeps the bytes it came in; what is written again
from the value here is another document.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fastoci.errors import InvalidImageError
from fastoci.spec import canonical, mediatypes
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastoci.spec.index import Index

__all__ = ["SCHEMA_VERSION", "Manifest", "check_kind", "said_if_any"]

SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image, for one platform.

    Args:
        config: Of the image.
        layers: Lowest first.
        annotations: Arbitrary texts by name; None for none.
        media_type: Of this document.
        artifact_type: What kind of artifact this is, where it is no image to run.
        subject: The manifest that this one speaks about; None for none.
        extra: Fields of the document that are not known here.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] | None = field(default=None, hash=False)
    media_type: str = mediatypes.OCI_MANIFEST
    artifact_type: str | None = None
    subject: Descriptor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_bytes(cls, data: bytes, media_type: str | None = None, what: str = "the manifest") -> Self:
        """Return the manifest in a blob.

        Args:
            data: The blob.
            media_type: What the descriptor, or the registry, called it; None where nobody said.
            what: What to call it in an error.

        Raises:
            InvalidImageError: It is not a manifest, or a field is missing or of another type.
        """
        fields = Fields(canonical.loads(data, what), what)
        media_type = check_kind(fields, media_type, mediatypes.MANIFESTS, foreign=("manifests",))
        subject = fields.object("subject")
        return cls(
            config=Descriptor.from_fields(fields.required_object("config")),
            layers=tuple(Descriptor.from_fields(layer) for layer in fields.objects("layers", required=True)),
            annotations=fields.text_map("annotations") or None,
            media_type=media_type or mediatypes.OCI_MANIFEST,
            artifact_type=fields.text("artifactType") or None,
            subject=None if subject is None else Descriptor.from_fields(subject),
            extra=fields.rest(),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the document as an object."""
        return {
            **self.extra,
            "schemaVersion": SCHEMA_VERSION,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
            **said_if_any(self),
        }

    def to_bytes(self) -> bytes:
        """Return the document as canonical JSON."""
        return canonical.dumps(self.to_json())


def said_if_any(document: Manifest | Index) -> dict[str, Any]:
    """Return the fields that manifests and indexes have where there is something to say (manifest.md, index.md)."""
    said: dict[str, Any] = {}
    if document.annotations:
        said["annotations"] = dict(document.annotations)
    if document.artifact_type is not None:
        said["artifactType"] = document.artifact_type
    if document.subject is not None:
        said["subject"] = document.subject.to_json()
    return said


def check_kind(
    fields: Fields, media_type: str | None, allowed: frozenset[str], *, foreign: tuple[str, ...]
) -> str | None:
    """Return the media type of a manifest or index, None where neither it nor anybody else says one.

    A document that can be read as either is a trap: two readers would see two images in it (manifest.md, and
    CVE-2021-41190). So its own word and its finder's must agree, and it may not have the other kind's fields.

    Args:
        fields: The document.
        media_type: What its finder calls it.
        allowed: The media types that it may have.
        foreign: The fields that only the other kind has.

    Raises:
        InvalidImageError: It is of another kind, or could be.
    """
    if fields.required_size("schemaVersion") != SCHEMA_VERSION:
        raise fields.error("schemaVersion", f"is not {SCHEMA_VERSION}")
    own = fields.text("mediaType") or None
    if own is not None and media_type is not None and own != media_type:
        raise fields.error("mediaType", f"is {own[:100]!r}, but it was found as {media_type[:100]!r}")
    said = own or media_type
    if said is not None and said not in allowed:
        raise InvalidImageError(f"{fields.where} is of another kind", cause=f"its media type is {said[:100]!r}")
    for name in foreign:
        if name in fields:
            raise InvalidImageError(
                f"{fields.where} could be read as a manifest or as an index", cause=f"it has the field {name!r}"
            )
    return said
