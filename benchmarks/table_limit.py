"""The tables of the limit: time, CPU and memory beside what one core can do at best, and what is foretold of more."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from model import STAGES, alone, limit, predict, work
from primitives import Rates
from records import Limits, Records, met, spread
from trees import Tree

__all__ = ["limit_tables", "memory_table"]

_WALL = 1.15
_WALL_OF_NOISE = 1 / 0.8
_CPU = 1.10
_CROWDED = 1.05
_SERIAL = 0.25
_CORES = (1, 2, 4, 8, 16, 64)
_MIB = 1 << 20


def limit_tables(records: Records) -> Iterator[str]:
    """Yield a table for each tree whose limit was measured."""
    for name, found in records.limits.items():
        if found.rates and found.builds and found.empty:
            yield from _table(records.trees[name], found)
            yield ""


def _table(tree: Tree, found: Limits) -> Iterator[str]:
    layer = found.layer
    yield (
        f"{tree.name}, the limit: {layer.tar_size / 1e6:,.0f} MB of tar, {layer.size / 1e6:,.0f} MB of blob, "
        f"{layer.entries:,} entries; {len(found.rates)} rounds in turn, median (least-most)"
    )
    yield from _rates(found)
    noise = tree.name == "noise"
    deflate = _nothing_to_deflate if noise else _deflate
    wanted = _WALL_OF_NOISE if noise else _WALL
    which = "limit, R_deflate infinite" if noise else "limit"
    for (cores, threads), runs in found.builds.items():
        seconds = [
            run.usage.wall - empty.usage.wall
            for run, empty in zip(runs, found.empty[cores, min(cores, threads)], strict=False)
        ]
        if threads > cores:
            yield from _crowded(found, cores, threads)
            continue
        limits = [limit(layer, rates, deflate(rates), cores) for rates in found.rates]
        ratios = [mine / best for mine, best in zip(seconds, limits, strict=False)]
        yield (
            f"  N = {cores}: {spread(seconds)} s, start-up apart; {which} {spread(limits)} s; "
            f"<= {wanted} x: {spread(ratios)} x: {met(statistics.median(ratios) <= wanted)}"
        )
        if not noise:
            strict = [limit(layer, rates, rates.deflate_shrinking, cores) for rates in found.rates]
            yield (
                f"         where what does not shrink is not deflated, the limit is {spread(strict)} s: "
                f"{spread([mine / best for mine, best in zip(seconds, strict, strict=False)])} x"
            )
    yield from _cpu(found, deflate)
    yield from _memory(found)
    yield from _prediction(tree, found)


def _deflate(rates: Rates) -> float:
    return rates.deflate


def _nothing_to_deflate(_: Rates) -> float:
    return float("inf")


def _rates(found: Limits) -> Iterator[str]:
    rates = found.rates

    def speed(name: str) -> str:
        return spread([getattr(one, name) / 1e6 for one in rates], 0)

    def cost(name: str) -> str:
        return spread([getattr(one, name) * 1e6 for one in rates])

    yield f"  MB/s of one core: R_sha {speed('sha')}, R_deflate {speed('deflate')}, R_read {speed('read')},"
    yield f"         R_write {speed('write')}; beside the model: CRC-32 {speed('crc')}, the disk {speed('disk')}"
    yield f"  us an entry: t_file {cost('file')}, t_scan {cost('scan')}; us: a small fsync {cost('flush')}"


def _crowded(found: Limits, cores: int, threads: int) -> Iterator[str]:
    few, many = found.builds.get((cores, cores), []), found.builds[cores, threads]
    ratios = [crowded.usage.wall / plain.usage.wall for crowded, plain in zip(many, few, strict=False)]
    if ratios:
        yield (
            f"  --threads {threads} beside --threads {cores} on {cores} cores, wall: <= {_CROWDED} x: "
            f"{spread(ratios)} x: {met(statistics.median(ratios) <= _CROWDED)}"
        )


def _cpu(found: Limits, deflate: Callable[[Rates], float]) -> Iterator[str]:
    layer = found.layer
    for (cores, threads), runs in found.builds.items():
        if threads > cores:
            continue
        spent = [run.usage.cpu - empty.usage.cpu for run, empty in zip(runs, found.empty[cores, threads], strict=False)]
        least = [work(layer, rates, deflate(rates)) for rates in found.rates]
        ratios = [mine / best for mine, best in zip(spent, least, strict=False)]
        per_gb = layer.tar_size / 1e9
        yield (
            f"  CPU at N = {cores}, start-up apart: {statistics.median(spent) / per_gb:.2f} s/GB of tar; the "
            f"primitives {statistics.median(least) / per_gb:.2f}; <= {_CPU} x: {spread(ratios)} x: "
            f"{met(statistics.median(ratios) <= _CPU)}"
        )


def memory_bound(threads: int, entries: int) -> int:
    """Return how much memory a build may take, in bytes."""
    return 48 * _MIB + 2 * _MIB * threads + 160 * entries


def _memory(found: Limits) -> Iterator[str]:
    for (_, threads), runs in found.builds.items():
        yield _memory_line(threads, found.layer.entries, max(run.usage.memory for run in runs))


def _memory_line(threads: int, entries: int, peak: int) -> str:
    bound = memory_bound(threads, entries)
    return (
        f"  peak RSS, {threads} threads: <= {bound / _MIB:.0f} MiB: {peak / _MIB:.0f} MiB: "
        f"{'met' if peak <= bound else 'NOT MET'}"
    )


def memory_table(records: Records) -> Iterator[str]:
    """Yield the peaks of memory on trees that are made for it."""
    for tree, threads, entries, peak in records.memory:
        yield f"{tree.name}: {tree.size / 1e9:.1f} GB, {entries:,} entries"
        yield _memory_line(threads, entries, peak)


def _prediction(tree: Tree, found: Limits) -> Iterator[str]:
    key = max((key for key in found.builds if key[1] <= key[0]), default=None)
    if key is None:
        return
    runs, empty = found.builds[key], found.empty[key]
    stages: dict[str, float] = {}
    for run in runs:
        (facts,) = run.result.metadata["fastoci.layers"]
        for stage, seconds in facts["timings"].items():
            stages[stage] = stages.get(stage, 0.0) + seconds / len(runs)
    cpu = statistics.median(run.usage.cpu for run in runs) - statistics.median(run.usage.cpu for run in empty)
    start = statistics.median(run.usage.wall for run in empty)
    yield "  stages, s of CPU: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items())
    unknown = sorted(set(stages) - STAGES - {"total"})
    missing = sorted(STAGES - set(stages))
    if unknown or missing:
        yield f"  stages not in the prediction: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
    ends = alone(stages)
    chain = found.layer.tar_size / statistics.median(rates.sha for rates in found.rates)
    yield (
        f"  nothing beside it (head, tail, commit, on the wall): {ends:.2f} s, {ends / chain:.0%} of the tar's "
        f"SHA-256; <= {_SERIAL:.0%}: {met(ends <= _SERIAL * chain)}"
    )
    for one in predict(stages, cpu, start, _CORES):
        yield (
            f"  foretold for {one.cores:>2} cores: {one.seconds:>7.2f} s, {tree.size / one.seconds / 1e6:>6,.0f} MB/s; "
            f"bound by {one.bottleneck}"
        )
    yield "  (start-up + head + tail + commit + max(hash_tar, hash_blob + write, CPU/N))"
