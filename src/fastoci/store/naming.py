"""Images by name in an index: giving a manifest its names, and finding it by them.

A name is `org.opencontainers.image.ref.name`, the tag alone as skopeo, umoci and buildah have it, and, where the name
says a repository, `io.containerd.image.name`, the whole reference as containerd and docker have it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fastoci.errors import ImageNotFoundError, UsageError
from fastoci.spec.annotations import IMAGE_NAME, REF_NAME
from fastoci.spec.imagename import is_ref_name
from fastoci.spec.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.index import Index

__all__ = ["ImageTag", "find_by_tag", "name_manifest", "names_of"]

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ImageTag:
    """One name that an image gets in an index.

    Args:
        tag: The value of ref.name.
        name: The whole reference; None where only a tag was said.
    """

    tag: str
    name: str | None

    @classmethod
    def parse(cls, text: str) -> ImageTag:
        """Return what `text` names: a reference if there is a slash or a colon in it, else a tag.

        Raises:
            UsageError: It is neither.
        """
        if "@" in text:
            raise UsageError(f"not a name for an image: {text!r}", cause="a name with a digest cannot be given")
        if "/" in text or ":" in text:
            reference = Reference.parse(text)
            return cls(reference.tag or "latest", str(reference))
        if not is_ref_name(text):
            raise UsageError(f"not a name for an image: {text!r}", hint="a tag, or REPOSITORY:TAG")
        return cls(text, None)


def name_manifest(index: Index, descriptor: Descriptor, names: Sequence[str]) -> Index:
    """Return the index with an entry for each name; what had the name before loses its entry.

    Two names with one tag (`a:1`, `b:1`) are one tag to readers of ref.name, who take a second entry for an
    ambiguity: the first gets the tag, the second its io.containerd.image.name alone. No names make one entry without.

    Args:
        index: The index as it is; entries that are not concerned stay as they are.
        descriptor: Of the manifest.
        names: Tags, or references with a repository.

    Raises:
        UsageError: A name is none.
    """
    tags = list(dict.fromkeys(ImageTag.parse(name) for name in names))
    entries: list[Descriptor] = []
    taken: set[str] = set()
    for tag in tags:
        annotations = {REF_NAME: None if tag.tag in taken else tag.tag, IMAGE_NAME: tag.name}
        if any(annotations.values()):
            entries.append(descriptor.annotated(**annotations))
        taken.add(tag.tag)
    full_names = {tag.name for tag in tags if tag.name is not None}

    def stays(entry: Descriptor) -> bool:
        if entry.annotation(REF_NAME) in taken or entry.annotation(IMAGE_NAME) in full_names:
            return False
        # One without a name has done its service when the same manifest has one.
        return not (entries and entry.digest == descriptor.digest and not names_of([entry]))

    kept = [entry for entry in index.manifests if stays(entry)]
    if not tags and all(entry.digest != descriptor.digest for entry in kept):
        entries = [descriptor.annotated(**{REF_NAME: None, IMAGE_NAME: None})]
    return replace(index, manifests=(*kept, *entries))


def names_of(entries: Iterable[Descriptor]) -> list[str]:
    """Return the names by which entries of an index can be asked for, each once, in order."""
    found = (entry.annotation(REF_NAME) or entry.annotation(IMAGE_NAME) for entry in entries)
    return list(dict.fromkeys(name for name in found if name))


def find_by_tag(index: Index, tag: str | None, path: str) -> Descriptor:
    """Return the entry that a tag means, or the one image there is where none is given.

    Args:
        index: Of the layout or archive.
        tag: The value of ref.name, or a reference as in io.containerd.image.name; None where the user gave none.
        path: Of the layout or archive, for messages.

    Raises:
        ImageNotFoundError: No image has that tag, or several could be meant.
    """
    entries = index.manifests
    if tag is not None:
        entries = tuple(entry for entry in entries if entry.annotation(REF_NAME) == tag) or _by_name(index, tag)
    digests: dict[Digest, Descriptor] = {}
    for entry in entries:
        digests.setdefault(entry.digest, entry)
    if len(digests) == 1:
        return next(iter(digests.values()))
    if not index.manifests:
        raise ImageNotFoundError(f"there is no image in {path}", path=path, hint="build one into it")
    if not digests:
        raise ImageNotFoundError(
            f"there is no image {tag!r} in {path}", path=path, cause=_what_there_is(index.manifests)
        )
    asked = "several images" if tag is None else f"several images {tag!r}"
    raise ImageNotFoundError(
        f"there are {asked} in {path}",
        path=path,
        cause=_what_there_is(entries),
        hint="say which: PATH:TAG or PATH@DIGEST",
    )


def _by_name(index: Index, text: str) -> tuple[Descriptor, ...]:
    try:
        name = str(Reference.parse(text))
    except UsageError:
        return ()
    return tuple(entry for entry in index.manifests if entry.annotation(IMAGE_NAME) == name)


def _what_there_is(entries: Sequence[Descriptor]) -> str:
    labels = [entry.annotation(REF_NAME) or entry.annotation(IMAGE_NAME) or str(entry.digest) for entry in entries]
    if len(set(labels)) == 1:
        labels = [str(entry.digest) for entry in entries] if len(entries) > 1 else labels
    labels = list(dict.fromkeys(labels))
    more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
    return f"what is there: {', '.join(labels[:_SHOWN])}{more}"
