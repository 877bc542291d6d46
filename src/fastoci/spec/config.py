"""The config of an image: what runs and how, of which layers, made when (image-spec config.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fastoci.errors import InvalidImageError
from fastoci.spec import canonical
from fastoci.spec.digest import Digest
from fastoci.spec.fields import Fields
from fastoci.spec.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["History", "ImageConfig"]

_LAYERS = "layers"  # config.md, "rootfs": the one type there is


@dataclass(frozen=True, slots=True)
class History:
    """How one layer came to be, or a step that made none.

    Args:
        created: When, as RFC 3339 has it; None where it was not said, and so for all texts here.
        created_by: The command.
        author: Who.
        comment: Anything else.
        empty_layer: Whether the step made no layer.
        extra: Fields of the document that are not known here.
    """

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Return the step in an object of a config.

        Raises:
            InvalidImageError: A field is of another type.
        """
        return cls(
            created=fields.text("created"),
            created_by=fields.text("created_by"),
            author=fields.text("author"),
            comment=fields.text("comment"),
            empty_layer=fields.flag("empty_layer"),
            extra=fields.rest(),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the object that a config has for this."""
        said = {
            "created": self.created,
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
            "empty_layer": self.empty_layer or None,
        }
        return {**self.extra, **_present(said)}


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The config of an image. A text that is None is left out, as are an empty `env`, set or mapping.

    Args:
        platform: What the image is for.
        author: Who is responsible for it.
        created: When it was made, as RFC 3339 has it.
        env: `NAME=VALUE`, in order.
        entrypoint: The words that a container starts with; None for none, which an empty tuple says too, aloud.
        cmd: The words after these where the caller names no others; None and empty as above.
        working_dir: The directory it starts in.
        user: `USER[:GROUP]`.
        exposed_ports: As `80/tcp`.
        volumes: Paths.
        labels: Arbitrary texts by name.
        stop_signal: As `SIGTERM`.
        diff_ids: The digests of the layers' tar streams, lowest first.
        history: How they came to be, lowest first.
        extra: Fields of the document that are not known here.
        config_extra: Fields of its `config` that are not known here, such as docker's `Healthcheck`.
        rootfs_extra: Fields of its `rootfs` that are not known here.
    """

    platform: Platform
    author: str | None = None
    created: str | None = None
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str | None = None
    user: str | None = None
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    stop_signal: str | None = None
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    config_extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    rootfs_extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_json(cls, obj: object, where: str = "the config") -> Self:
        """Return the config that `obj` says.

        Args:
            obj: What `json` made of it.
            where: What to call it in an error.

        Raises:
            InvalidImageError: A field is missing or of another type.
        """
        fields = Fields(obj, where)
        config = fields.object("config") or Fields({}, where)
        rootfs = fields.required_object("rootfs")
        if rootfs.required_text("type") != _LAYERS:
            raise rootfs.error("type", f"is not {_LAYERS!r}")
        return cls(
            platform=Platform(
                os=fields.required_text("os"),
                architecture=fields.required_text("architecture"),
                variant=fields.text("variant") or None,
                os_version=fields.text("os.version") or None,
                os_features=fields.texts("os.features") or (),
            ),
            author=fields.text("author"),
            created=fields.text("created"),
            env=config.texts("Env") or (),
            entrypoint=config.texts("Entrypoint"),
            cmd=config.texts("Cmd"),
            working_dir=config.text("WorkingDir"),
            user=config.text("User"),
            exposed_ports=config.key_set("ExposedPorts") or (),
            volumes=config.key_set("Volumes") or (),
            labels=config.text_map("Labels") or {},
            stop_signal=config.text("StopSignal"),
            diff_ids=_diff_ids(rootfs),
            history=tuple(History.from_fields(step) for step in fields.objects("history")),
            extra=fields.rest(),
            config_extra=config.rest(),
            rootfs_extra=rootfs.rest(),
        )

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "the config") -> Self:
        """Return the config in a blob; see `from_json`, and `canonical.loads` for what else may be wrong."""
        return cls.from_json(canonical.loads(data, what), what)

    def to_json(self) -> dict[str, Any]:
        """Return the document as an object."""
        config: dict[str, Any] = {
            "Env": list(self.env) or None,
            "Entrypoint": None if self.entrypoint is None else list(self.entrypoint),
            "Cmd": None if self.cmd is None else list(self.cmd),
            "WorkingDir": self.working_dir,
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports} or None,
            "Volumes": {path: {} for path in self.volumes} or None,
            "Labels": dict(self.labels) or None,
            "StopSignal": self.stop_signal,
        }
        said = {
            "author": self.author,
            "created": self.created,
            "history": [step.to_json() for step in self.history] or None,
        }
        return {
            **self.extra,
            **self.platform.to_json(),
            **_present(said),
            "config": {**self.config_extra, **_present(config)},
            "rootfs": {**self.rootfs_extra, "type": _LAYERS, "diff_ids": [str(diff_id) for diff_id in self.diff_ids]},
        }

    def to_bytes(self) -> bytes:
        """Return the document as canonical JSON."""
        return canonical.dumps(self.to_json())


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _diff_ids(rootfs: Fields) -> tuple[Digest, ...]:
    digests = []
    for position, text in enumerate(rootfs.texts("diff_ids") or ()):
        try:
            digests.append(Digest.parse(text))
        except InvalidImageError as error:
            raise rootfs.error(f"diff_ids[{position}]", f"is {error}") from None
    return tuple(digests)
