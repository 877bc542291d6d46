"""Build: trees, files and tar archives become the layers of one image, which goes to every destination asked for.

Each tree is packed once. The first layout among the destinations takes the layers as they are made (a private one
where there is none), and the other destinations are given copies.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Literal

from fastoci.building.config import ConfigOptions, make_config
from fastoci.building.output import STDOUT, Output
from fastoci.building.packing import Packing
from fastoci.building.plan import BuildPlan
from fastoci.building.targets import NewImage, Target, copy_layers, layout_of, open_targets
from fastoci.ending import EndingStack
from fastoci.errors import UsageError
from fastoci.events import Sink, discard
from fastoci.images.composed import ComposedImage
from fastoci.images.source import ImageSource, StoredImage, named_hosts
from fastoci.layer.options import LayerOptions, Split
from fastoci.layer.pack import PackedLayer
from fastoci.registry.options import RegistryOptions
from fastoci.spec import mediatypes
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.imagename import ImageName
from fastoci.spec.manifest import Manifest
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from fastoci.building.base import BaseImage
    from fastoci.building.onepass import LayerUploads, Sent
    from fastoci.building.packedlayer import FinishedLayer
    from fastoci.building.removals import Removals
    from fastoci.tree.changes import DiffBase

__all__ = ["BuildResult", "ConfigOptions", "build"]

DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True)
class BuildResult:
    """An image that was built.

    Attributes:
        manifest: Descriptor of its manifest.
        config: Descriptor of its config, whose digest is docker's image ID.
        layers: What became of each source, after the layer of what was taken away if there is one; of one that was
            split its layers, lowest first.
        references: The names it was given, whole (`docker.io/library/base:1`).
        names: One for each destination, in order, in a form that fastoci reads; none for stdout.
        timings: Seconds by stage.
    """

    manifest: Descriptor
    config: Descriptor
    layers: tuple[PackedLayer, ...]
    references: tuple[str, ...]
    names: tuple[str, ...]
    timings: Mapping[str, float]

    @property
    def digest(self) -> Digest:
        """The digest of the manifest: what a registry knows the image by."""
        return self.manifest.digest


def build(
    sources: Sequence[str | TreeSource],
    *,
    tags: Sequence[str] = (),
    outputs: Sequence[str | Output] = (),
    push: bool = False,
    load: bool | str = False,
    config: ConfigOptions | None = None,
    policy: TreePolicy | None = None,
    layer: LayerOptions | None = None,
    registry: RegistryOptions | None = None,
    source_date_epoch: int | None = None,
    base: str | ImageName | None = None,
    packed: Sequence[str] = (),
    removals: Removals | None = None,
    diff: str | Literal[True] | None = None,
    split: Split | None = None,
    by_digest: bool = False,
    mount_from: str | None = None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
    sink: Sink = discard,
) -> BuildResult:
    """Make one image of the sources, one layer each or several, lowest first.

    Args:
        sources: Directories, tar archives, and files with a destination, `SRC[:/DEST]`; `-` is a tar archive on stdin.
        tags: References for the image.
        outputs: Destinations as `-o` has them; without any, and without `push` and `load`, `./NAME.oci`.
        push: Whether the image goes to the registries that the tags name.
        load: Whether it goes into the container engine on this machine; a string says into which.
        config: What the image says of itself.
        policy: What becomes of what the trees hold.
        layer: How layers are made.
        registry: How registries are reached.
        source_date_epoch: Seconds since 1970: the time of creation, and the limit of modification times. None: neither.
        base: The image beneath, of any transport; None starts from nothing.
        packed: Documents of layers that `pack_layer` made, to stand between the base and the sources, lowest first.
        removals: What of all these the image has not, in a layer of its own beneath those of the sources.
        diff: A directory: the layer of the one source is what this changes of it, whiteouts of what is gone included.
            True: what it changes of the layers below. None: it is all of the source.
        split: How each tree is spread over several layers, which are packed and sent at once; None: each is one.
        by_digest: Whether what is pushed gets no tag.
        mount_from: A repository at the registry that may have some of the blobs.
        stdin: Where `-` is read from; None is this process's stdin.
        stdout: Where the output `-` goes; None is this process's stdout.
        sink: Given the events of the work.

    Returns:
        What was built, and where it is.

    Raises:
        UsageError: The arguments do not fit together.
        AccessDeniedError: A registry does not let the image in; nothing has been read then.
        TreeError: A source cannot be packed.
        StoreError: A destination cannot be written.
        RegistryError: A registry could not be reached, or did not take the image.
        EngineError: No engine was found, or it did not take the image.
    """
    plan = BuildPlan.make(sources, tags, outputs, push=push, load=load, has_layers=bool(packed or removals))
    if removals and base is None and not packed:
        raise UsageError("nothing to take away from", cause="there is no layer below", hint="--from IMAGE")
    policy = policy or TreePolicy()
    if source_date_epoch is not None:
        policy = replace(policy, mtime_limit=source_date_epoch)
    plan.check(policy)
    if diff is not None:
        from fastoci.building.diffbase import check_diff

        has_layers = bool(base is not None or packed)
        check_diff(diff, plan.sources, policy, removals, has_layers=has_layers, sink=sink)
    upload = _Upload(registry or RegistryOptions(), by_digest, mount_from)
    if split is not None:
        plan.check_split(has_diff=diff is not None)
    layer = layer or LayerOptions()
    work = _Build(plan, config or ConfigOptions(), policy, layer, split, upload, removals, diff, sink)
    return work.run(source_date_epoch, base, packed, stdin, stdout)


@dataclass(frozen=True, slots=True)
class _Upload:
    """How the image goes to registries; see `push`."""

    options: RegistryOptions
    by_digest: bool
    mount_from: str | None


class _Build:
    """The work of one build, stage by stage."""

    def __init__(
        self,
        plan: BuildPlan,
        config: ConfigOptions,
        policy: TreePolicy,
        layer: LayerOptions,
        split: Split | None,
        upload: _Upload,
        removals: Removals | None,
        diff: str | Literal[True] | None,
        sink: Sink,
    ) -> None:
        self._plan = plan
        self._config = config
        self._policy = policy
        self._layer = layer
        self._split = split
        self._upload = upload
        self._removals = removals
        self._diff = diff
        self._sink = sink
        self._timings: dict[str, float] = {}
        self._base: BaseImage | None = None
        self._finished: list[FinishedLayer] = []

    def run(
        self,
        epoch: int | None,
        base: str | ImageName | None,
        packed: Sequence[str],
        stdin: BinaryIO | None,
        stdout: BinaryIO | None,
    ) -> BuildResult:
        with EndingStack() as stack, self._timed("total"):
            with self._timed("check"):
                uploads = self._prove_push(stack)
                self._find_engines()
                if base is not None:
                    self._base = self._open_base(base, stack)
                self._finished = self._open_finished(packed, base, stack)
            targets = open_targets(self._plan.outputs, self._plan.sources, stack, stdout)
            primary = targets[0][1]
            with self._timed("pack"):
                packing = Packing(
                    self._plan,
                    self._policy,
                    self._layer,
                    primary,
                    uploads,
                    stdin,
                    self._sink,
                    diff=self._open_diff(),
                    split=self._split,
                )
                made = tuple(packing.run(self._below(), self._removals))
            image, config = self._describe(made, epoch)
            with self._timed("write"):
                self._write(targets, image)
            sent = None
            if uploads is not None:
                with self._timed("push"):
                    sent = uploads.finish()
            names = self._deliver(primary, image, sent)
        return BuildResult(
            manifest=image.manifest,
            config=config,
            layers=tuple(packed for _, packed in made),
            references=tuple(map(str, self._plan.references)),
            names=tuple(dict.fromkeys(names)),
            timings=self._timings,
        )

    def _prove_push(self, stack: ExitStack) -> LayerUploads | None:
        """Make sure that every registry would take the image; return what sends it the layers while they are packed."""
        if not self._plan.pushes:
            return None
        from fastoci.building.onepass import LayerUploads
        from fastoci.images.destinations import Mount

        mount = None if self._upload.mount_from is None else Mount.parse(self._upload.mount_from)
        uploads = stack.enter_context(
            LayerUploads(
                self._plan.pushes,
                self._upload.options,
                lambda host: None if mount is None else mount.at(host),
                self._sink,
            )
        )
        uploads.prove()
        return uploads

    def _open_base(self, image: str | ImageName, stack: ExitStack) -> BaseImage:
        from fastoci.building.base import open_base

        hosts = {reference.host for reference in self._plan.pushes}
        return open_base(image, self._config.platform, self._upload.options, self._sink, stack, login_hosts=hosts)

    def _open_finished(
        self, paths: Sequence[str], base: str | ImageName | None, stack: ExitStack
    ) -> list[FinishedLayer]:
        if not paths:
            return []
        from fastoci.building.packedlayer import open_layer

        hosts = named_hosts(base) | {reference.host for reference in self._plan.pushes}
        return [open_layer(path, self._upload.options, self._sink, stack, login_hosts=hosts) for path in paths]

    def _find_engines(self) -> None:
        """Fill in which engines are meant, so that one that is missing ends the work before it begins."""
        for number, output in enumerate(self._plan.outputs):
            if output.kind == "load":
                from fastoci.load import find_engine

                self._plan.outputs[number] = replace(output, name=find_engine(output.name).name)

    def _open_diff(self) -> DiffBase | None:
        if self._diff is None:
            return None
        from fastoci.building.diffbase import diff_base

        sources: list[tuple[ImageSource, Descriptor]] = []
        if self._base is not None:
            sources += [(self._base.source, layer) for layer in self._base.layers]
        sources += [(layer.image, layer.packed.descriptor) for layer in self._finished]
        return diff_base(self._diff, sources, self._sink)

    def _below(self) -> list[PackedLayer]:
        """Return the layers beneath those that are packed here, the base's first."""
        below = list(self._base.packed) if self._base is not None else []
        return below + [layer.packed for layer in self._finished]

    def _describe(self, made: Sequence[tuple[str, PackedLayer]], epoch: int | None) -> tuple[NewImage, Descriptor]:
        """Return the image's documents and the descriptor of its config."""
        base = self._base
        made = [*((str(layer.step), layer.packed) for layer in self._finished), *made]
        steps, layers = [step for step, _ in made], [packed for _, packed in made]
        config = make_config(self._config, steps, layers, epoch, None if base is None else base.config)
        config_data = config.to_bytes()
        config_descriptor = Descriptor.of(mediatypes.OCI_CONFIG, config_data)
        descriptors = tuple(layer.descriptor for layer in layers)
        annotations = dict(self._config.annotations)
        if base is not None:
            descriptors = (*base.layers, *descriptors)
            annotations = base.annotations | annotations
        data = Manifest(config=config_descriptor, layers=descriptors, annotations=annotations or None).to_bytes()
        manifest = replace(Descriptor.of(mediatypes.OCI_MANIFEST, data), platform=config.platform)
        return NewImage(manifest, descriptors, ((config_descriptor, config_data), (manifest, data))), config_descriptor

    def _write(self, targets: Sequence[tuple[Output | None, Target]], image: NewImage) -> None:
        primary = targets[0][1]
        layers = list(image.layers)
        is_kept = any(output.kind != "registry" for output in self._plan.outputs)
        if self._base is not None:
            beneath = [layer for layer in self._base.layers if self._base.is_here(layer)]
            layers = beneath + layers[len(self._base.layers) :]
            if is_kept:
                copy_layers(self._base.source, primary, beneath)
        for finished in self._finished if is_kept else ():
            copy_layers(finished.image, primary, [finished.packed.descriptor])
        # What can fail comes first, so that the image appears everywhere or nowhere.
        for _, target in targets[1:]:
            copy_layers(StoredImage.of(layout_of(primary)), target, layers)
        for output, target in targets:
            target.finish(image, self._names_in(output))

    def _names_in(self, output: Output | None) -> list[str]:
        """Return the names that the image gets in a layout or archive: full references, or a tag alone."""
        named = [r for r in self._plan.references if output is None or output.tag in {None, r.tag}]
        return [str(reference) for reference in named] or [(output and output.tag) or DEFAULT_TAG]

    def _deliver(self, primary: Target, image: NewImage, sent: Sent | None) -> list[str]:
        """Push and load what is written, and return a line for each destination."""
        names: list[str] = []
        for output in self._plan.outputs:
            if output.kind == "registry":
                with self._timed("push"):
                    names += self._push(primary, image, output, sent)
            elif output.kind == "load":
                with self._timed("load"):
                    names.append(self._load(primary, image, output.name))
            elif output.path != STDOUT:
                tag = self._names_in(output)[0].rpartition(":")[2]
                names.append(str(ImageName(output.kind, str(output.path), tag, image.manifest.digest)))
        return names

    def _push(self, primary: Target, image: NewImage, output: Output, sent: Sent | None) -> list[str]:
        from fastoci.push import deliver

        own = StoredImage.of(layout_of(primary))
        parts: dict[Digest, ImageSource] = dict.fromkeys((layer.digest for layer in image.layers), own)
        if self._base is not None:
            parts |= dict.fromkeys((layer.digest for layer in self._base.layers), self._base.source)
        parts |= {layer.packed.descriptor.digest: layer.image for layer in self._finished}
        documents = {descriptor.digest: data for descriptor, data in image.documents}
        pushed = deliver(
            ComposedImage(own.name, image.manifest, documents, parts),
            image.manifest,
            self._plan.pushes_of(output),
            self._upload.options,
            self._sink,
            by_digest=self._upload.by_digest or output.by_digest,
            mount_from=self._upload.mount_from,
            sent=sent,
        )
        return [one.name for one in pushed]

    def _load(self, primary: Target, image: NewImage, engine: str | None) -> str:
        from fastoci.load import load

        name = ImageName("oci", layout_of(primary).path, None, image.manifest.digest)
        loaded = load(name, [str(r) for r in self._plan.references], engine=engine, sink=self._sink)
        return loaded.name

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self._timings[stage] = self._timings.get(stage, 0.0) + time.monotonic() - started
