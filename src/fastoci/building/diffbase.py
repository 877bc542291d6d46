"""What the tree of a build is compared with: a tree as it was, or the files of the image beneath."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from fastoci.ending import ending_context
from fastoci.errors import TreeError, UsageError
from fastoci.events import CheckProgress, Sink, Throttle, Warned
from fastoci.images.recording import record_layer
from fastoci.tree.ancestors import DirectoryLookup, place
from fastoci.tree.changes import BaseTable, DiffBase, TreeBase
from fastoci.tree.recorded import RecordedTree
from fastoci.tree.source import STDIN, TreeSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastoci.building.removals import Removals
    from fastoci.images.source import ImageSource
    from fastoci.spec.descriptor import Descriptor
    from fastoci.tree.policy import TreePolicy

__all__ = ["ImageBase", "check_diff", "diff_base"]


def check_diff(
    diff: str | Literal[True],
    sources: Sequence[TreeSource],
    policy: TreePolicy,
    removals: Removals | None,
    *,
    has_layers: bool,
    sink: Sink,
) -> None:
    """Refuse a comparison that has no meaning, before anything is read.

    Args:
        diff: The base: a directory, or True for the layers below.
        sources: Of the build.
        policy: What becomes of what is found.
        removals: What the build takes away besides.
        has_layers: Whether there are layers below.
        sink: Told where the comparison is of one tree with itself.

    Raises:
        UsageError: It has none.
        TreeError: The base is no directory.
    """
    if len(sources) != 1:
        raise UsageError(f"--diff compares one source with its base, and {len(sources)} are named")
    source = sources[0]
    if source.path == STDIN or not os.path.isdir(source.path):
        raise UsageError(f"--diff compares directories, and {source.path} is none")
    if removals:
        raise UsageError(
            "--delete and --opaque do not go with --diff",
            cause="the layer takes away whatever the tree has not",
            hint="remove it from the tree",
        )
    if policy.whiteouts == "keep":
        raise UsageError(
            "--whiteouts keep does not go with --diff", cause="a tree with whiteouts is no tree that a layer can make"
        )
    if diff is True:
        if not has_layers:
            raise UsageError(
                f"nothing to compare {source.path} with",
                cause="there is no layer below",
                hint=f"--diff BASE {source.path}, or --from IMAGE --diff {source.path}",
            )
        return
    if not os.path.isdir(diff):
        cause = "it is no directory" if os.path.lexists(diff) else "there is no such directory"
        raise TreeError(
            f"cannot compare with {diff}", path=diff, cause=cause, hint="--diff BASE SRC: the base is first"
        )
    base, tree = os.path.realpath(diff), os.path.realpath(source.path)
    if base == tree:
        sink(Warned(f"{source.path} is compared with itself: its layer is empty"))
    elif os.path.commonpath([base, tree]) == tree:
        raise UsageError(
            f"the base {diff} lies inside the source {source.path}",
            cause="it would be packed as a part of that",
            hint="move it out",
        )


def diff_base(diff: str | Literal[True], layers: Sequence[tuple[ImageSource, Descriptor]], sink: Sink) -> DiffBase:
    """Return what the tree is compared with.

    Args:
        diff: See `check_diff`.
        layers: Those below, first to last, each with where it is.
        sink: Told how far the reading of layers is.
    """
    return ImageBase(layers, sink) if diff is True else TreeBase(diff)


class ImageBase:
    """The files of the layers below a build; a `DiffBase`.

    Args:
        layers: First to last, each with where it is.
        sink: Told how far the reading is.
    """

    def __init__(self, layers: Sequence[tuple[ImageSource, Descriptor]], sink: Sink) -> None:
        self._layers = layers
        self._sink = sink

    @property
    def name(self) -> str:
        """What to call it."""
        return self._layers[-1][0].name if self._layers else "the image beneath"

    @property
    def place(self) -> tuple[str, ...]:
        """Which one it is."""
        return ("layers", *(str(descriptor.digest) for _, descriptor in self._layers))

    @ending_context
    def open(self, source: TreeSource, policy: TreePolicy, earlier: Sequence[DirectoryLookup]) -> Iterator[BaseTable]:
        """Read the layers, each once, and give what they come to at the place of the source. See DiffBase."""
        tree = self._read()
        at = b"/".join(directory.name for directory in place(source, earlier, None))
        yield BaseTable(tree.finish(at, policy.patterns), self.name, recorded=True)

    def _read(self) -> RecordedTree:
        tree, throttle, done = RecordedTree(self.name), Throttle(), 0
        total = sum(descriptor.size for _, descriptor in self._layers)

        def advance(size: int) -> None:
            nonlocal done
            done += size
            if done == total or throttle.due():
                self._sink(CheckProgress(self.name, done, total))

        for image, descriptor in self._layers:
            record_layer(tree, image, descriptor, advance)
        return tree
