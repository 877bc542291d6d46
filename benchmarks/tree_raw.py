"""Trees of large files: a model's weights, noise, and what only shows how much memory is used."""

from __future__ import annotations

import os
import random

from native import Bf16, Noise

__all__ = ["make_empty_files", "make_noise", "make_sparse", "make_weights"]

_PIECE = 32 << 20
_MOMENT = 1_600_000_000


def make_weights(root: str, size: int) -> None:
    """Make four files of `size` bytes of bfloat16 normal numbers, tensors of 32 MiB, each with a deviation of its own.

    A trained layer's weights are close to normal with a deviation of some hundredths; so the sign is a coin, the
    exponents lie around the deviation's, and the mantissa is nearly even.
    """
    source, rng = Bf16(1), random.Random("fastoci/weights")
    for number in range(1, 5):
        with open(f"{root}/model-{number:05}-of-00004.safetensors", "xb") as file:
            for start in range(0, size, _PIECE):
                tensor = bytearray(min(_PIECE, size - start))
                source.fill(tensor, rng.lognormvariate(-3.5, 0.5))
                file.write(tensor)
    _stamp(root)


def make_noise(root: str, size: int) -> None:
    """Make `size` bytes that nothing compresses: one large file, and some of a few megabytes."""
    source = Noise(2)
    rng = random.Random("fastoci/noise")
    sizes = [size * 3 // 4 // _PIECE * _PIECE]
    while (left := size - sum(sizes)) > 0:
        sizes.append(min(left, rng.randrange(1 << 20, 8 << 20) & ~7))
    for number, wanted in enumerate(sizes):
        with open(f"{root}/noise-{number:03}.bin", "xb") as file:
            for start in range(0, wanted, _PIECE):
                piece = bytearray(min(_PIECE, wanted - start))
                source.fill(piece)
                file.write(piece)
    _stamp(root)


def make_sparse(root: str, size: int) -> None:
    """Make five files of `size` bytes together: holes, and in every 128 MiB of them the same 1 MiB of numbers."""
    piece = bytearray(1 << 20)
    Bf16(3).fill(piece, 0.03)
    for number in range(5):
        with open(f"{root}/disk-{number}.img", "xb") as file:
            file.truncate(size // 5)
            for start in range(0, size // 5, 128 << 20):
                file.seek(start)
                file.write(piece)
    _stamp(root)


def make_empty_files(root: str, count: int) -> None:
    """Make `count` empty files, a hundred in each directory."""
    rng = random.Random("fastoci/empty")
    for number in range(count):
        if number % 100 == 0:
            directory = f"{root}/{rng.getrandbits(24):06x}/{number // 100:x}"
            os.makedirs(directory)
        os.close(os.open(f"{directory}/{rng.getrandbits(48):012x}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _stamp(root: str) -> None:
    for name in sorted(os.listdir(root)):
        os.utime(f"{root}/{name}", (_MOMENT, _MOMENT))
    os.utime(root, (_MOMENT, _MOMENT))
