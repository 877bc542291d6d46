"""Who delivers a layer over a line that breaks: fastoci, skopeo, crane and docker through the same proxy.

    python benchmarks/study_faults.py [K ...]       64 MiB in one layer; the first K streams are reset after 20 MB

What each exits with is not believed: the layer has to lie in the server's storage, and to have its digest. Bytes are
those that the line handed to the server. docker compresses the layer itself, so its blob is another of the same size.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import network
import trees
from network import MIB
from records import machine

_SIZE = 64 * MIB
_AFTER = 20_000_000
_TIMEOUT = 300


def main() -> None:
    resets = [int(word) for word in sys.argv[1:]] or [0, 1, 2, 3, 10]
    directory = tempfile.mkdtemp(prefix="faults-", dir=trees.cache_directory())
    try:
        image = network.image(f"{directory}/it", 1, _SIZE)
        print(f"{'':<16}{'server':<18}{'K':>4}{'resets':>8}{'arrived':>9}{'x blob':>8}{'wall s':>8}")
        for server in ("registry", "docker-registry"):
            with network.server(server) as registry, docker(directory, image) as engine:
                for pusher in (*network.PUSHERS, *engine):
                    for count in resets:
                        if pusher.found():
                            attempt(registry, pusher, image, directory, count)
    finally:
        shutil.rmtree(directory)
    print(machine())


def attempt(
    registry: network.Registry, pusher: network.Pusher, image: network.Image, directory: str, count: int
) -> None:
    """Push once, and print what came of it."""
    repository = f"faults/{pusher.program.rpartition('/')[2]}-{count}"
    with network.Line(registry.host, breaks=[_AFTER] * count) as line:
        command = [word.format(image.layout, f"{line.host}/{repository}", 4) for word in pusher.command]
        environment = {**os.environ, "HOME": f"{directory}/home", "FASTOCI_STATE_DIR": f"{directory}/state"}
        started = time.monotonic()
        try:
            done = subprocess.run(command, env=environment, capture_output=True, timeout=_TIMEOUT, check=False)
            ended = done.returncode == 0
        except subprocess.TimeoutExpired:
            ended = False
        wall = time.monotonic() - started
    tags = registry.storage / "docker/registry/v2/repositories" / repository / "_manifests/tags/1"
    arrived = tags.exists() and all(network.stands(registry, digest) for digest in layers(registry, repository))
    assert arrived or not ended, f"{pusher.name} says that it is done"
    print(
        f"{pusher.name:<16}{registry.daemon.name:<18}{count:>4}{line.resets:>8}{'yes' if arrived else 'no':>9}"
        f"{line.sent / image.size:>8.2f}{wall:>8.1f}",
        flush=True,
    )


def layers(registry: network.Registry, repository: str) -> list[str]:
    """Return what a repository has of blobs."""
    links = registry.storage / "docker/registry/v2/repositories" / repository / "_layers/sha256"
    return [f"sha256:{path.name}" for path in links.iterdir()]


@contextlib.contextmanager
def docker(directory: str, image: network.Image) -> Iterator[tuple[network.Pusher, ...]]:
    """Run an engine of its own that has the image; none where there is none, or where it cannot run."""
    program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or os.geteuid():
        print("docker push     left out: dockerd is not there, or may not run")
        yield ()
        return
    top = Path(tempfile.mkdtemp(prefix="docker-"))
    socket = f"unix://{top}/docker.sock"
    options = ["--iptables=false", "--bridge=none", "--storage-driver=vfs"]
    with (top / "log").open("wb") as log:
        engine = subprocess.Popen(
            [
                program,
                "--data-root",
                f"{top}/data",
                "--exec-root",
                f"{top}/exec",
                "-H",
                socket,
                "--pidfile",
                f"{top}/pid",
                *options,
            ],
            stdout=log,
            stderr=log,
        )
    try:
        client = ["docker", "-H", socket]
        deadline = time.monotonic() + 60
        while subprocess.run([*client, "version"], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (top / "log").read_text()[-2000:]
            time.sleep(0.2)
        archive = f"{directory}/docker.tar"
        subprocess.run(
            [network.FASTOCI, "copy", f"oci:{image.layout}:1", f"docker-archive:{archive}:bench/it:1"],
            check=True,
            capture_output=True,
        )
        subprocess.run([*client, "load", "-q", "-i", archive], check=True, capture_output=True)
        script = f'docker -H {socket} tag bench/it:1 "$1:1" && docker -H {socket} push -q "$1:1"'
        yield (network.Pusher("docker push", "docker", ("sh", "-c", script, "push", "{1}")),)
    finally:
        engine.terminate()
        engine.wait()
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    main()
