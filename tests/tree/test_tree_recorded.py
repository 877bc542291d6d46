"""Layers by which a tree is known: plain entries, taken by the engine, say what they say to the reader of tars."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastoci.errors import FastociError, InvalidImageError
from fastoci.images.recording import put_entry
from fastoci.rootfs.limits import Limits, Usage
from fastoci.tar.reader import TarReader
from fastoci.tree import recorded as recorded_module
from fastoci.tree.recorded import RecordedTree
from oracles.hostile import ARCHIVES, archive, changed_archive, good_archive
from oracles.longform import times
from oracles.tarforms import FORMS, Member, trees
from oracles.tarforms import archive as written


def recorded(*layers, plain, piece=700, patterns=()):
    """Return what the layers come to: all that the table says, or the error.

    Args:
        layers: Tars.
        plain: Whether the engine takes what is plain.
        piece: Bytes of the stream that are seen at once.
        patterns: What is left out.
    """
    tree, usage = RecordedTree("the image"), Usage(Limits(entries=5000, size=1 << 30))

    def take(data, at):
        end, count = tree.take(data, at, usage.entries_left)
        usage.add_entry("the layer", count)
        return end

    try:
        for data in layers:
            tree.begin()
            pieces = (data[at : at + piece] for at in range(0, len(data), piece))
            reader = TarReader(pieces, "the layer", usage)
            for entry in reader.entries(take if plain else None):
                put_entry(tree, reader, entry)
    except FastociError as error:
        return f"{error.what} | {error.cause}"
    table = tree.finish(b"", patterns)
    count = table.arrange()
    # A path is put together anew each time: of those of a hundred thousand directories a few say enough.
    return [table.describe(number) for number in range(min(count, 3000))] + [count]


def check(*layers, patterns=()):
    expected = recorded(*layers, plain=False, patterns=patterns)
    for piece in (700, 512, 1 << 20):
        assert recorded(*layers, plain=True, piece=piece, patterns=patterns) == expected
    return expected


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_of_the_corpus(name):
    check(archive(name), archive("nothing"))


def test_changed_archives():
    taken = 0
    for seed in range(times(150, 20_000)):
        rng = random.Random(seed)
        taken += isinstance(check(good_archive(rng), changed_archive(rng)), list)
    assert taken > 20


@given(st.data(), st.sampled_from(FORMS))
@settings(max_examples=times(40, 600), suppress_health_check=[HealthCheck.too_slow])
def test_any_archives(data, form):
    """In all forms, with patterns and without."""
    layers = [written(form, data.draw(trees(form))) for _ in range(2)]
    check(*layers)
    check(*layers, patterns=("*a*", "!**/b"))


@pytest.mark.parametrize("act", ["put", "link", "take"])
def test_names_without_end(monkeypatch, act):
    monkeypatch.setattr(recorded_module, "_HELD", 20_000)
    tree, deep = RecordedTree("the image"), b"/".join([b"d" * 90] * 1000)
    tree.put(b"a", "fifo", 0o600, (0, 0), 0)
    many = written("ustar", [Member(b"%d" % number, "file") for number in range(1000)])
    acts = {
        "put": lambda: tree.put(deep, "directory", 0o755, (0, 0), 0),
        "link": lambda: tree.link(deep, b"a"),
        "take": lambda: tree.take(many, 0, 1000),
    }
    with pytest.raises(InvalidImageError, match="the image has directories without end") as caught:
        acts[act]()
    assert caught.value.cause == "their names take over 20,000 bytes"


@pytest.mark.parametrize("path", [b"n" * 256, b"d/" + b"n" * 300 + b"/x"])
def test_names_that_are_too_long(path):
    tree = RecordedTree("the image")
    tree.put(b"a", "fifo", 0o600, (0, 0), 0)
    for act in (lambda: tree.put(path, "fifo", 0o600, (0, 0), 0), lambda: tree.link(path, b"a")):
        with pytest.raises(InvalidImageError, match="on no system") as caught:
            act()
        assert caught.value.cause == f"it has a name of {max(map(len, path.split(b'/')))} bytes"
