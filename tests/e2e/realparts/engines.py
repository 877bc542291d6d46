"""Real container engines: a dockerd and a podman with storage of their own, as root."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from realparts.processes import Daemon, base_environment, capture, require, require_root

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def _on_overlay(directory: Path) -> bool:
    """Return whether a directory lies on overlayfs, as in a container: overlay does not stack on it."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(directory)], capture_output=True, check=True)
    return kind.stdout.strip() == b"overlayfs"


def _remove(directory: Path) -> None:
    """Unmount what an engine left mounted beneath a directory, and remove it."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)


@dataclass
class Engine:
    """An engine's command line client.

    Attributes:
        client: The path of `docker` or `podman`.
        environment: What its client needs to find it, whole; fastoci gets it too for `--load`.
        run_options: Options that `run` needs on machines where limits cannot be raised.
    """

    client: str
    environment: Mapping[str, str]
    run_options: tuple[str, ...] = ()

    def __call__(
        self,
        *args: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 240,
    ) -> str:
        """Run a command that has to succeed and return its stdout."""
        environment = {**self.environment, **(env or {})}
        said = capture([self.client, *args], env=environment, stdin=stdin, cwd=cwd, timeout=timeout)
        return said.decode(errors="surrogateescape")

    def run(self, image: str, *args: str, options: tuple[str, ...] = (), stdin: bytes | None = None) -> str:
        """Run a container from an image, without a network, and return what it prints."""
        return self("run", "--rm", "--network=none", *self.run_options, *options, image, *args, stdin=stdin)

    def load(self, archive: Path) -> str:
        """Load an archive and return the name the engine gave the image."""
        said = self("load", "-i", str(archive))
        found = re.search(r"^Loaded image(?:\(s\))?: (?:sha256:)?(\S+)$", said, re.MULTILINE)
        assert found, said
        return found[1]

    def inspect(self, image: str) -> dict[str, object]:
        """Return what the engine knows of an image."""
        (value,) = json.loads(self("image", "inspect", image))
        assert isinstance(value, dict)
        return value

    def export(self, image: str) -> bytes:
        """Return the file system of a container made from an image, as the tar that the engine makes of it."""
        container = self("create", *self.run_options, image, "x").strip()
        try:
            return capture([self.client, "export", container], env=self.environment)
        finally:
            self("rm", container)

    def forget(self, *images: str) -> None:
        """Remove images, as far as they are there."""
        subprocess.run(
            [self.client, "rmi", "-f", *images], env=dict(self.environment), capture_output=True, check=False
        )


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Docker's client, with a dockerd that runs for these tests alone."""
    require_root("dockerd")
    dockerd = require("dockerd", "docker.io")
    client = require("docker", "docker.io")
    require("runc", "runc")
    require("containerd", "containerd")
    logs = tmp_path_factory.mktemp("dockerd")
    # A socket's path may have 107 bytes, and containerd puts its own deep beneath exec.
    state = Path(tempfile.mkdtemp(prefix="fastoci-dockerd-"))
    environment = {
        **base_environment(logs),
        "DOCKER_HOST": f"unix://{state}/docker.sock",
        "CONTAINERD_ADDRESS": f"{state}/exec/containerd/containerd.sock",
    }
    daemon = Daemon(
        "dockerd",
        [
            dockerd,
            f"--data-root={state}/data",
            f"--exec-root={state}/exec",
            f"--host=unix://{state}/docker.sock",
            f"--pidfile={state}/pid",
            f"--storage-driver={'vfs' if _on_overlay(state) else 'overlay2'}",
            "--iptables=false",
            "--bridge=none",
            "--insecure-registry=127.0.0.0/8",
        ],
        logs / "dockerd.log",
        base_environment(logs),
    )
    daemon.start()
    try:
        daemon.wait_until(
            lambda: (
                subprocess.run([client, "version"], env=environment, capture_output=True, check=False).returncode == 0
            ),
            seconds=60,
        )
        yield Engine(client, environment)
    finally:
        daemon.stop()
        # A dockerd that had to be killed leaves the containerd it started.
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((state / "exec/containerd/containerd.pid").read_text()), signal.SIGKILL)
        _remove(state)


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """podman, with storage and state of its own.

    They are set by its configuration files rather than by --root and --runroot, so that a podman that fastoci starts
    (`--load=podman`) finds them too.
    """
    require_root("podman run")
    client = require("podman", "podman")
    require("runc", "runc")
    logs = tmp_path_factory.mktemp("podman")
    state = Path(tempfile.mkdtemp(prefix="fastoci-podman-"))
    (state / "tmp").mkdir()
    driver = "vfs" if _on_overlay(state) else "overlay"
    storage = logs / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{state}/root"\nrunroot = "{state}/run"\n')
    containers = logs / "containers.conf"
    containers.write_text(
        "[containers]\n"
        'netns = "none"\n'
        'log_driver = "k8s-file"\n'
        "[engine]\n"
        'runtime = "runc"\n'
        'cgroup_manager = "cgroupfs"\n'
        'events_logger = "file"\n'
        f'tmp_dir = "{state}/libpod"\n'
    )
    environment = {
        **base_environment(logs),
        "TMPDIR": f"{state}/tmp",
        "XDG_RUNTIME_DIR": f"{state}/tmp",
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINERS_CONF": str(containers),
    }
    try:
        yield Engine(client, environment, ("--runtime=runc", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"))
    finally:
        _remove(state)
