"""Who is measured: fastoci, and the tools that a user would take instead, as a user would call them.

Each makes a compressed layer of a tree and both of its digests. What each leaves out that another does is said in its
`note`, and printed below the table.
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from trees import Tree

__all__ = ["FAST", "Fastoci", "Peer", "Pipeline", "Result", "size_of"]

_TMPFS = "/dev/shm"

_CPUS = str(len(os.sched_getaffinity(0)))

_PIPELINE = """set -o pipefail
tar -C "$1" -cf - . | tee >(openssl dgst -sha256 >diff_id) | {} | tee >(openssl dgst -sha256 >digest) >layer.tar.gz"""


@dataclass(frozen=True, slots=True)
class Result:
    """What was made.

    Args:
        size: The bytes of all blobs, or of the archive.
        digest: The layer's digest, where it is known without reading it.
        metadata: What fastoci's `--metadata-file` says.
    """

    size: int
    digest: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class Peer(ABC):
    """A tool and how it is called.

    Every run has a fresh, empty directory, in which the command also runs.
    """

    name: str
    note: str
    needs: tuple[str, ...] = ()
    slow = False
    """Whether it takes so long that it is given fewer rounds."""
    has_daemon = False
    """Whether the work is done by a process that was there before, whose CPU time and memory are not seen."""

    def left_out(self, tree: str) -> str | None:
        """Return why it cannot be run on the tree of this name; None: it can."""
        missing = [program for program in self.needs if shutil.which(program) is None]
        return f"{', '.join(missing)} not on PATH" if missing else None

    def prepare(self, tree: Tree, directory: str) -> None:
        """Do what is not timed."""
        return

    def finish(self, directory: str) -> None:
        """Remove what is not in the directory, after a run."""
        return

    def close(self) -> None:
        """End what was started for all runs."""
        return

    @abstractmethod
    def command(self, tree: Tree, directory: str) -> list[str]:
        """Return what is timed."""

    @abstractmethod
    def result(self, directory: str) -> Result:
        """Return what was made."""


class Fastoci(Peer):
    """The command line of the fastoci that runs this Python.

    Args:
        threads: Workers; None for fastoci's own choice.
        level: The gzip level; None for fastoci's own choice.
    """

    name = "fastoci"
    note = "the whole `fastoci build`: start-up, scan, config, manifest and index; every blob is synced to the disk"

    def __init__(self, threads: int | None = None, level: int | None = None) -> None:
        self._options = [] if threads is None else [f"--threads={threads}"]
        if level is not None:
            self.name = f"fastoci, level {level}"
            self._options.append(f"--compression-level={level}")
        self._program = os.path.join(sysconfig.get_path("scripts"), "fastoci")

    def left_out(self, tree: str) -> str | None:
        return None if os.access(self._program, os.X_OK) else f"no {self._program}"

    def command(self, tree: Tree, directory: str) -> list[str]:
        output = ["-o", f"oci:{self.layout(directory)}", f"--metadata-file={directory}/metadata.json"]
        return [self._program, "build", tree.path, *output, "--progress=none", *self._options]

    def layout(self, directory: str) -> str:
        """Return the layout's path."""
        return f"{directory}/layout"

    def result(self, directory: str) -> Result:
        """Return the layer of the only image in the layout."""
        with open(f"{directory}/metadata.json") as file:
            metadata = json.load(file)
        layer = self.manifest(directory)["layers"][0]
        return Result(size_of(f"{self.layout(directory)}/blobs"), layer["digest"], metadata)

    def manifest(self, directory: str) -> dict[str, Any]:
        """Return the manifest of the only image in the layout."""
        with open(f"{self.layout(directory)}/index.json") as file:
            (descriptor,) = json.load(file)["manifests"]
        with open(self.blob(directory, descriptor)) as file:
            manifest: dict[str, Any] = json.load(file)
        return manifest

    def blob(self, directory: str, descriptor: dict[str, Any]) -> str:
        """Return a blob's path."""
        return f"{self.layout(directory)}/blobs/{descriptor['digest'].replace(':', '/')}"


class FastociInMemory(Fastoci):
    """The same with its output where a sync costs nothing."""

    name = "fastoci, to tmpfs"
    note = f"the same into {_TMPFS}, where syncing costs nothing, as it does for the peers, which do not sync"

    def left_out(self, tree: str) -> str | None:
        if tree != "mixed":
            return "on mixed alone"
        if not os.path.isdir(_TMPFS):
            return f"no {_TMPFS}"
        status = os.statvfs(_TMPFS)
        room = status.f_bavail * status.f_frsize
        return super().left_out(tree) if room > 2 << 30 else f"under 2 GiB free in {_TMPFS}"

    def layout(self, directory: str) -> str:
        return f"{_TMPFS}/fastoci-bench-{os.path.basename(directory)}"

    def result(self, directory: str) -> Result:
        try:
            return super().result(directory)
        finally:
            shutil.rmtree(self.layout(directory))


class Pipeline(Peer):
    """The shell's way.

    Args:
        compressor: A command that compresses its standard input.
    """

    def __init__(self, *compressor: str) -> None:
        self.name = f"tar | {' '.join(compressor)}"
        self.note = "a shell pipeline; both digests by `openssl dgst -sha256` behind `tee`; no image around it, no sync"
        self.needs = ("bash", "tar", "tee", "openssl", compressor[0])
        self._compressor = compressor
        self.slow = compressor[0] == "pigz"

    def command(self, tree: Tree, directory: str) -> list[str]:
        return ["bash", "-c", _PIPELINE.format(" ".join((*self._compressor, "-c"))), "bash", tree.path]

    def result(self, directory: str) -> Result:
        with open(f"{directory}/digest") as file:
            digest = file.read().split()[-1]
        return Result(os.path.getsize(f"{directory}/layer.tar.gz"), f"sha256:{digest}")


FAST: tuple[Peer, ...] = (
    Fastoci(),
    FastociInMemory(),
    Pipeline("igzip", "-1", "-T", _CPUS),
    Pipeline("zstd", "-1", f"-T{_CPUS}"),
    Pipeline("pigz", "-1", "-p", _CPUS),
)


def size_of(path: str) -> int:
    """Return the bytes of all files below a directory."""
    return sum(
        os.lstat(os.path.join(directory, name)).st_size for directory, _, names in os.walk(path) for name in names
    )
