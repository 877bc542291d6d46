"""The peers that make whole images, with an engine or without one; see `peers.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

from peers import FAST, Peer, Result, size_of
from trees import Tree, cache_directory

__all__ = ["ALL"]


class Umoci(Peer):
    """umoci's insertion of a tree."""

    name = "umoci insert"
    note = "into a layout made before (`umoci init`, `umoci new`); no sync"
    needs = ("umoci",)
    slow = True

    def prepare(self, tree: Tree, directory: str) -> None:
        for arguments in (["init", "--layout", "layout"], ["new", "--image", "layout:bench"]):
            subprocess.run(["umoci", *arguments], cwd=directory, check=True, capture_output=True)

    def command(self, tree: Tree, directory: str) -> list[str]:
        rootless = ["--rootless"] if os.geteuid() else []
        return ["umoci", "insert", *rootless, "--image", "layout:bench", tree.path, "/"]

    def result(self, directory: str) -> Result:
        return Result(size_of(f"{directory}/layout/blobs"))


class Crane(Peer):
    """crane's appending of a tar, which does only the second half of the work."""

    name = "crane append"
    note = "from a tar made before, so it neither walks nor reads the tree; no sync"
    needs = ("crane", "tar")
    slow = True

    def prepare(self, tree: Tree, directory: str) -> None:
        subprocess.run(["tar", "-C", tree.path, "-cf", "layer.tar", "."], cwd=directory, check=True)

    def command(self, tree: Tree, directory: str) -> list[str]:
        return ["crane", "append", "--oci-empty-base", "-f", "layer.tar", "-t", "bench/bench:1", "-o", "image.tar"]

    def result(self, directory: str) -> Result:
        return Result(os.path.getsize(f"{directory}/image.tar"))


class Buildah(Peer):
    """buildah's copying and committing, as in a script that needs no Dockerfile."""

    name = "buildah"
    note = "`buildah copy` and `buildah commit --disable-compression=false` to an oci: layout; `from scratch` before"
    needs = ("buildah", "bash")
    slow = True

    def left_out(self, tree: str) -> str | None:
        return "not root" if os.geteuid() else super().left_out(tree)

    def prepare(self, tree: Tree, directory: str) -> None:
        self._run(directory, "from", "--name", "bench", "scratch")

    def command(self, tree: Tree, directory: str) -> list[str]:
        # The words of buildah's own example, but for where everything is.
        script = """set -e
            buildah "${@:3}" copy --quiet bench "$1" /
            buildah "${@:3}" commit --quiet --disable-compression=false bench "oci:$2/layout:bench\""""
        return ["bash", "-c", script, "bash", tree.path, directory, *self._place(directory)]

    def result(self, directory: str) -> Result:
        return Result(size_of(f"{directory}/layout/blobs"))

    def finish(self, directory: str) -> None:
        self._run(directory, "rm", "--all")
        self._run(directory, "rmi", "--all", "--force")
        subprocess.run(["umount", f"{directory}/store/overlay"], check=False, capture_output=True)

    def _run(self, directory: str, *arguments: str) -> None:
        subprocess.run(["buildah", *self._place(directory), *arguments], check=True, capture_output=True)

    @staticmethod
    def _place(directory: str) -> list[str]:
        return ["--root", f"{directory}/store", "--runroot", f"{directory}/run", "--storage-driver", "overlay"]


class Docker(Peer):
    """An engine's own way: the tree is sent to the daemon, copied into a layer, and the image saved."""

    name = "docker build"
    note = (
        "FROM scratch, COPY, then `docker save`, which compresses nothing; by a dockerd of the benchmarks' own, whose "
        "CPU time and memory are not seen"
    )
    needs = ("docker", "dockerd", "bash")
    slow = True
    has_daemon = True

    def __init__(self) -> None:
        self._daemon: subprocess.Popen[bytes] | None = None
        self._data = ""

    def left_out(self, tree: str) -> str | None:
        return "not root" if os.geteuid() else super().left_out(tree)

    def prepare(self, tree: Tree, directory: str) -> None:
        if self._daemon is None:
            self._start()
        with open(f"{directory}/Dockerfile", "w") as file:
            file.write("FROM scratch\nCOPY . /\n")

    def command(self, tree: Tree, directory: str) -> list[str]:
        # The builder inside the daemon: it needs no plugin.
        script = """set -e
            export DOCKER_HOST=$2 DOCKER_BUILDKIT=0
            docker build --quiet --no-cache --tag bench:1 --file Dockerfile "$1"
            docker save --output image.tar bench:1"""
        return ["bash", "-c", script, "bash", tree.path, self._host]

    def result(self, directory: str) -> Result:
        return Result(os.path.getsize(f"{directory}/image.tar"))

    def finish(self, directory: str) -> None:
        subprocess.run(
            ["docker", "-H", self._host, "image", "prune", "--all", "--force"], check=True, capture_output=True
        )
        subprocess.run(["docker", "-H", self._host, "image", "rm", "bench:1"], check=False, capture_output=True)

    def close(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(60)
            self._daemon = None
            shutil.rmtree(self._data, ignore_errors=True)

    @property
    def _host(self) -> str:
        return f"unix://{self._data}/docker.sock"

    def _start(self) -> None:
        self._data = os.path.join(cache_directory(), f"docker-{os.getpid()}")
        os.makedirs(self._data)
        places = [f"--data-root={self._data}/data", f"--exec-root={self._data}/exec", f"--pidfile={self._data}/pid"]
        network = ["--iptables=false", "--bridge=none", "--storage-driver=overlay2"]
        with open(f"{self._data}/log", "wb") as log:
            self._daemon = subprocess.Popen(
                ["dockerd", "-H", self._host, *places, *network], stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(300):
            asked = subprocess.run(["docker", "-H", self._host, "version"], check=False, capture_output=True)
            if asked.returncode == 0:
                return
            assert self._daemon.poll() is None, f"dockerd ended: {self._data}/log"
            time.sleep(0.1)
        raise AssertionError(f"dockerd does not answer: {self._data}/log")


ALL: tuple[Peer, ...] = (*FAST, Umoci(), Crane(), Buildah(), Docker())
