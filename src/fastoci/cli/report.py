"""What a build leaves besides the image: the files that CI systems read, the JSON document, the timings."""

# No `from __future__ import annotations`: typer reads these annotations, and reads them faster as values.

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from fastoci.cli.console import write_stderr
from fastoci.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastoci.build import BuildResult

__all__ = ["FileFlags", "document"]


@dataclass(kw_only=True, eq=False, repr=False)
class FileFlags:
    """What is to be written about a build."""

    title: ClassVar[str] = "Files about the build"

    iidfile: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the image ID, the digest of its config, there.")
    ] = None
    digestfile: Annotated[str | None, typer.Option(metavar="FILE", help="Write the manifest's digest there.")] = None
    metadata_file: Annotated[str | None, typer.Option(metavar="FILE", help="Write what was built there, as JSON.")] = (
        None
    )
    timings: Annotated[bool, typer.Option("--timings", help="Tell how long each stage took.")] = False

    def prepare(self) -> None:
        """Remove the files of an earlier build, which must not be taken for those of a build that failed.

        Raises:
            StoreError: One of them could not be written at the end.
        """
        for path in self._paths():
            parent = os.path.dirname(path) or "."
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                os.stat(parent)
            except OSError as error:
                raise _unwritable(path, error) from error

    def write(self, result: "BuildResult") -> None:
        """Write the files, and say the timings.

        Raises:
            StoreError: One of them could not be written.
        """
        if self.iidfile is not None:
            _write(self.iidfile, str(result.config.digest))
        if self.digestfile is not None:
            _write(self.digestfile, str(result.digest))
        if self.metadata_file is not None:
            _write(self.metadata_file, json.dumps(document(result), indent=2) + "\n")
        if self.timings:
            _tell_timings(result)

    def _paths(self) -> list[str]:
        return [path for path in (self.iidfile, self.digestfile, self.metadata_file) if path is not None]


def document(result: "BuildResult") -> dict[str, object]:
    """Return what was built as JSON values: buildx's keys, and fastoci's own beside them."""
    from fastoci.layer.options import FORMAT_VERSION

    return {
        "containerimage.config.digest": str(result.config.digest),
        "containerimage.descriptor": result.manifest.to_json(),
        "containerimage.digest": str(result.digest),
        "image.name": ",".join(result.references),
        "fastoci.names": list(result.names),
        "fastoci.layers": [
            layer.descriptor.to_json()
            | {
                "diff_id": str(layer.diff_id),
                "tar_size": layer.tar_size,
                "entries": layer.entries,
                "timings": _rounded(layer.timings),
            }
            for layer in result.layers
        ],
        "fastoci.timings": _rounded(result.timings),
        "fastoci.format": FORMAT_VERSION,
        "fastoci.version": _version("fastoci"),
        "fastoci.isal": _version("isal"),
    }


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    if package == "fastoci":
        from fastoci.version import __version__

        return __version__
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _rounded(timings: "Mapping[str, float]") -> dict[str, float]:
    return {stage: round(seconds, 4) for stage, seconds in timings.items()}


def _tell_timings(result: "BuildResult") -> None:
    for number, layer in enumerate(result.layers, 1):
        stages = "  ".join(f"{stage} {seconds:.2f}s" for stage, seconds in layer.timings.items())
        write_stderr(f"timings  layer {number}  {stages}")
    write_stderr("timings  " + "  ".join(f"{stage} {seconds:.2f}s" for stage, seconds in result.timings.items()))


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: str, error: OSError) -> StoreError:
    return StoreError.from_os(error, f"cannot write {path}", path=path)
