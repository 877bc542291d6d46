"""Pack: one source becomes one layer blob, in a file or at a registry, with the document that says what it is.

Or what it changes of another tree does.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, BinaryIO

from fastoci.building.output import check_outside, default_output
from fastoci.building.packedlayer import document_text, layer_document
from fastoci.building.plan import BuildPlan
from fastoci.building.steps import Step
from fastoci.errors import UsageError
from fastoci.events import Sink, discard
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import PackedLayer, PlannedLayer, plan_tree
from fastoci.registry.options import RegistryOptions
from fastoci.store.faults import explained
from fastoci.store.wholefile import WholeFile
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import STDIN, TreeSource, is_tree

if TYPE_CHECKING:
    from fastoci.spec.reference import Reference

__all__ = ["pack_layer"]

_REGISTRY = "docker://"
_SUFFIXES = {"none": ".tar", "gzip": ".tar.gz", "zstd": ".tar.zst"}


def pack_layer(
    source: str | TreeSource,
    output: str | None = None,
    *,
    policy: TreePolicy | None = None,
    layer: LayerOptions | None = None,
    diff: str | None = None,
    registry: RegistryOptions | None = None,
    stdin: BinaryIO | None = None,
    sink: Sink = discard,
) -> dict[str, Any]:
    """Make one layer of one source, which `build` takes up by its document.

    Into a file the document is written beside the blob, as `FILE.json`, after it.

    Args:
        source: A directory, a tar archive or a file with a destination, as `build` takes them.
        output: A file; a directory to hold a file named after the source, made if it ends in a slash; or
            `docker://HOST/REPOSITORY`. None is the working directory.
        policy: What becomes of what the tree holds.
        layer: How the layer is made.
        diff: A directory: the layer is what the source changes of it, whiteouts of what is gone included. None: it is
            all of the source.
        registry: How a registry is reached.
        stdin: Where `-` is read from; None is this process's stdin.
        sink: Given the events of the work.

    Returns:
        The layer's document: its descriptor, with `fastoci.blob` and `fastoci.dest`, and `fastoci.diff` where it is
        what the source changes of another tree.

    Raises:
        UsageError: The arguments do not fit together.
        TreeError: The source cannot be packed.
        StoreError: The output cannot be written.
        RegistryError: The registry does not take it.
    """
    tree = TreeSource.parse(source) if isinstance(source, str) else source
    policy, options = policy or TreePolicy(), layer or LayerOptions()
    BuildPlan([tree], [], []).check(policy)
    plan = _plan(tree, policy, options, diff, sink, stdin)
    step = Step(tree.dest, diff=diff is not None)
    if output is not None and output.startswith(_REGISTRY):
        from fastoci.images.destinations import destination

        reference = destination(output)
        if reference.tag != "latest" or reference.digest is not None or output.endswith(":latest"):
            raise UsageError(f"{output}: a layer has no tag", hint=f"-o {_REGISTRY}{reference.name}")
        packed = _send(plan, reference, registry or RegistryOptions(), sink)
        return layer_document(packed, step, f"{_REGISTRY}{reference.name}")
    return _write(plan, tree, step, output, options)


def _plan(
    tree: TreeSource, policy: TreePolicy, options: LayerOptions, diff: str | None, sink: Sink, stdin: BinaryIO | None
) -> AbstractContextManager[PlannedLayer]:
    if diff is not None:
        from fastoci.building.diffbase import check_diff
        from fastoci.layer.changes import plan_changes
        from fastoci.tree.changes import TreeBase

        check_diff(diff, [tree], policy, None, has_layers=False, sink=sink)
        return plan_changes(tree, TreeBase(diff), policy, options, sink)
    if is_tree(tree):
        return plan_tree(tree, policy, options, sink)
    from fastoci.layer.tarball import plan_tar

    return plan_tar(tree, options, sink, stdin or sys.stdin.buffer if tree.path == STDIN else None)


def _send(
    plan: AbstractContextManager[PlannedLayer], reference: Reference, options: RegistryOptions, sink: Sink
) -> PackedLayer:
    from fastoci.building.onepass import LayerUploads

    with LayerUploads([reference], options, lambda _: None, sink) as uploads:
        uploads.prove()
        packed = uploads.pack(uploads.open(plan), None)
        uploads.finish()
    return packed


def _write(
    plan: AbstractContextManager[PlannedLayer], tree: TreeSource, step: Step, output: str | None, options: LayerOptions
) -> dict[str, Any]:
    path = _path(tree, output, options)
    check_outside(path, f"the output {path}", [tree], hint="name an output outside of it")
    name = os.path.basename(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{path!r} is not UTF-8, and the layer's document can hold nothing else") from None
    if output is not None and output.endswith("/"):
        with explained(f"cannot write {path}", output):
            os.makedirs(output, exist_ok=True)
    with WholeFile(path) as blob:
        with plan as planned:
            packed = planned.pack(blob)
        document = layer_document(packed, step, name)
        with WholeFile(f"{path}.json") as file:
            file.write(document_text(document).encode() + b"\n")
            blob.appear()
            file.appear()
    return document


def _path(tree: TreeSource, output: str | None, options: LayerOptions) -> str:
    if output == "-":
        raise UsageError("a layer is written to a file, not to stdout", hint="stdout gets its document")
    if output is not None and not output.endswith("/") and not os.path.isdir(output):
        return output
    default = default_output([tree]).path or ""
    name = os.path.basename(default).removesuffix(".oci") + _SUFFIXES[options.compression]
    return os.path.join(output, name) if output else name
