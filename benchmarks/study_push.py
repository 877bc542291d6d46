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
        with network.server(os.environ.get("SERVER", "registry")) as registry:
            for layers in (1, 4):
                measure(registry, directory, layers, rounds)
    finally:
        shutil.rmtree(directory)
    print(machine())


def measure(registry: network.Registry, directory: str, layers: int, rounds: int) -> None:
    """Push an image of so many layers by everybody in turn, and print the table."""
    image = network.image(f"{directory}/{layers}", layers, SIZE // layers)
    found: dict[str, list[Usage]] = {}
    for turn in range(rounds):
        for pusher in network.PUSHERS:
            if pusher.found():
                place = f"{registry.host}/push{layers}/{pusher.program.rpartition('/')[2]}{turn}"
                found.setdefault(pusher.name, []).append(network.push(pusher, image, place, directory, JOBS))
                assert all(network.stands(registry, digest) for digest, _ in image.blobs)
        walls = []
        for digest, _ in image.blobs:
            place = f"{registry.host}/v2/push{layers}/curl{turn}"
            walls.append(network.run(network.curl(image.path(digest), place, digest), directory))
        found.setdefault("curl -T", []).append(
            Usage(sum(one.wall for one in walls), sum(one.cpu for one in walls), max(one.memory for one in walls))
        )
        again = network.push(network.PUSHERS[0], image, f"{registry.host}/push{layers}/fastoci{turn}", directory, JOBS)
        found.setdefault("fastoci push, all stands", []).append(again)
    print(f"\n{image.size / MIB:,.0f} MiB in {layers} layers to {registry.daemon.name}, {JOBS} jobs; {rounds} rounds")
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


if __name__ == "__main__":
    main()
