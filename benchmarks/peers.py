"""Who is measured: fastoci, and the tools that a user would take instead, as a user would call them.

Each makes a compressed layer of a tree and both of its digests. What each leaves out that another does is said in its
`note`, and printed below the table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from trees import Tree

__all__ = ["ALL", "Fastoci", "Peer", "Result"]

_TMPFS = "/dev/shm"

_PIPELINE = """set -o pipefail
tar -C "$1" -cf - . | tee >(openssl dgst -sha256 >diff_id) | {} | tee >(openssl dgst -sha256 >digest) >layer.tar.gz"""


@dataclass(frozen=True, slots=True)
class Result:
    """What was made: the size of all blobs in bytes, and the layer's digest where it is known without reading it."""

    size: int
    digest: str | None = None


class Peer(ABC):
    """A tool and how it is called.

    Every run has a fresh, empty directory, in which the command also runs.
    """

    name: str
    note: str
    needs: tuple[str, ...] = ()

    def left_out(self, tree: str) -> str | None:
        """Return why it cannot be run on the tree of this name; None: it can."""
        missing = [program for program in self.needs if shutil.which(program) is None]
        return f"{', '.join(missing)} not on PATH" if missing else None

    def prepare(self, tree: Tree, directory: str) -> None:
        """Do what is not timed."""
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
    """

    name = "fastoci"
    note = "the whole `fastoci build`: start-up, scan, config, manifest and index; every blob is synced to the disk"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._program = os.path.join(sysconfig.get_path("scripts"), "fastoci")

    def left_out(self, tree: str) -> str | None:
        return None if os.access(self._program, os.X_OK) else f"no {self._program}"

    def command(self, tree: Tree, directory: str) -> list[str]:
        threads = [] if self._threads is None else [f"--threads={self._threads}"]
        return [self._program, "build", tree.path, "-o", f"oci:{self.layout(directory)}", "--progress=none", *threads]

    def layout(self, directory: str) -> str:
        """Return the layout's path."""
        return f"{directory}/layout"

    def result(self, directory: str) -> Result:
        """Return the layer of the only image in the layout."""
        layer = self.manifest(directory)["layers"][0]
        return Result(_size_of(f"{self.layout(directory)}/blobs"), layer["digest"])

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

    def command(self, tree: Tree, directory: str) -> list[str]:
        return ["bash", "-c", _PIPELINE.format(" ".join((*self._compressor, "-c"))), "bash", tree.path]

    def result(self, directory: str) -> Result:
        with open(f"{directory}/digest") as file:
            digest = file.read().split()[-1]
        return Result(os.path.getsize(f"{directory}/layer.tar.gz"), f"sha256:{digest}")


class Umoci(Peer):
    """umoci's insertion of a tree."""

    name = "umoci insert"
    note = "into a layout made before (`umoci init`, `umoci new`); no sync"
    needs = ("umoci",)

    def prepare(self, tree: Tree, directory: str) -> None:
        for arguments in (["init", "--layout", "layout"], ["new", "--image", "layout:bench"]):
            subprocess.run(["umoci", *arguments], cwd=directory, check=True, capture_output=True)

    def command(self, tree: Tree, directory: str) -> list[str]:
        rootless = ["--rootless"] if os.geteuid() else []
        return ["umoci", "insert", *rootless, "--image", "layout:bench", tree.path, "/"]

    def result(self, directory: str) -> Result:
        return Result(_size_of(f"{directory}/layout/blobs"))


class Crane(Peer):
    """crane's appending of a tar, which does only the second half of the work."""

    name = "crane append"
    note = "from a tar made before, so it neither walks nor reads the tree; no sync"
    needs = ("crane", "tar")

    def left_out(self, tree: str) -> str | None:
        return super().left_out(tree) if tree == "mixed" else "on mixed alone: its tar has to stay in memory, too"

    def prepare(self, tree: Tree, directory: str) -> None:
        subprocess.run(["tar", "-C", tree.path, "-cf", "layer.tar", "."], cwd=directory, check=True)

    def command(self, tree: Tree, directory: str) -> list[str]:
        return ["crane", "append", "--oci-empty-base", "-f", "layer.tar", "-t", "bench/bench:1", "-o", "image.tar"]

    def result(self, directory: str) -> Result:
        return Result(os.path.getsize(f"{directory}/image.tar"))


ALL: tuple[Peer, ...] = (
    Fastoci(),
    FastociInMemory(),
    Pipeline("igzip", "-1"),
    Pipeline("pigz", "-1"),
    Umoci(),
    Crane(),
)


def _size_of(path: str) -> int:
    return sum(
        os.lstat(os.path.join(directory, name)).st_size for directory, _, names in os.walk(path) for name in names
    )
