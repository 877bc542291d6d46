"""What a build is asked to do, checked as a whole before anything is read, written or sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastoci.building.output import STDOUT, Output, check_outside, default_output
from fastoci.errors import TreeError, UsageError
from fastoci.spec.reference import Reference
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import STDIN, TreeSource, is_tree

__all__ = ["BuildPlan"]


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The sources and destinations of a build.

    Attributes:
        sources: One for each layer, lowest first.
        references: The names of the image.
        outputs: Where it goes; never empty.
    """

    sources: list[TreeSource]
    references: list[Reference]
    outputs: list[Output]

    @classmethod
    def make(
        cls,
        sources: Sequence[str | TreeSource],
        tags: Sequence[str],
        outputs: Sequence[str | Output],
        *,
        push: bool,
        load: bool | str,
        has_layers: bool = False,
    ) -> BuildPlan:
        """Return the plan that these arguments of `build` make.

        Raises:
            UsageError: One of them cannot be read.
        """
        trees = [TreeSource.parse(source) if isinstance(source, str) else source for source in sources]
        if not trees and not has_layers:
            raise UsageError("nothing to build from", hint="name a directory or a tar archive")
        wanted = [Output.parse(output) if isinstance(output, str) else output for output in outputs]
        if push:
            wanted.append(Output("registry"))
        if load:
            wanted.append(Output("load", name=None if load is True else load))
        if not trees and not wanted:
            raise UsageError("no name for the output: there is no source", hint="name one: -o oci:DIR")
        return cls(trees, list(dict.fromkeys(map(_tag, tags))), wanted or [default_output(trees)])

    def check(self, policy: TreePolicy) -> None:
        """Refuse what cannot be done.

        Raises:
            UsageError: Parts of the plan exclude each other.
            TreeError: A source is not there.
        """
        if sum(source.path == STDIN for source in self.sources) > 1:
            raise UsageError("stdin can be read only once, and `-` is named twice")
        if sum(output.path == STDOUT for output in self.outputs) > 1:
            raise UsageError("two outputs on stdout would be one after the other")
        for source in self.sources:
            _check_source(source, policy)
        for output in self.outputs:
            if output.path is not None and output.path != STDOUT:
                check_outside(output.path, f"the output {output.path}", self.sources)
        if any(output.kind == "registry" for output in self.outputs):
            self._check_push()

    def check_split(self, *, has_diff: bool) -> None:
        """Refuse to split what is no tree.

        Args:
            has_diff: Whether the layer is what a tree changes of another.

        Raises:
            UsageError: So it is, or a source is a tar archive, or there is none.
        """
        if has_diff:
            raise UsageError("what a tree changes is one layer: --split does not go with --diff")
        for source in self.sources:
            if not is_tree(source):
                name = "stdin" if source.path == STDIN else source.path
                raise UsageError(
                    f"{name} is a tar archive, which keeps its bytes, and cannot be split",
                    hint="leave --split out, or name a directory",
                )
        if not self.sources:
            raise UsageError("nothing to split", cause="there is no source", hint="leave --split out")

    def _check_push(self) -> None:
        if not self.pushes:
            raise UsageError("nowhere to push to", hint="name the image: -t REGISTRY/REPOSITORY:TAG")
        for reference in self.pushes:
            if not reference.explicit_host:
                raise UsageError(
                    f"a push to {reference.name} wants the registry spelled out",
                    hint=f"-t {reference}, if that is meant",
                )

    @property
    def pushes(self) -> list[Reference]:
        """What the image is pushed as, each once."""
        return list(dict.fromkeys(reference for output in self.outputs for reference in self.pushes_of(output)))

    def pushes_of(self, output: Output) -> list[Reference]:
        """Return what one output pushes the image as."""
        if output.kind != "registry":
            return []
        return self.references if output.name is None else [_tag(output.name)]


def _tag(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise UsageError(f"{text}: the digest of an image is not known before it is built", hint="leave it out")
    return reference


def _check_source(source: TreeSource, policy: TreePolicy) -> None:
    if source.path != STDIN:
        try:
            os.stat(source.path)
        except OSError as error:
            hint = "check the path" if isinstance(error, FileNotFoundError) else None
            raise TreeError.from_os(error, f"cannot read {source.path}", path=source.path, hint=hint) from error
        if is_tree(source):
            return
    if source.dest != "/":
        raise UsageError(
            f"{source.path} is a tar archive, which keeps its bytes, and cannot be placed under {source.dest}",
            hint="unpack it and name the directory; for the archive itself as a file, name a directory that holds it",
        )
    if replace(policy, mtime_limit=None) != TreePolicy():
        raise UsageError(
            f"{source.path} is a tar archive, which keeps its bytes: owners, patterns and the like are for trees",
            hint=f"leave these options out, or name a directory; a file is packed with a place: {source.path}:/DEST",
        )
