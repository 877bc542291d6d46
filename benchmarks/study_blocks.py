"""The study behind the layer format: block size, ISA-L's level and memory level, and how soon two trees are in step.

    python benchmarks/study_blocks.py                  everything over the full trees, about ten minutes
    python benchmarks/study_blocks.py deflate node     any of: deflate, settings, pass, step; and trees by name
    FASTOCI_BENCH=short python benchmarks/...          over the short trees

All times are CPU seconds of one thread, so that other work on the machine takes nothing away.

deflate     each block as the format has it (64 bytes stored, the rest deflated with these as its dictionary, a sync
            flush), for every block size, level and memory level: ratio, and MB of tar by the CPU second.
settings    the levels and memory levels that a default is chosen from, one after the other on each block, so that
            whatever slows the machine down slows all of them: their time beside that of the first, and their ratio.
pass        what happens to a block, one thing after another on one thread: rendered, hashed, checksummed, deflated.
            Where a block and what deflating it needs do not fit into the L2 cache any more, this falls.
step        a file is put into the tree at several places, one at a time, and removed again: how many of the bytes of
            the new tar stream lie in blocks that the old one had too, byte for byte.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import statistics
import time
from collections.abc import Iterator

from isal import isal_zlib

import trees
from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import scan_tree
from fastoci.tree.source import TreeSource
from trees import Tree

BLOCK_SIZES = (256 << 10, 512 << 10, 1 << 20)
LEVELS = (1, 2)
MEMORY_LEVELS = {1: "least", 3: "small", 5: "medium", 8: "large", 9: "extra large"}
SETTINGS = ((1, 8), (1, 5), (2, 8), (2, 5))
"""Level and memory level."""
PREFIX_SIZE = 64
SAMPLE_SIZE = 128 << 20
WINDOW_SIZE = 4 << 20
PLACES = 10


@contextlib.contextmanager
def planned(tree: Tree, block_size: int) -> Iterator[Plan]:
    """Scan and plan a tree, as long as the context lasts."""
    table = scan_tree(TreeSource(tree.path), TreePolicy(), 2)
    try:
        yield Plan(table, block_size=block_size)
    finally:
        table.close()


def blocks_of(plan: Plan, step: int = 1) -> Iterator[memoryview]:
    """Yield every block that begins in every `step`th 4 MiB of the stream; each is gone when the next is asked for.

    So the samples of different block sizes are of the same data.
    """
    buffer = bytearray(plan.block_size)
    renderer = Renderer(plan)
    try:
        for number in range(plan.block_count):
            _, _, offset, _ = plan.block(number)
            if offset // WINDOW_SIZE % step:
                continue
            yield memoryview(buffer)[: renderer.render(number, buffer)]
    finally:
        renderer.close()


def deflate(block: memoryview, level: int, memory_level: int) -> int:
    """Return the size of a block deflated as the format has it."""
    prefix = bytes(block[:PREFIX_SIZE])
    deflater = isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15, memory_level, isal_zlib.Z_DEFAULT_STRATEGY, prefix)
    body, end = deflater.compress(block[PREFIX_SIZE:]), deflater.flush(isal_zlib.Z_SYNC_FLUSH)
    return 5 + len(prefix) + len(body) + len(end)


def step_for(plan: Plan) -> int:
    """Return of how many windows of 4 MiB one belongs to the sample."""
    return max(1, round(plan.tar_size / SAMPLE_SIZE))


def study_deflate(tree: Tree) -> None:
    """Print ratio and speed for every block size, level and memory level."""
    print(f"\n{tree.name}: deflate, ratio and MB/s of CPU by memory level")
    print(f"  {'block':>9}{'level':>7}" + "".join(f"{name:>18}" for name in MEMORY_LEVELS.values()))
    for block_size in BLOCK_SIZES:
        with planned(tree, block_size) as plan:
            blocks = [bytes(block) for block in blocks_of(plan, step_for(plan))]
        size = sum(map(len, blocks))
        for level in LEVELS:
            cells = []
            for memory_level in MEMORY_LEVELS:
                started = time.thread_time()
                made = sum(deflate(memoryview(block), level, memory_level) for block in blocks)
                seconds = time.thread_time() - started
                cells.append(f"{size / made:>11.4f}{size / seconds / 1e6:>7.0f}")
            print(f"  {block_size >> 10:>5} KiB{level:>7}" + "".join(cells), flush=True)


def study_settings(tree: Tree) -> None:
    """Print what each setting costs beside the first, block by block in turn."""
    print(f"\n{tree.name}: CPU time and ratio in blocks of 512 KiB, in turn on each block")
    seconds = dict.fromkeys(SETTINGS, 0.0)
    made = dict.fromkeys(SETTINGS, 0)
    size = 0
    with planned(tree, 512 << 10) as plan:
        for number, block in enumerate(blocks_of(plan, step_for(plan))):
            size += len(block)
            # Whoever comes first finds less of the block in the caches.
            turn = number % len(SETTINGS)
            for setting in SETTINGS[turn:] + SETTINGS[:turn]:
                started = time.thread_time()
                made[setting] += deflate(block, *setting)
                seconds[setting] += time.thread_time() - started
    for level, memory_level in SETTINGS:
        spent = seconds[level, memory_level]
        print(
            f"  level {level}, {MEMORY_LEVELS[memory_level]:<7}{size / spent / 1e6:>6.0f} MB/s, "
            f"{spent / seconds[SETTINGS[0]]:.3f} x the time, ratio {size / made[level, memory_level]:.4f}",
            flush=True,
        )


def study_pass(tree: Tree) -> None:
    """Print the speed of all that happens to a block, for every block size."""
    print(f"\n{tree.name}: a block's whole way on one thread, level 1, MB/s of CPU, median of 3")
    for block_size in BLOCK_SIZES:
        with planned(tree, block_size) as plan:
            rates = []
            for _ in range(3):
                done = 0
                digest = hashlib.sha256()
                started = time.thread_time()
                for block in blocks_of(plan, step_for(plan)):
                    digest.update(block)
                    isal_zlib.crc32(block)
                    deflate(block, 1, 8)
                    done += len(block)
                rates.append(done / (time.thread_time() - started) / 1e6)
            mean = plan.tar_size / plan.block_count / 1024
            print(
                f"  {block_size >> 10:>5} KiB  {statistics.median(rates):>6.0f} MB/s "
                f"({min(rates):.0f}-{max(rates):.0f}); "
                f"{plan.block_count:,} blocks of {mean:.0f} KiB on average",
                flush=True,
            )


def contents(tree: Tree, block_size: int) -> list[tuple[int, int, int]]:
    """Return what tells one block from another: its size and two checksums."""
    with planned(tree, block_size) as plan:
        return [(len(block), isal_zlib.crc32(block), isal_zlib.adler32(block)) for block in blocks_of(plan)]


def study_step(tree: Tree) -> None:
    """Print how many bytes stay in unchanged blocks when a file comes in."""
    print(f"\n{tree.name}: bytes in unchanged blocks after one file of 3,000 bytes came in, {PLACES} places")
    rng = random.Random("fastoci/step")
    directories = [directory for directory, _, _ in os.walk(tree.path)]
    places = sorted(rng.choices(directories, k=PLACES - 2) + [directories[0]] * 2)
    names = ["!first", "~last", *(f"{rng.choice('.Aabgmsz')}-new-{number}" for number in range(PLACES - 2))]
    for block_size in BLOCK_SIZES:
        before = set(contents(tree, block_size))
        kept = []
        for directory, name in zip(places, names, strict=True):
            with new_file(os.path.join(directory, name)):
                after = contents(tree, block_size)
            kept.append(sum(facts[0] for facts in after if facts in before) / sum(facts[0] for facts in after))
        print(f"  {block_size >> 10:>5} KiB  least {min(kept):.3%}, median {statistics.median(kept):.3%}", flush=True)


@contextlib.contextmanager
def new_file(path: str) -> Iterator[None]:
    """Put a file into a tree, and leave the tree afterwards as it was, its directory's time included."""
    parent = os.path.dirname(path)
    status = os.stat(parent)
    with open(path, "xb") as file:
        file.write(random.Random(path).randbytes(1500) * 2)
    try:
        yield
    finally:
        os.unlink(path)
        os.utime(parent, ns=(status.st_atime_ns, status.st_mtime_ns))


STUDIES = {"deflate": study_deflate, "settings": study_settings, "pass": study_pass, "step": study_step}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", help=f"any of {', '.join((*STUDIES, *trees.NAMES))}; default: all")
    chosen = parser.parse_args().what
    for word in chosen:
        if word not in (*STUDIES, *trees.NAMES):
            parser.error(f"no such study and no such tree: {word}")
    studies = [word for word in chosen if word in STUDIES] or list(STUDIES)
    names = [word for word in chosen if word in trees.NAMES] or list(trees.NAMES)
    for name in names:
        tree = trees.tree(name, trees.form())
        trees.warm(tree)
        for study in studies:
            STUDIES[study](tree)


if __name__ == "__main__":
    main()
