"""Rebase: the layers of an image on another base, without building it again.

The new config is what a build on the new base would have made of the same options. What the image says otherwise than
its old base, or the old base not at all, was said by whoever built it, and stays; all else is the new base's. What was
said and happened to be what the old base said already cannot be told from what was not said.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from fastoci.building.base import BaseImage, open_base
from fastoci.copy import CopiedImage, put
from fastoci.errors import InvalidImageError, UsageError
from fastoci.events import Sink, discard
from fastoci.images.composed import ComposedImage
from fastoci.images.inplace import place_of, read_image
from fastoci.images.source import ImageSource, named_hosts, open_image, options_for
from fastoci.registry.options import RegistryOptions
from fastoci.spec import mediatypes
from fastoci.spec.annotations import BASE_DIGEST, BASE_NAME
from fastoci.spec.config import History, ImageConfig
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.imagename import ImageName
from fastoci.spec.manifest import Manifest
from fastoci.spec.reference import Reference, is_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["rebase", "rebased"]

T = TypeVar("T")


def rebase(
    image: str | ImageName,
    new_base: str | ImageName | None = None,
    options: RegistryOptions | None = None,
    *,
    old_base: str | ImageName | None = None,
    tag: str | None = None,
    sink: Sink = discard,
) -> CopiedImage:
    """Put an image's own layers on another base, where it stands: its tag means the new image then.

    Args:
        image: The image.
        new_base: The base it gets; None is what its annotations call its base by name, as that is now.
        options: How registries are reached.
        old_base: The base it has; None is what its annotations say, by digest.
        tag: The tag of the new image; None moves that of the old one.
        sink: Given the events of the work.

    Raises:
        UsageError: The image is an index or in an archive, or does not say what its base is.
        ImageNotFoundError: One of the images is not there.
        InvalidImageError: One of them is not valid, or the image does not begin with the layers of its old base.
        RegistryError: A registry could not be reached, or does not take the image.
        StoreError: The layout cannot be written.
    """
    options = options or RegistryOptions()
    if tag is not None and not is_tag(tag):
        raise UsageError(f"not a tag: {tag!r}")
    with ExitStack() as stack:
        source = stack.enter_context(open_image(image, options, sink))
        found = source.resolve()
        manifest, config = _read(source, found)
        annotations = manifest.annotations or {}
        wanted = _named_base(source, annotations) if new_base is None else new_base
        beneath = _noted_base(source, annotations) if old_base is None else old_base

        hosts = named_hosts(image, new_base, old_base)

        def base(name: str | ImageName) -> BaseImage:
            reached = options_for(name, options, hosts)
            return open_base(name, config.platform, reached, sink, stack)

        old, new = base(beneath), base(wanted)
        _check(source, config, old, new)
        own = tuple(
            replace(layer, media_type=mediatypes.oci_layer(layer.media_type))
            for layer in manifest.layers[len(old.layers) :]
        )
        data = rebased(config, old.config, new.config).to_bytes()
        config_descriptor = Descriptor.of(mediatypes.OCI_CONFIG, data)
        kept = {name: value for name, value in annotations.items() if name not in (BASE_DIGEST, BASE_NAME)}
        document = Manifest(
            config=config_descriptor,
            layers=(*new.layers, *own),
            annotations={**new.annotations, **kept},
            subject=manifest.subject,
            extra=manifest.extra,
        ).to_bytes()
        top = Descriptor.of(mediatypes.OCI_MANIFEST, document)
        parts: dict[Digest, ImageSource] = dict.fromkeys((layer.digest for layer in own), source)
        parts |= dict.fromkeys((layer.digest for layer in new.layers), new.source)
        target, names = place_of(source, found, tag, top.digest)
        composed = ComposedImage(source.name, top, {config_descriptor.digest: data, top.digest: document}, parts)
        return put(composed, top, target, options, names=names, sink=sink)


def rebased(config: ImageConfig, old: ImageConfig, new: ImageConfig) -> ImageConfig:
    """Return the config of an image whose layers were put on another base.

    Args:
        config: The image's, which begins with the layers of `old`.
        old: Its base's, as `inherited` has it.
        new: That of the base it gets, as `inherited` has it.
    """
    words = (config.entrypoint, config.cmd)
    entrypoint, cmd = (new.entrypoint, new.cmd) if words == (old.entrypoint, old.cmd) else words
    return replace(
        new,
        created=config.created,
        author=_one(config.author, old.author, new.author),
        platform=new.platform,
        env=_variables(config.env, old.env, new.env),
        entrypoint=entrypoint,
        cmd=cmd,
        working_dir=_one(config.working_dir, old.working_dir, new.working_dir),
        user=_one(config.user, old.user, new.user),
        exposed_ports=_set(config.exposed_ports, old.exposed_ports, new.exposed_ports),
        volumes=_set(config.volumes, old.volumes, new.volumes),
        labels=_mapping(config.labels, old.labels, new.labels),
        stop_signal=_one(config.stop_signal, old.stop_signal, new.stop_signal),
        diff_ids=(*new.diff_ids, *config.diff_ids[len(old.diff_ids) :]),
        history=(*new.history, *_own_history(config, old)),
        extra=_mapping(config.extra, old.extra, new.extra),
        config_extra=_mapping(config.config_extra, old.config_extra, new.config_extra),
        rootfs_extra=_mapping(config.rootfs_extra, old.rootfs_extra, new.rootfs_extra),
    )


def _read(source: ImageSource, found: Descriptor) -> tuple[Manifest, ImageConfig]:
    manifest, config = read_image(source, found, "base")
    if len(config.diff_ids) != len(manifest.layers):
        raise InvalidImageError(
            f"{source.name} is not valid",
            cause=f"its config has {len(config.diff_ids)} diff_ids, its manifest {len(manifest.layers)} layers",
            digest=str(manifest.config.digest),
        )
    return manifest, config


def _named_base(source: ImageSource, annotations: Mapping[str, str]) -> ImageName:
    if not annotations.get(BASE_NAME):
        raise UsageError(
            f"{source.name} does not say what its base is called",
            cause=f"it has no annotation {BASE_NAME}",
            hint="--new-base IMAGE",
        )
    reference = Reference.parse(annotations[BASE_NAME])
    return ImageName("docker", reference.name, reference.tag)


def _noted_base(source: ImageSource, annotations: Mapping[str, str]) -> ImageName:
    if not annotations.get(BASE_NAME) or not annotations.get(BASE_DIGEST):
        raise UsageError(
            f"{source.name} does not say what its base was",
            cause=f"it has not both annotations {BASE_NAME} and {BASE_DIGEST}",
            hint="--old-base IMAGE",
        )
    reference = Reference.parse(annotations[BASE_NAME])
    return ImageName("docker", reference.name, None, Digest.parse(annotations[BASE_DIGEST]))


def _check(source: ImageSource, config: ImageConfig, old: BaseImage, new: BaseImage) -> None:
    count = len(old.config.diff_ids)
    if config.diff_ids[:count] != old.config.diff_ids:
        raise InvalidImageError(
            f"{source.name} does not begin with the layers of {old.source.name}",
            cause="that is not its base",
            hint="--old-base names the base that it was built on",
        )
    if not config.platform.matches(new.config.platform):
        raise UsageError(
            f"{new.source.name} is for {new.config.platform}, and {source.name} for {config.platform}",
            hint="--new-base names one for the same platform",
        )


def _one(mine: T, old: T, new: T) -> T:
    return new if mine == old else mine


def _mapping(mine: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new base's entries, less what the image has removed, with what it has added and changed."""
    merged = {name: value for name, value in new.items() if name in mine or name not in old}
    return merged | {name: value for name, value in mine.items() if name not in old or old[name] != value}


def _set(mine: Sequence[str], old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    return tuple(_mapping(dict.fromkeys(mine), dict.fromkeys(old), dict.fromkeys(new)))


def _variables(mine: Sequence[str], old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    def by_name(entries: Sequence[str]) -> dict[str, str]:
        return {entry.partition("=")[0]: entry for entry in entries}

    return tuple(_mapping(by_name(mine), by_name(old), by_name(new)).values())


def _own_history(config: ImageConfig, old: ImageConfig) -> tuple[History, ...]:
    """Return the steps that came after the base; blank ones where the image does not tell (config.md, "history")."""
    own_layers = len(config.diff_ids) - len(old.diff_ids)
    if sum(not step.empty_layer for step in config.history) != len(config.diff_ids):
        return tuple(History(created=config.created) for _ in range(own_layers))
    # The base may tell it in other words today, as long as the same steps have made its layers.
    of_base = [step.empty_layer for step in old.history]
    if [step.empty_layer for step in config.history[: len(of_base)]] == of_base:
        return config.history[len(of_base) :]
    left = len(old.diff_ids)
    for number, step in enumerate(config.history):
        if left == 0:
            return config.history[number:]
        left -= not step.empty_layer
    return ()
