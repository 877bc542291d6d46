"""Platforms: which system and processor an image is for (image-spec image-index.md, "platform")."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from fastoci.errors import UsageError
from fastoci.spec.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Platform"]

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+")  # containerd's platforms.specifierRe
_HINT = "as linux/amd64 or linux/arm/v7"

# containerd's normalizeArch: the names that other worlds have for Go's.
_ARCHITECTURES = {"i386": "386", "i686": "386", "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_ARM_ALIASES = {"armhf": "v7", "armel": "v6"}

# What uname says, where it is not Go's name or one of those above.
_MACHINES = {
    "i486": "386",
    "i586": "386",
    "loongarch64": "loong64",
    "armv5l": "arm/v5",
    "armv5tel": "arm/v5",
    "armv5tejl": "arm/v5",
    "armv6l": "arm/v6",
    "armv7l": "arm/v7",
    "armv7hl": "arm/v7",
    "armv8l": "arm/v7",  # a 32-bit process on a 64-bit kernel; images of 32 bits are built for v7 at most
}


@dataclass(frozen=True, slots=True)
class Platform:
    """The platform of an image.

    Args:
        os: As `linux` (Go's GOOS).
        architecture: As `amd64` (Go's GOARCH).
        variant: Of the processor, as `v7`; None where the architecture says all.
        os_version: Of the system, for Windows; None elsewhere.
        os_features: What the system must have, for Windows.
        extra: Fields of the document that are not known here.
    """

    os: str
    architecture: str
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the platform that a user means by `OS/ARCH[/VARIANT]`, in its normal form.

        Raises:
            UsageError: It is none.
        """
        parts = text.split("/")
        if not 2 <= len(parts) <= 3 or not all(_COMPONENT.fullmatch(part) for part in parts):
            raise UsageError(f"not a platform: {text!r}", hint=_HINT)
        system, architecture = parts[:2]
        return cls(system, architecture, parts[2] if len(parts) > 2 else None).normalized()

    @classmethod
    def host(cls) -> Self:
        """Return the platform of this machine, in its normal form."""
        machine = os.uname().machine
        if machine in ("mips", "mips64") and sys.byteorder == "little":
            machine += "le"
        architecture, _, variant = _MACHINES.get(machine, machine).partition("/")
        return cls("linux", architecture, variant or None).normalized()

    def normalized(self) -> Self:
        """Return the one form of all that mean the same, as containerd does: `x86_64` is `amd64`, `arm` is `arm/v7`."""
        system = self.os.lower()
        architecture = self.architecture.lower()
        variant = (self.variant or "").lower()
        architecture = _ARCHITECTURES.get(architecture, architecture)
        if architecture in _ARM_ALIASES:
            architecture, variant = "arm", _ARM_ALIASES[architecture]
        match architecture:
            case "386":
                variant = ""
            case "amd64" if variant == "v1":
                variant = ""
            case "arm64" if variant in ("8", "v8", "8.0", "v8.0"):
                variant = ""
            case "arm" if variant in ("", "7"):
                variant = "v7"
            case "arm" if variant in ("5", "6", "8"):
                variant = f"v{variant}"
        return replace(
            self,
            os="darwin" if system == "macos" else system,
            architecture=architecture,
            variant=variant or None,
        )

    def matches(self, other: Platform) -> bool:
        """Return whether an image for `other` is one for this platform: system, architecture and variant agree."""
        mine, its = self.normalized(), other.normalized()
        return (mine.os, mine.architecture, mine.variant) == (its.os, its.architecture, its.variant)

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the platform in an object of a document.

        Raises:
            InvalidImageError: A field is missing or of another type.
        """
        return cls(
            os=fields.required_text("os"),
            architecture=fields.required_text("architecture"),
            variant=fields.text("variant") or None,
            os_version=fields.text("os.version") or None,
            os_features=fields.texts("os.features") or (),
            extra=fields.rest(),
        )

    @classmethod
    def from_json(cls, obj: object, where: str = "the platform") -> Self:
        """Return the platform that `obj` says; see `from_fields`.

        Args:
            obj: What `json` made of it.
            where: What to call it in an error.
        """
        return cls.from_fields(Fields(obj, where))

    def to_json(self) -> dict[str, Any]:
        """Return the object that a document has for this."""
        obj: dict[str, Any] = {**self.extra, "architecture": self.architecture, "os": self.os}
        if self.variant is not None:
            obj["variant"] = self.variant
        if self.os_version is not None:
            obj["os.version"] = self.os_version
        if self.os_features:
            obj["os.features"] = list(self.os_features)
        return obj

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
