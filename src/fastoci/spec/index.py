"""Indexes: lists of manifests, of one image for several platforms or of a layout (image-spec image-index.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fastoci.spec import canonical, mediatypes
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.fields import Fields
from fastoci.spec.manifest import SCHEMA_VERSION, check_kind, said_if_any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastoci.spec.platform import Platform

__all__ = ["Index"]


@dataclass(frozen=True, slots=True)
class Index:
    """A list of manifests, in the order in which a reader should prefer them.

    Args:
        manifests: Descriptors of manifests, and of whatever else a writer put there: what is not known is kept.
        annotations: Arbitrary texts by name; None for none.
        media_type: Of this document.
        artifact_type: What kind of artifact this is.
        subject: The manifest that this one speaks about; None for none.
        extra: Fields of the document that are not known here.
    """

    manifests: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] | None = field(default=None, hash=False)
    media_type: str = mediatypes.OCI_INDEX
    artifact_type: str | None = None
    subject: Descriptor | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        media_type: str | None = None,
        what: str = "the index",
        *,
        limit: int = canonical.DOCUMENT_LIMIT,
    ) -> Self:
        """Return the index in a blob.

        Args:
            data: The blob.
            media_type: What the descriptor, or the registry, called it; None where nobody said.
            what: What to call it in an error.
            limit: The most bytes that it may have.

        Raises:
            InvalidImageError: It is not an index, or a field is missing or of another type.
        """
        fields = Fields(canonical.loads(data, what, limit=limit), what)
        media_type = check_kind(fields, media_type, mediatypes.INDEXES, foreign=("config", "layers"))
        subject = fields.object("subject")
        return cls(
            manifests=tuple(Descriptor.from_fields(entry) for entry in fields.objects("manifests", required=True)),
            annotations=fields.text_map("annotations") or None,
            media_type=media_type or mediatypes.OCI_INDEX,
            artifact_type=fields.text("artifactType") or None,
            subject=None if subject is None else Descriptor.from_fields(subject),
            extra=fields.rest(),
        )

    def for_platform(self, platform: Platform) -> Descriptor | None:
        """Return the first manifest or index that is for `platform`, None where there is none."""
        return next(
            (entry for entry in self.manifests if entry.platform is not None and platform.matches(entry.platform)), None
        )

    def to_json(self) -> dict[str, Any]:
        """Return the document as an object."""
        return {
            **self.extra,
            "schemaVersion": SCHEMA_VERSION,
            "mediaType": self.media_type,
            "manifests": [entry.to_json() for entry in self.manifests],
            **said_if_any(self),
        }

    def to_bytes(self) -> bytes:
        """Return the document as canonical JSON."""
        return canonical.dumps(self.to_json())
