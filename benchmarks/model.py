"""What a layer costs at least, by the model that the project set itself, and what is foretold of more cores.

    limit(N) = max( S/R_sha, work/N ) + t_fsync
    work     = S/R_read + S/R_sha + S/R_deflate + rho S/R_sha + rho S/R_write + F (t_file + t_scan)

S is the size of the tar stream, rho S that of the blob, F the number of entries, N the number of cores. One tar stream
is one chain of SHA-256, which no second core helps with. Write-out may begin with the first byte, so that t_fsync is
what the disk has left to do when all else is done: flush + max(0, rho S/R_disk - max(...)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from primitives import Rates

__all__ = ["Layer", "Prediction", "limit", "predict", "work"]


@dataclass(frozen=True, slots=True)
class Layer:
    """What was made of a tree: S and rho S in bytes, F."""

    tar_size: int
    size: int
    entries: int


def work(layer: Layer, rates: Rates, deflate: float) -> float:
    """Return the CPU seconds of all that has to be done; `deflate` is R_deflate in bytes a second."""
    return (
        layer.tar_size / rates.read
        + layer.tar_size / rates.sha
        + layer.tar_size / deflate
        + layer.size / rates.sha
        + layer.size / rates.write
        + layer.entries * (rates.file + rates.scan)
    )


def limit(layer: Layer, rates: Rates, deflate: float, cores: int) -> float:
    """Return limit(N) in seconds."""
    body = max(layer.tar_size / rates.sha, work(layer, rates, deflate) / cores)
    return body + rates.flush + max(0.0, layer.size / rates.disk - body)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds on the wall for a number of cores, and what they are spent on for the most part."""

    cores: int
    seconds: float
    bottleneck: str


_SCAN_THREADS = 8
_SERIAL = ("plan", "commit")
_SHARED = ("render", "compress")
_CHAINS = {"SHA-256 of the tar": ("hash_tar",), "SHA-256 of the blob, writing": ("hash_blob", "write")}
STAGES = frozenset(("scan", *_SERIAL, *_SHARED, *(stage for chain in _CHAINS.values() for stage in chain)))
"""The stages that the prediction knows."""


def predict(
    stages: Mapping[str, float], threads: int, cpu: float, start: float, cores: Sequence[int]
) -> list[Prediction]:
    """Foretell the time on other numbers of cores from the stages of one build.

        T(N) = start-up + plan + commit + k scan threads/min(N, 8) + max(k chain of each kind, k all/N)

    A stage's clock also runs while its thread waits for a core; k, at most 1, makes their sum the CPU time that was
    used. `all` is rendering, compressing, hashing and writing together.

    Args:
        stages: Seconds of each stage, summed over its threads, as `--metadata-file` has them.
        threads: How many threads there were.
        cpu: CPU seconds of the build without its start-up.
        start: Seconds that start-up takes.
        cores: For which numbers of cores.
    """

    def seconds(*names: str) -> float:
        return sum(stages.get(name, 0.0) for name in names)

    scanning = seconds("scan") * min(threads, _SCAN_THREADS)
    chains = {name: seconds(*of_chain) for name, of_chain in _CHAINS.items()}
    together = seconds(*_SHARED) + sum(chains.values())
    scale = min(1.0, cpu / (scanning + seconds("plan") + together)) if together else 1.0
    found = []
    for count in cores:
        bounds = {name: scale * spent for name, spent in chains.items()}
        bounds["all the cores"] = scale * together / count
        bottleneck = max(bounds, key=lambda name: bounds[name])
        ends = start + seconds(*_SERIAL) + scale * scanning / min(count, _SCAN_THREADS)
        if ends > bounds[bottleneck]:
            bottleneck = f"start, scan, plan, commit; then {bottleneck}"
        found.append(Prediction(count, ends + max(bounds.values()), bottleneck))
    return found
