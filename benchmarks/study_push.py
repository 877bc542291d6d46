"""How fast a stored image is pushed, and in how much memory: fastoci, curl, skopeo and crane, to one server in turn.

    python benchmarks/study_push.py [ROUNDS]            1 GiB in one blob, and in four of 256 MiB; 5 rounds
    FASTOCI_BENCH=short python benchmarks/...           256 MiB
    SERVER=docker-registry python benchmarks/...        to docker-registry 2.8 and not to distribution 3.1
    TMPDIR=/dev/shm python benchmarks/...               where the server keeps what it is sent: no disk is measured

curl is `curl -T` of the blob alone, without config and manifest; of several blobs, one curl after the other. What a
start-up costs is said beside: fastoci's push of an image that stands already. The server shares this machine's CPUs:
what it spends on each push is told apart. Who goes first changes from round to round, and what is said of each peer in
the end is the median of fastoci's time against its, round by round.
"""

from __future__ import annotations

import functools
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import network
import trees
from launch import Usage
from records import machine

MIB = 1 << 20
SIZE = (256 if trees.form() == "short" else 1024) * MIB
JOBS = 4
OURS = network.PUSHERS[0].name
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Push:
    """What one push took, and seconds of CPU that the server took for it."""

    usage: Usage
    server: float


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
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
    found: dict[str, list[Push]] = {}
    for number in range(rounds):
        # A server of its own for each round: skopeo remembers which host has a blob, and has it mounted.
        with network.server(server) as registry:
            for name, push in one_round(registry, image, directory, number):
                found.setdefault(name, []).append(push)
    print(f"\n{image.size / MIB:,.0f} MiB in {layers} layers to {server}, {JOBS} jobs; {rounds} rounds")
    head = ("wall s", "(least-most)", "MiB/s", "CPU s", "server's", "peak MiB", "ours / its")
    print(f"  {'':<26}{head[0]:>8}{head[1]:>16}{head[2]:>8}{head[3]:>8}{head[4]:>10}{head[5]:>10}{head[6]:>12}")
    ours = [one.usage.wall for one in found[OURS]]
    for name, runs in found.items():
        times = [one.usage.wall for one in runs]
        wall = statistics.median(times)
        ratio = statistics.median(mine / its for mine, its in zip(ours, times, strict=True))
        print(
            f"  {name:<26}{wall:>8.2f}{f'({min(times):.2f}-{max(times):.2f})':>16}{image.size / MIB / wall:>8.0f}"
            f"{statistics.median(one.usage.cpu for one in runs):>8.2f}"
            f"{statistics.median(one.server for one in runs):>10.2f}"
            f"{max(one.usage.memory for one in runs) / MIB:>10.0f}{ratio:>12.2f}"
        )
    for peer in network.PUSHERS:
        if not peer.found():
            print(f"  {peer.name:<26}left out: not on PATH")
    shutil.rmtree(f"{directory}/{layers}")


def one_round(
    registry: network.Registry, image: network.Image, directory: str, number: int
) -> Iterator[tuple[str, Push]]:
    """Push once by everybody, in an order that changes from round to round."""
    pushers = [pusher for pusher in network.PUSHERS if pusher.found()]
    ways: list[tuple[str, Callable[[], Usage]]] = [
        (pusher.name, functools.partial(network.push, pusher, image, place(registry, pusher), directory, JOBS))
        for pusher in pushers
    ]
    ways.append(("curl -T", lambda: curl(registry, image, directory)))
    turn = number % len(ways)
    for name, way in (*ways[turn:], *ways[:turn]):
        yield name, counted(registry, way)
        assert all(network.stands(registry, digest) for digest, _ in image.blobs)
        # Whom the disk has still to write for, and what the server need not keep in memory.
        shutil.rmtree(registry.storage)
        registry.storage.mkdir()
    ours = functools.partial(
        network.push, network.PUSHERS[0], image, place(registry, network.PUSHERS[0]), directory, JOBS
    )
    ours()
    yield f"{OURS}, all stands", counted(registry, ours)


def place(registry: network.Registry, pusher: network.Pusher) -> str:
    """Return where somebody pushes to."""
    return f"{registry.host}/push/{pusher.program.rpartition('/')[2]}"


def curl(registry: network.Registry, image: network.Image, directory: str) -> Usage:
    """Upload each blob by a curl of its own."""
    runs = [
        network.run(network.curl(image.path(digest), f"{registry.host}/v2/push/curl", digest), directory)
        for digest, _ in image.blobs
    ]
    return Usage(sum(one.wall for one in runs), sum(one.cpu for one in runs), max(one.memory for one in runs))


def counted(registry: network.Registry, way: Callable[[], Usage]) -> Push:
    """Push, and see what the server took."""
    before = cpu_of(registry)
    usage = way()
    return Push(usage, cpu_of(registry) - before)


def cpu_of(registry: network.Registry) -> float:
    """Return the seconds of CPU that a server has used so far (proc(5): utime and stime)."""
    with open(f"/proc/{registry.daemon.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
