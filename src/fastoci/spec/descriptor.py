"""Descriptors: what a blob is, its digest and its size (image-spec descriptor.md)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from fastoci.spec.digest import Digest
from fastoci.spec.fields import Fields
from fastoci.spec.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Descriptor"]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob as another document points at it.

    Args:
        media_type: What the bytes are.
        digest: Of the bytes.
        size: How many bytes.
        annotations: Arbitrary texts by name; None for none.
        platform: What an image is for; only on the descriptors of an index.
        artifact_type: What kind of artifact the manifest described is.
        urls: Where else the bytes are.
        data: The bytes themselves, embedded; None where they are not. They are checked against size and digest.
        extra: Fields of the document that are not known here.
    """

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] | None = field(default=None, hash=False)
    platform: Platform | None = field(default=None)
    artifact_type: str | None = None
    urls: tuple[str, ...] = ()
    data: bytes | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def of(cls, media_type: str, data: bytes) -> Self:
        """Return the descriptor of `data`."""
        return cls(media_type, Digest.of(data), len(data))

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the descriptor in an object of a document.

        Raises:
            InvalidImageError: A field is missing or of another type, or embedded data is not what it should be.
        """
        platform = fields.object("platform")
        if platform is not None and not (platform.text("os") or platform.text("architecture")):
            platform = None  # go-containerregistry's empty value, which says nothing
        digest = fields.required_digest("digest")
        size = fields.required_size("size")
        return cls(
            media_type=fields.required_text("mediaType"),
            digest=digest,
            size=size,
            annotations=fields.text_map("annotations") or None,
            platform=None if platform is None else Platform.from_fields(platform),
            artifact_type=fields.text("artifactType") or None,
            urls=fields.texts("urls") or (),
            data=_data(fields, digest, size),
            extra=fields.rest(),
        )

    @classmethod
    def from_json(cls, obj: object, where: str = "the descriptor") -> Self:
        """Return the descriptor that `obj` says; see `from_fields`.

        Args:
            obj: What `json` made of it.
            where: What to call it in an error.
        """
        return cls.from_fields(Fields(obj, where))

    def to_json(self) -> dict[str, Any]:
        """Return the object that a document has for this."""
        obj: dict[str, Any] = {
            **self.extra,
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.annotations:
            obj["annotations"] = dict(self.annotations)
        if self.platform is not None:
            obj["platform"] = self.platform.to_json()
        if self.artifact_type is not None:
            obj["artifactType"] = self.artifact_type
        if self.urls:
            obj["urls"] = list(self.urls)
        if self.data is not None:
            obj["data"] = base64.b64encode(self.data).decode()
        return obj

    def annotation(self, name: str) -> str | None:
        """Return the annotation `name`, None where there is none."""
        return self.annotations.get(name) if self.annotations else None

    def annotated(self, **changes: str | None) -> Self:
        """Return this with annotations set, or removed where None. Call it with `**{name: value}`."""
        annotations = {name: value for name, value in (self.annotations or {}).items() if name not in changes}
        annotations |= {name: value for name, value in changes.items() if value is not None}
        return replace(self, annotations=annotations or None)


def _data(fields: Fields, digest: Digest, size: int) -> bytes | None:
    """Return embedded data; descriptor.md: a reader must check it against digest and size before use."""
    text = fields.text("data")
    if text is None:
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise fields.error("data", "is not base64") from None
    if len(data) != size or (digest.is_supported and not digest.matches(data)):
        raise fields.error("data", "does not have the digest and size beside it")
    return data
