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

__all__ = ["STAGES", "Layer", "Prediction", "alone", "limit", "predict", "work"]


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


_ENDS = ("head", "tail", "commit")
_SHARED = ("scan", "plan", "render", "compress")
_CHAINS = {"SHA-256 of the tar": ("hash_tar",), "SHA-256 of the blob, writing": ("hash_blob", "write")}
STAGES = frozenset((*_ENDS, *_SHARED, *(stage for chain in _CHAINS.values() for stage in chain)))
"""The stages that the prediction knows."""


def alone(stages: Mapping[str, float]) -> float:
    """Return the seconds beside which nothing else is done: before the first block, after the last, and the sync."""
    return sum(stages.get(name, 0.0) for name in _ENDS)


def predict(stages: Mapping[str, float], cpu: float, start: float, cores: Sequence[int]) -> list[Prediction]:
    """Foretell the time on other numbers of cores from the stages of one build.

        T(N) = start-up + head + tail + commit + max(hash_tar, hash_blob + write, CPU/N)

    Args:
        stages: As `--metadata-file` has them: CPU seconds summed over threads, but for `head`, `tail` and `commit`.
        cpu: CPU seconds of the build without its start-up; the sum of the stages counts where that is more.
        start: Seconds that start-up takes.
        cores: For which numbers of cores.
    """

    def seconds(*names: str) -> float:
        return sum(stages.get(name, 0.0) for name in names)

    bounds = {name: seconds(*of_chain) for name, of_chain in _CHAINS.items()}
    together = max(cpu, seconds(*_SHARED) + sum(bounds.values()))
    found = []
    for count in cores:
        bounds["all the cores"] = together / count
        bottleneck = max(bounds, key=lambda name: bounds[name])
        ends = start + alone(stages)
        found.append(
            Prediction(
                count,
                ends + bounds[bottleneck],
                bottleneck if bounds[bottleneck] >= ends else f"start-up, head, tail, commit; then {bottleneck}",
            )
        )
    return found
