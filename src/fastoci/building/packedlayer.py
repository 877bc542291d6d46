"""A layer packed alone: its blob, and a document that says what it is, for a build elsewhere to take up.

The document is a descriptor (image-spec descriptor.md) with what an image's config needs to know beside it: the diff_id
in the annotation that containerd and buildkit use, the newest modification time as the time of creation, and fields of
fastoci's: where the blob is, where in the image its tree stands, and whether it is what that changes of another.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn

from fastoci.building.config import format_time
from fastoci.building.steps import Step
from fastoci.errors import ImageNotFoundError, InvalidImageError
from fastoci.images.layerfiles import BaseLayerFiles
from fastoci.images.source import ImageSource, Source, open_image, options_for
from fastoci.layer.pack import PackedLayer
from fastoci.spec import canonical, mediatypes
from fastoci.spec.annotations import CREATED
from fastoci.spec.canonical import DOCUMENT_LIMIT
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.imagename import ImageName
from fastoci.spec.reference import Reference
from fastoci.store.faults import explain, explained
from fastoci.store.reading import open_regular, wrong_size
from fastoci.store.verified import open_verified
from fastoci.tree.source import TreeSource

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import ExitStack

    from fastoci.events import Sink
    from fastoci.registry.options import RegistryOptions
    from fastoci.store.verified import Hasher, VerifiedStream

__all__ = ["FinishedLayer", "document_text", "layer_document", "open_layer"]

DIFF_ID = "containerd.io/uncompressed"
BLOB = "fastoci.blob"
DEST = "fastoci.dest"
DIFF = "fastoci.diff"

_REGISTRY = "docker://"


@dataclass(frozen=True, slots=True)
class FinishedLayer:
    """A layer that somebody has packed.

    Attributes:
        packed: What it is; of its entries nothing is known.
        step: How it came to be, for the image's history.
        image: Where its blob is.
    """

    packed: PackedLayer
    step: Step
    image: ImageSource


def layer_document(packed: PackedLayer, step: Step, place: str) -> dict[str, Any]:
    """Return the document of a layer.

    Args:
        packed: The layer.
        step: How it came to be.
        place: Where its blob is: a path relative to the document's own directory, or `docker://HOST/REPOSITORY`.
    """
    annotations = {DIFF_ID: str(packed.diff_id)}
    if packed.newest_mtime is not None:
        annotations[CREATED] = format_time(packed.newest_mtime)
    document = {**packed.descriptor.annotated(**annotations).to_json(), BLOB: place, DEST: step.dest}
    return {**document, DIFF: True} if step.diff else document


def open_layer(
    path: str, options: RegistryOptions, sink: Sink, stack: ExitStack, *, login_hosts: Collection[str] = ()
) -> FinishedLayer:
    """Read a layer's document, and make sure that its blob is there where that is a file.

    Args:
        path: Of the document.
        options: How a registry is reached.
        sink: Told where a layer cannot be looked into.
        stack: Whose end closes it.
        login_hosts: See `open_base`.

    Raises:
        ImageNotFoundError: There is no such document, or no such blob.
        InvalidImageError: It is no document of a layer, or its blob has another size.
        StoreError: One of them cannot be read.
    """
    with explained(f"cannot read {path}", path), open_regular(Path(path)) as file:
        data = file.read(DOCUMENT_LIMIT + 1)
    found = Descriptor.from_json(canonical.loads(data, path), path)
    if found.media_type not in mediatypes.LAYERS:
        _refuse(path, f"its media type is {found.media_type[:100]!r}")
    diff_id, place, dest = found.annotation(DIFF_ID), found.extra.get(BLOB), found.extra.get(DEST, "/")
    if diff_id is None:
        _refuse(path, f"the annotation {DIFF_ID} is missing")
    if not isinstance(place, str) or not place or "\0" in place:
        _refuse(path, f"{BLOB} does not say where the blob is")
    if not isinstance(dest, str):
        _refuse(path, f"{DEST} is no path")
    diff = found.extra.get(DIFF, False)
    if not isinstance(diff, bool):
        _refuse(path, f"{DIFF} is neither true nor false")
    descriptor = Descriptor(mediatypes.oci_layer(found.media_type), found.digest, found.size)
    if place.startswith(_REGISTRY):
        reference = Reference.parse(place.removeprefix(_REGISTRY), default_tag=None)
        name = ImageName("docker", reference.name, None, found.digest)
        image: ImageSource = open_image(name, options_for(name, options, login_hosts), sink)
    else:
        image = _LayerFile(os.path.join(os.path.dirname(path), place), path)
        image.open_blob(descriptor).close()  # says what is wrong with it, if something is
    stack.enter_context(image)
    packed = PackedLayer(
        descriptor,
        Digest.parse(diff_id),
        0,
        0,
        _seconds(found.annotation(CREATED), path),
        None,
        BaseLayerFiles(image, descriptor, sink),
    )
    return FinishedLayer(packed, Step(TreeSource.parse(f"{path}:{dest}").dest, diff), image)


def document_text(document: dict[str, Any]) -> str:
    """Return a layer's document as it stands in a file and on stdout."""
    return json.dumps(document, ensure_ascii=True, indent=2)


class _LayerFile(Source):
    """A file that is one layer's blob, read as if it were an image of which nothing else is there.

    Args:
        path: The file.
        document: The path of the document that speaks of it.
    """

    def __init__(self, path: str, document: str) -> None:
        self.path = path
        self._document = document

    @property
    def name(self) -> str:
        """What to call it."""
        return self.path

    @property
    def place(self) -> Literal["layout", "archive", "registry"]:
        """Where it is kept."""
        return "layout"

    def resolve(self) -> Descriptor:
        """There is no manifest."""
        raise self._missing("manifest")

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        """There is no manifest."""
        raise self._missing(str(descriptor.digest))

    def read_blob(self, descriptor: Descriptor) -> bytes:
        """There is no document."""
        raise self._missing(str(descriptor.digest))

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """Return the file, which has the size that its descriptor says; its digest is not checked."""
        try:
            stream = open_regular(Path(self.path))
        except OSError as error:
            what = f"cannot read {self.path}, the blob that {self._document} speaks of"
            raise explain(error, what, self.path) from error
        size = os.fstat(stream.fileno()).st_size
        if size != descriptor.size:
            stream.close()
            raise wrong_size(descriptor.digest, self.path, size, descriptor.size)
        return stream

    def open_verified(self, descriptor: Descriptor, offset: int = 0, hasher: Hasher | None = None) -> VerifiedStream:
        """Return its bytes from an offset on; the end of wrong ones is an error."""
        return open_verified(self.open_blob(descriptor), descriptor, self.path, offset, hasher)

    def has_blob(self, digest: Digest, size: int | None = None) -> bool:  # noqa: ARG002 - its document was believed
        """Return whether the file is there, and of that size where one is given."""
        try:
            found = os.stat(self.path).st_size
        except OSError:
            return False
        return size in (None, found)

    def _missing(self, what: str) -> ImageNotFoundError:
        return ImageNotFoundError(f"there is no {what} in {self.path}", path=self.path, cause="it is a layer alone")


def _seconds(created: str | None, path: str) -> int | None:
    if created is None:
        return None
    try:
        moment = datetime.fromisoformat(created)
        return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() // 1)
    except (ValueError, OverflowError) as error:
        raise InvalidImageError(f"{path} is no layer's document", cause=f"{created[:40]!r} is no time") from error


def _refuse(path: str, cause: str) -> NoReturn:
    raise InvalidImageError(f"{path} is no layer's document", cause=cause, hint="fastoci layer pack writes them")
