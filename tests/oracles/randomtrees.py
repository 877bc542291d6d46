"""Trees that hypothesis makes up, and their making on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from oracles.nasty import is_root

TIMES = st.one_of(
    st.integers(-(2**31) * 10**9, 2**33 * 10**9 + 2**30 * 10**9),
    st.sampled_from([0, -1, -(10**9), 10**9 - 1, (8**11 - 1) * 10**9, 8**11 * 10**9]),
)
OWNERS = st.one_of(st.integers(0, 70000), st.sampled_from([2097151, 2097152, 2**32 - 2]))
# Names of few letters meet each other in one directory and are near each other in order; the others are anything.
NAMES = st.one_of(
    st.text("a-.0b", min_size=1, max_size=3).map(str.encode),
    st.binary(min_size=1, max_size=40),
    st.integers(90, 255).map(lambda size: b"n" * size),
    st.integers(50, 255).map(lambda size: b"\xe9" * size),
).filter(lambda name: not set(name) & {0, 0x2F} and name not in (b".", b"..") and not name.startswith(b".wh."))
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(1, 700)).map(lambda parts: parts[0] * parts[1]),
    st.sampled_from([511, 512, 513, 1023, 1024, 1025, 4096, 9000]).map(lambda size: b"x" * size),
)
TARGETS = st.one_of(
    st.binary(min_size=1, max_size=120),
    st.integers(95, 300).map(lambda size: b"t" * size),
).filter(lambda target: 0 not in target)


@dataclass(frozen=True)
class Made:
    """One name to make: where, what, and its metadata."""

    path: tuple[bytes, ...]
    kind: str
    mode: int
    mtime: int
    owner: tuple[int, int]
    content: bytes
    target: bytes
    xattr: bytes


MADE = st.builds(
    Made,
    st.lists(NAMES, min_size=1, max_size=4).map(tuple),
    st.sampled_from(["file", "file", "directory", "symlink", "fifo", "hardlink"]),
    st.integers(0, 0o7777),
    TIMES,
    st.tuples(OWNERS, OWNERS),
    CONTENTS,
    TARGETS,
    st.binary(max_size=30),
)
TREES = st.lists(MADE, max_size=12)


@st.composite
def _changed(draw: st.DrawFn, one: Made) -> list[Made]:
    """Return what became of one name: mostly nothing, or one thing about it."""
    other = draw(MADE)
    fact = draw(
        st.sampled_from([None] * 6 + ["gone", "kind", "mode", "mtime", "owner", "content", "target", "xattr", "path"])
    )
    if fact == "gone":
        return []
    return [one if fact is None else replace(one, **{fact: getattr(other, fact)})]


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[list[Made], list[Made]]:
    base = draw(TREES)
    tree = [new for one in base for new in draw(_changed(one))] + draw(st.lists(MADE, max_size=3))
    return base, tree


PAIRS = _pairs()
"""A tree as it was, and as it is: most of it the same."""


@contextmanager
def made(plan: list[Made]) -> Iterator[str]:
    """Make a tree, for as long as the context lasts; what does not fit into it is passed over."""
    with tempfile.TemporaryDirectory(prefix="fastoci-tests-") as top:
        root = os.path.join(top, "tree")
        os.mkdir(root)
        files: list[bytes] = []
        late: list[tuple[bytes, Made]] = []
        for one in plan:
            path = b"/".join([os.fsencode(root), *one.path])
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                _make(path, one, files)
            except (FileExistsError, NotADirectoryError, FileNotFoundError):
                continue
            late.append((path, one))
        # Owners before modes, as chown clears bits; and what directories hold before their own times.
        for path, one in reversed(late):
            if one.kind == "hardlink":
                continue
            if is_root():
                os.chown(path, *one.owner, follow_symlinks=False)
            if one.kind != "symlink":
                os.chmod(path, one.mode if is_root() else one.mode & 0o777 | 0o700)
                if one.xattr and one.kind != "fifo":
                    os.setxattr(path, b"user.test", one.xattr)
        for path, one in sorted(late, key=lambda item: item[0].count(b"/"), reverse=True):
            if one.kind != "hardlink":
                os.utime(path, ns=(0, one.mtime), follow_symlinks=False)
        yield root


def _make(path: bytes, one: Made, files: list[bytes]) -> None:
    if one.kind == "file":
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with open(fd, "wb") as file:
            file.write(one.content)
        files.append(path)
    elif one.kind == "directory":
        os.mkdir(path)
    elif one.kind == "symlink":
        os.symlink(one.target, path)
    elif one.kind == "fifo":
        os.mkfifo(path)
    elif files:
        os.link(files[len(one.content) % len(files)], path)
    else:
        raise FileNotFoundError
