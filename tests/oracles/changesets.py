"""A layer applied to a tree, after the words of image-spec layer.md: whiteouts by hand, the rest by GNU tar."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

from oracles.unpackers import extract_by_gnu_tar, program, run

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


def copy_tree(source: str | os.PathLike[str], target: Path) -> None:
    """Copy a tree with all that it has: links, owners, times, attributes; by coreutils."""
    run([program("cp", "coreutils"), "--archive", "--", os.fspath(source), str(target)])


def apply(layer: bytes, root: Path) -> None:
    """Make of a tree what a layer, a plain tar, makes of it."""
    with tarfile.open(fileobj=io.BytesIO(layer), errors="surrogateescape") as archive:
        members = archive.getmembers()
    # "Whiteout files MUST only apply to resources in lower/parent layers."
    for member in members:
        above, name = os.path.split(member.name)
        if name == OPAQUE:
            for child in os.listdir(root / above):
                _remove(root / above / child)
        elif name.startswith(WHITEOUT):
            _remove(root / above / name.removeprefix(WHITEOUT))
    # "Entries that already exist are replaced", but for directories, whose attributes are.
    for member in members:
        path = root / member.name
        if os.path.lexists(path):
            if member.isdir() and not path.is_symlink() and path.is_dir():
                for key in os.listxattr(path):
                    if key.startswith("user."):
                        os.removexattr(path, key)
            else:
                _remove(path)
    extract_by_gnu_tar(layer, root, "--warning=no-unknown-keyword", f"--exclude={WHITEOUT}*")


def _remove(path: Path) -> None:
    if not path.is_symlink() and path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
