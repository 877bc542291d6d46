"""Random archives, hostile ones among them, against a model of what a chroot would make of them.

The model is a tree of dictionaries and knows no descriptor, no kernel and nothing of fastoci; it resolves paths as
path_resolution(7) says of a process whose root is the tree. Both may refuse an archive; then nothing is compared but
that outside nothing changed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tarkit import END, TIME, entry, folder, hardlink, symlink, unpack

from fastoci.errors import FastociError
from fastoci.rootfs.limits import Limits
from oracles.snapshot import inode_groups, snapshot

NAMES = ["a", "b", "c"]
# FASTOCI_TESTS=long looks at more of the same.
EXAMPLES = 10_000 if os.environ.get("FASTOCI_TESTS") == "long" else 250


class RefusedError(Exception):
    """The model does not take an entry."""


@dataclass(eq=False)
class Node:
    """A file, a directory or a symbolic link; hard links are one node under two names."""

    kind: str
    content: str = ""
    names: dict[str, Node] = field(default_factory=dict)
    layer: int = 0


@dataclass(frozen=True)
class Step:
    """One entry of an archive; `layer` says of which layer."""

    kind: str
    path: str
    target: str = ""


def parts(path: str) -> list[str]:
    found: list[str] = []
    for name in path.split("/"):
        if name == "..":
            if not found:
                raise RefusedError(path)
            found.pop()
        elif name not in ("", "."):
            found.append(name)
    return found


class Model:
    def __init__(self) -> None:
        self.root = Node("directory")

    def directory(self, names: list[str], *, make: bool, layer: int) -> Node | None:
        """Resolve as in a chroot; directories that are missing are made."""
        way = [self.root]
        left = list(names)
        links = 0
        while left:
            name = left.pop(0)
            if name in ("", "."):
                continue
            if name == "..":
                way = way[:-1] or way
                continue
            node = way[-1].names.get(name)
            if node is None:
                if not make:
                    return None
                node = way[-1].names[name] = Node("directory", layer=layer)
            if node.kind == "symlink":
                links += 1
                if links > 40:
                    raise RefusedError(name)
                if node.content.startswith("/"):
                    way = [self.root]
                left = node.content.split("/") + left
            elif node.kind == "directory":
                way.append(node)
            elif make:
                raise RefusedError(name)
            else:
                return None
        if make:
            for node in way[1:]:
                node.layer = layer
        return way[-1]

    def apply(self, steps: list[Step], layer: int) -> None:
        for step in steps:
            names = parts(step.path)
            if not names:
                if step.kind != "directory":
                    raise RefusedError(step.path)
                continue
            *above, name = names
            if name.startswith(".wh."):
                self.hide(above, name, layer)
                continue
            parent = self.directory(above, make=True, layer=layer)
            assert parent is not None
            old = parent.names.get(name)
            if step.kind == "directory":
                if old is None or old.kind != "directory":
                    parent.names[name] = Node("directory", layer=layer)
                parent.names[name].layer = layer
            elif step.kind == "hardlink":
                self.link(parent, name, step.target, layer)
            else:
                parent.names[name] = Node(step.kind, step.target, layer=layer)

    def link(self, parent: Node, name: str, target: str, layer: int) -> None:
        names = parts(target)
        source = self.directory(names[:-1], make=False, layer=layer) if names else None
        node = source.names.get(names[-1]) if source else None
        if node is None or node.kind == "directory":
            raise RefusedError(target)
        if parent.names.get(name) is node:
            node.layer = layer
            return
        parent.names.pop(name, None)
        # What stood there may have held the target.
        again = self.directory(names[:-1], make=False, layer=layer)
        if again is None or again.names.get(names[-1]) is not node:
            raise RefusedError(target)
        node.layer = layer
        parent.names[name] = node

    def hide(self, above: list[str], name: str, layer: int) -> None:
        hidden = name.removeprefix(".wh.")
        if hidden in ("", ".", ".."):
            raise RefusedError(name)
        if layer == 0:
            return
        parent = self.directory(above, make=False, layer=layer)
        if parent is None:
            return
        if name == ".wh..wh..opq":
            clear(parent, layer)
        elif (node := parent.names.get(hidden)) is not None:
            if node.layer != layer:
                del parent.names[hidden]
            elif node.kind == "directory":
                clear(node, layer)

    def listing(self) -> dict[str, tuple[str, str]]:
        def walk(node: Node, prefix: str) -> None:
            for name, child in node.names.items():
                found[prefix + name] = child.kind, child.content
                walk(child, f"{prefix}{name}/")

        found: dict[str, tuple[str, str]] = {}
        walk(self.root, "")
        return found


def clear(directory: Node, layer: int) -> None:
    for name, node in list(directory.names.items()):
        if node.layer != layer:
            del directory.names[name]
        elif node.kind == "directory":
            clear(node, layer)


def tar_of(steps: list[Step]) -> bytes:
    made = {
        "file": lambda step: entry(step.path, data=step.target.encode()),
        "directory": lambda step: folder(step.path),
        "symlink": lambda step: symlink(step.path, step.target),
        "hardlink": lambda step: hardlink(step.path, step.target),
    }
    return b"".join(made[step.kind](step) for step in steps)


names = st.sampled_from(NAMES)
words = st.sampled_from([*NAMES, *NAMES, "..", "."])
plain = st.lists(names, min_size=1, max_size=4).map("/".join)
wild = st.builds(
    lambda head, rest: head + "/".join(rest), st.sampled_from(["", "", "/", "./"]), st.lists(words, max_size=5)
)
# A file whose name ends in a slash is a directory; that has a test of its own.
paths = st.one_of(plain, plain, wild).filter(lambda path: path and not path.endswith("/"))
targets = st.one_of(
    plain,
    wild,
    st.sampled_from(["..", "../..", "/", ".", "../outside", "../../outside/secret", "/outside", "/proc/self/root"]),
).filter(bool)
hides = st.builds(
    lambda above, name: "/".join([*above, name]),
    st.lists(names, max_size=3),
    st.sampled_from([".wh.a", ".wh.b", ".wh.c", ".wh..wh..opq", ".wh.", ".wh..."]),
)
steps = st.one_of(
    st.builds(Step, st.just("directory"), paths),
    st.builds(Step, st.just("file"), paths, st.sampled_from(["", "x", "yy"])),
    st.builds(Step, st.just("symlink"), paths, targets),
    st.builds(Step, st.just("hardlink"), paths, targets),
    st.builds(Step, st.just("file"), hides, st.just("")),
)
layers = st.lists(st.lists(steps, max_size=8), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def yard():
    """A place to unpack into, again and again, with something beside it."""
    path = Path(tempfile.mkdtemp())
    (path / "outside").mkdir()
    (path / "outside/secret").write_text("secret")
    yield path
    shutil.rmtree(path)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(archive=layers)
@example(archive=[[Step("symlink", "a", "../outside"), Step("file", "a/secret", "x")]])
@example(archive=[[Step("directory", "a"), Step("symlink", "b", "/a"), Step("hardlink", "b/a", "b")]])
@example(archive=[[Step("file", "a/b", "x")], [Step("hardlink", "a", "a/b")]])
@example(archive=[[Step("file", "a/b", "x")], [Step("file", "a/c"), Step("file", "a/.wh..wh..opq")]])
def test_it_is_what_a_chroot_would_make_of_it(archive, yard):
    outside = snapshot(yard / "outside")
    target = yard / "cell"
    model = Model()
    expected: dict[str, tuple[str, str]] | None = None
    with suppress(RefusedError):
        for number, layer in enumerate(archive):
            model.apply(layer, number)
        expected = model.listing()
    try:
        unpack(target, *map(tar_of, archive))
        found = {os.fsdecode(path): (one.kind, one.content.decode()) for path, one in snapshot(target).items()}
    except FastociError:
        found = None
    finally:
        shutil.rmtree(target)
    assert found == expected
    assert sorted(os.listdir(yard)) == ["outside"]
    assert snapshot(yard / "outside") == outside


inside = st.builds("/".join, st.tuples(st.sampled_from(["a", "b", "a/b"]), st.sampled_from([*"abcdefgh"])))
# Mostly plain files, one after the other in a few directories, with what may meet them between.
many = st.one_of(
    st.builds(Step, st.just("file"), inside, st.sampled_from(["", "x", "yy"])),
    st.builds(Step, st.just("file"), inside, st.sampled_from(["", "x", "yy"])),
    st.builds(Step, st.just("directory"), st.one_of(inside, st.sampled_from(["a", "b", "a/b", "./a/", "a/b/c/d"]))),
    st.builds(Step, st.just("symlink"), inside, st.sampled_from([".", "a", "../b", "/a/b", "x"])),
    st.builds(Step, st.just("hardlink"), inside, inside),
    steps,
)


def made(yard, archive, threads):
    """Return what becomes of an archive: the error, and the tree with its hard links."""
    target = yard / "cell"
    cause = None
    try:
        unpack(target, *map(tar_of, archive), threads=threads)
    except FastociError as error:
        cause = error.cause
    try:
        found = snapshot(target)
        groups = inode_groups(found)
        # Without an entry of its own a directory is as old as the run.
        tree = {
            path: (one.kind, one.mode, one.content, groups.get(path), one.mtime == TIME) for path, one in found.items()
        }
    finally:
        shutil.rmtree(target)
    return cause, tree if cause is None else None


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(archive=st.lists(st.lists(many, max_size=24), min_size=1, max_size=3))
@example(archive=[[Step("file", "a/x", "1"), Step("file", "a/y", "2"), Step("file", "a/y", "3")]])
@example(archive=[[Step("file", "a/x"), Step("file", "a/y", "2"), Step("hardlink", "a/z", "a/y"), Step("file", "a/y")]])
@example(archive=[[Step("file", "a/x"), Step("file", "a/y"), Step("file", "a/y/z")]])
@example(archive=[[Step("file", "a/x"), Step("file", "a/y"), Step("directory", "a/y"), Step("file", "a/y/z")]])
@example(archive=[[Step("file", "a/x"), Step("file", "a/y", "2"), Step("file", "a", "3")]])
@example(archive=[[Step("file", "a/x"), Step("file", "a/y")], [Step("file", "a/z"), Step("file", "a/.wh.y")]])
@example(archive=[[Step("file", "a/x")], [Step("file", "a/z"), Step("file", "a/y"), Step("file", "a/.wh..wh..opq")]])
@example(archive=[[Step("symlink", "a/s", "."), Step("file", "a/s/x"), Step("file", "a/s/s"), Step("file", "a/s/y")]])
@example(archive=[[Step("symlink", "b", "a"), Step("file", "b/x"), Step("file", "b/y", "2"), Step("file", "a/y", "3")]])
# A link on the way to what Python saw to last becomes another one, which the engine makes.
@example(
    archive=[
        [Step("directory", "x"), Step("directory", "y"), Step("file", "x/f", "1"), Step("symlink", "a", "x")],
        [Step("hardlink", "a/h", "x/f"), Step("symlink", "a", "y"), Step("hardlink", "a/i", "x/f")],
    ]
)
# A directory that the engine went into last is another one, or a link.
@example(
    archive=[
        [Step("directory", "a"), Step("directory", "a/b"), Step("file", "a/b/c", "1")],
        [Step("directory", "a/b"), Step("file", "a/.wh.b"), Step("file", "a/b/d")],
        [Step("file", "a/b/e"), Step("symlink", "a/b", "../x"), Step("file", "a/b/f")],
    ]
)
@example(archive=[[Step("directory", "a"), Step("symlink", "a", "b"), Step("directory", "b"), Step("file", "a/x")]])
def test_threads_that_write_change_nothing(archive, yard):
    alone = made(yard, archive, 0)
    assert made(yard, archive, 3) == alone
    assert made(yard, archive, 1) == alone


valid = tar_of(
    [
        Step("directory", "a"),
        Step("file", "a/" + "long" * 60, "content"),
        Step("symlink", "a/s", "../b"),
        Step("hardlink", "a/h", "a/s"),
        Step("file", "a/s/x", "y"),
    ]
) + entry("sparse", data=b"x" * 9, pax={b"GNU.sparse.map": b"5,9", b"GNU.sparse.size": b"14", b"mtime": b"1.5"})


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(valid) - 1), st.one_of(st.binary(min_size=1, max_size=12), st.just(b""))),
        max_size=6,
    ),
    keep=st.booleans(),
)
def test_bytes_that_were_changed_end_in_words(changes, keep, yard):
    """Whatever stands in a header: an error of ours or a tree, in little time, and nothing outside."""
    data = bytearray(valid + END)
    for at, new in changes:
        data[at : at + len(new)] = new
    if keep:
        # Right checksums, or hardly any change would be looked at.
        for start in range(0, len(data) - 511, 512):
            block = data[start : start + 512]
            if block[257:262] == b"ustar":
                total = sum(block[:148]) + 256 + sum(block[156:])
                data[start + 148 : start + 156] = b"%06o\0 " % total
    target = yard / "cell"
    error = None
    try:
        unpack(target, bytes(data), limits=Limits(entries=5000, size=1 << 30))
    except FastociError as caught:
        error = caught
    finally:
        shutil.rmtree(target)
    assert error is None or error.cause
    assert sorted(os.listdir(yard)) == ["outside"]
