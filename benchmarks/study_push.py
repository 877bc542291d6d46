"""How fast a stored image is pushed, and in how much memory: fastoci, curl, skopeo and crane, to one server in turn.

    python benchmarks/study_push.py [ROUNDS]            1 GiB in one blob, and in four of 256 MiB; 3 rounds
    FASTOCI_BENCH=short python benchmarks/...           256 MiB
    SERVER=docker-registry python benchmarks/...        to docker-registry 2.8 and not to distribution 3.1
    TMPDIR=/dev/shm python benchmarks/...               where the server keeps what it is sent: no disk is measured

curl is `curl -T` of the blob alone, without config and manifest; of several blobs, one curl after the other. What a
start-up costs is said beside: fastoci's push of an image that stands already.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator

import network
import trees
from launch import Usage
from records import machine

MIB = 1 << 20
SIZE = (256 if trees.form() == "short" else 1024) * MIB
JOBS = 4


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    directory = tempfile.mkdtemp(prefix="push-", dir=trees.cache_directory())
    try:
        for layers in (1, 4):
            measure(os.environ.get("SERVER", "registry"), directory, layers, rounds)
    finally:
        shutil.rmtree(directory)
    print(machine())


def measure(server: str, directory: str, layers: int, rounds: int) -> None:
    """Push an image of so many layers by everybody in turn, and print the table."""
    image = network.image(f"{directory}/{layers}", layers, SIZE // layers)
    found: dict[str, list[Usage]] = {}
    for _ in range(rounds):
        # A server of its own for each round: skopeo remembers which host has a blob, and has it mounted.
        with network.server(server) as registry:
            for name, usage in one_round(registry, image, directory):
                found.setdefault(name, []).append(usage)
    print(f"\n{image.size / MIB:,.0f} MiB in {layers} layers to {server}, {JOBS} jobs; {rounds} rounds")
    print(f"  {'':<26}{'wall s':>8}{'(least-most)':>16}{'MiB/s':>8}{'CPU s':>8}{'peak MiB':>10}")
    for name, runs in found.items():
        times = [one.wall for one in runs]
        wall = statistics.median(times)
        print(
            f"  {name:<26}{wall:>8.2f}{f'({min(times):.2f}-{max(times):.2f})':>16}{image.size / MIB / wall:>8.0f}"
            f"{statistics.median(one.cpu for one in runs):>8.2f}{max(one.memory for one in runs) / MIB:>10.0f}"
        )
    for peer in network.PUSHERS:
        if not peer.found():
            print(f"  {peer.name:<26}left out: not on PATH")
    shutil.rmtree(f"{directory}/{layers}")


def one_round(registry: network.Registry, image: network.Image, directory: str) -> Iterator[tuple[str, Usage]]:
    """Push once by everybody."""
    for pusher in network.PUSHERS:
        if pusher.found():
            place = f"{registry.host}/push/{pusher.program.rpartition('/')[2]}"
            yield pusher.name, network.push(pusher, image, place, directory, JOBS)
            assert all(network.stands(registry, digest) for digest, _ in image.blobs)
    runs = [
        network.run(network.curl(image.path(digest), f"{registry.host}/v2/push/curl", digest), directory)
        for digest, _ in image.blobs
    ]
    yield "curl -T", Usage(sum(one.wall for one in runs), sum(one.cpu for one in runs), max(one.memory for one in runs))
    ours = network.PUSHERS[0]
    yield "fastoci push, all stands", network.push(ours, image, f"{registry.host}/push/fastoci", directory, JOBS)


if __name__ == "__main__":
    main()
