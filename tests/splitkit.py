"""A tree that is split, and its layers."""

from __future__ import annotations

import os
import random
import tarfile
from pathlib import Path

from fastoci.build import build
from fastoci.layer.options import LayerOptions, Split
from imagekit import noise


def make_tree(root):
    """Make a few megabytes in some twenty directories, with hard links from end to end."""
    for number in range(120):
        path = root / f"d{number % 5}" / f"e{number % 4}" / f"{number:03}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(number * 977 % 60_000, number) + b"text\n" * (number * 131 % 3000))
    os.link(root / "d0/e0/000", root / "d4/e3/zero")
    os.link(root / "d3/e3/103", root / "d1/e0/103")
    (root / "d2/link").symlink_to("../d3")
    (root / "empty").mkdir()
    settle(root)
    return root


def make_packages(root, seed):
    """Make a tree of 100 packages of 12 files each, as a package manager does, from a seed."""
    chance = random.Random(f"packages {seed}")
    for number in range(100):
        for name in "abcdefghijkl":
            path = root / "lib" / f"{number * 7919 % 1000:03}-{number}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chance.randbytes(int(min(chance.lognormvariate(7, 1), 40_000))))
    settle(root)


def settle(root):
    """Give everything in a tree one time."""
    for path in (root, *root.rglob("*")):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)


def split(tree, layout, count=6, *, threads=2, **values):
    """Build a tree into a layout, split."""
    return build(
        [str(tree)],
        outputs=[f"oci:{layout}:1"],
        split=Split(count=count),
        layer=LayerOptions(threads=threads),
        **values,
    )


def blob(layout, layer):
    """Return the bytes of a layer."""
    return Path(layout, "blobs/sha256", layer.descriptor.digest.hex).read_bytes()


def names_in(layout, layer):
    """Return the entries of a layer, by Python's own module."""
    with tarfile.open(Path(layout, "blobs/sha256", layer.descriptor.digest.hex), errors="surrogateescape") as archive:
        return {member.name: member for member in archive.getmembers()}
