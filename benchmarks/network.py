"""Registries, lines to them, and who pushes: for the studies of pushing.

The servers and the line are those of the end-to-end tests: `pip install -e '.[bench,test]'`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trees
from launch import Launch, Usage

sys.path.append(str(Path(__file__).parent.parent / "tests/e2e"))

from realparts.line import Line
from realparts.registries import Registry, program_path, running

__all__ = ["FASTOCI", "PUSHERS", "Image", "Line", "Pusher", "Registry", "image", "push", "server"]

MIB = 1 << 20
FASTOCI = os.path.join(sysconfig.get_path("scripts"), "fastoci")

# As a user would call each to push a layout that it finds on disk: {0} the layout, {1} HOST/REPOSITORY.
_CURL = """set -eu
location=$(curl -sS -i -X POST http://$2/blobs/uploads/ | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')
curl -sS --fail -T "$1" -H 'Content-Type: application/octet-stream' "$location&digest=$3" """


@dataclass(frozen=True)
class Image:
    """A layout with an image of layers that do not compress."""

    layout: str
    blobs: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """The bytes of its layers."""
        return sum(size for _, size in self.blobs)

    def path(self, digest: str) -> str:
        """Return where a blob is."""
        return f"{self.layout}/blobs/{digest.replace(':', '/')}"


@dataclass(frozen=True)
class Pusher:
    """Somebody who pushes a layout."""

    name: str
    program: str
    command: tuple[str, ...]

    def found(self) -> bool:
        """Return whether it is there."""
        return shutil.which(self.program) is not None


PUSHERS = (
    Pusher("fastoci push", FASTOCI, (FASTOCI, "push", "oci:{0}:1", "{1}:1", "--jobs", "{2}", "-q")),
    # Which sends up to six blobs at once, and knows no option for that everywhere.
    Pusher("skopeo copy", "skopeo", ("skopeo", "copy", "-q", "--dest-tls-verify=false", "oci:{0}:1", "docker://{1}:1")),
    Pusher("crane push", "crane", ("crane", "push", "--insecure", "{0}", "{1}:1")),
)


@contextlib.contextmanager
def server(name: str) -> Iterator[Registry]:
    """Run a registry: `registry` is distribution 3.1, `docker-registry` 2.8."""
    with (
        tempfile.TemporaryDirectory(prefix="server-", dir=trees.cache_directory()) as logs,
        running(program_path(name), Path(logs)) as registry,
    ):
        yield registry


def image(directory: str, layers: int, size: int) -> Image:
    """Make an image of layers of noise, each of `size` bytes."""
    sources = []
    for number in range(layers):
        os.makedirs(f"{directory}/{number}")
        with open(f"{directory}/{number}/noise", "wb") as file:
            file.writelines(os.urandom(MIB) for _ in range(size // MIB))
        sources.append(f"{directory}/{number}")
    layout = f"{directory}/image"
    subprocess.run([FASTOCI, "build", "-q", *sources, "-o", f"oci:{layout}:1"], check=True, capture_output=True)
    for source in sources:
        shutil.rmtree(source)
    raw = subprocess.run([FASTOCI, "inspect", "--raw", f"oci:{layout}:1"], check=True, capture_output=True).stdout
    return Image(layout, tuple((layer["digest"], layer["size"]) for layer in json.loads(raw)["layers"]))


def curl(blob: str, place: str, digest: str) -> list[str]:
    """Return the command that has curl upload one blob, in one request."""
    return ["sh", "-c", _CURL, "curl", blob, place, digest]


def push(pusher: Pusher, what: Image, place: str, directory: str, jobs: int) -> Usage:
    """Have somebody push an image to HOST/REPOSITORY, and return what that took."""
    command = [word.format(what.layout, place, jobs) for word in pusher.command]
    return run(command, directory)


def run(command: list[str], directory: str) -> Usage:
    """Run a command that has to succeed, with a home of its own and nothing left to be written to the disk."""
    trees.settle()
    home = f"{directory}/home"
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home)
    with Launch(command, directory, {"HOME": home, "FASTOCI_STATE_DIR": f"{directory}/state"}) as launch:
        launch.run()
        return launch.usage


def stands(registry: Registry, digest: str) -> bool:
    """Return whether a blob lies in the server's storage, whole."""
    encoded = digest.removeprefix("sha256:")
    path = registry.storage / "docker/registry/v2/blobs/sha256" / encoded[:2] / encoded / "data"
    if not path.exists():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == encoded
