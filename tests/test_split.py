"""build --split: one tree over several layers is the tree, whoever unpacks it, however many threads packed it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings

from fastoci import events
from fastoci.build import build
from fastoci.errors import FastociError, TreeChangedError, UsageError
from fastoci.layer.options import LayerOptions, Split
from fastoci.unpack import unpack
from fastoci.validate import validate
from imagekit import make_tar
from oracles.longform import times
from oracles.randomtrees import TREES, made
from oracles.snapshot import differences, packable, snapshot
from oracles.threads import allow_threads, our_threads
from oracles.unpackers import excused_umoci, gnu_tar, program, run
from splitkit import blob, make_packages, make_tree, names_in, split


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert our_threads() == []


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("split") / "rootfs")


# What is unpacked.


@given(TREES)
@settings(max_examples=times(25, 1000))
def test_unpacked_it_is_the_tree(spec):
    with made(spec) as root:
        layout = os.path.join(os.path.dirname(root), "image.oci")
        result = split(root, layout, 5)
        unpack(f"oci:{layout}:1", os.path.join(os.path.dirname(root), "unpacked"))
        assert differences(packable(snapshot(root)), snapshot(os.path.join(os.path.dirname(root), "unpacked"))) == []
        assert validate(f"oci:{layout}:1").is_valid
        assert len(result.layers) <= 5


@given(TREES)
@settings(max_examples=times(8, 200))
def test_gnu_tar_unpacks_it_layer_after_layer(spec):
    with made(spec) as root, tempfile.TemporaryDirectory() as directory:
        result = split(root, f"{directory}/image.oci", 4)
        for layer in result.layers:
            gnu_tar(blob(f"{directory}/image.oci", layer), Path(directory, "unpacked"))
        assert differences(packable(snapshot(root)), snapshot(f"{directory}/unpacked")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="umoci needs root, or leaves owners out")
@given(TREES)
@settings(max_examples=times(6, 100))
def test_umoci_unpacks_it(spec):
    umoci = program("umoci", "umoci")
    with made(spec) as root, tempfile.TemporaryDirectory() as directory:
        split(root, f"{directory}/image.oci", 4)
        run([umoci, "unpack", "--image", f"{directory}/image.oci:1", f"{directory}/bundle"])
        found = differences(packable(snapshot(root)), snapshot(f"{directory}/bundle/rootfs"))
        assert [one for one in found if excused_umoci(one) is None] == []


def test_every_layer_stands_by_itself(tree, tmp_path):
    """Everything but a directory is in one layer, with all that is above it and all names of its file."""
    result = split(tree, tmp_path)
    assert len(result.layers) == 6
    layers = [names_in(tmp_path, layer) for layer in result.layers]
    held = [name for layer in layers for name, member in layer.items() if not member.isdir()]
    there = [str(path.relative_to(tree)) for path in tree.rglob("*")]
    assert sorted(held) == sorted(name for name in there if not (tree / name).is_dir() or (tree / name).is_symlink())
    for layer in layers:
        for name, member in layer.items():
            assert all(str(above) in layer for above in Path(name).parents if str(above) != ".")
            if member.islnk():
                assert layer[member.linkname].isreg()
    assert sum(member.islnk() for layer in layers for member in layer.values()) == 2
    assert "empty" in set().union(*layers)


def test_directories_have_their_time_in_the_last_layer_that_has_them(tree, tmp_path):
    result = split(tree, tmp_path)
    found = {}
    for layer in result.layers:
        for name, member in names_in(tmp_path, layer).items():
            if member.isdir():
                assert member.mode == 0o755
                found.setdefault(name, []).append(member.mtime)
    assert any(len(listed) > 1 for listed in found.values())
    for listed in found.values():
        assert listed == [0] * (len(listed) - 1) + [1_600_000_000]


def test_a_destination_and_a_second_source(tree, tmp_path):
    other = tmp_path / "other"
    (other / "x").mkdir(parents=True)
    (other / "x/file").write_bytes(b"data")
    (tree / "d1").chmod(0o711)
    try:
        result = build(
            [f"{tree}:/opt/app", f"{other}:/opt/app/d1/sub"], outputs=[f"oci:{tmp_path}/oci:1"], split=Split(count=3)
        )
    finally:
        (tree / "d1").chmod(0o755)
    assert len(result.layers) == 4
    # What the first source says of a directory holds for the second.
    members = names_in(f"{tmp_path}/oci", result.layers[3])
    assert (members["opt/app/d1"].mode, members["opt/app/d1"].mtime) == (0o711, 1_600_000_000)
    unpack(f"oci:{tmp_path}/oci:1", str(tmp_path / "unpacked"))
    assert (tmp_path / "unpacked/opt/app/d1/sub/x/file").read_bytes() == b"data"


# What it is called.


def test_history_names_the_parts(tree, tmp_path):
    result = split(tree, tmp_path, 3)
    config = json.loads((tmp_path / "blobs/sha256" / result.config.digest.hex).read_bytes())
    assert [step["created_by"] for step in config["history"]] == [
        f"COPY . / # fastoci --split 3 {n}/3" for n in (1, 2, 3)
    ]
    assert config["rootfs"]["diff_ids"] == [str(layer.diff_id) for layer in result.layers]
    assert config["created"] == "2020-09-13T12:26:40Z"


def test_what_is_said_on_the_way(tree, tmp_path):
    said = []
    result = split(tree, tmp_path, 3, sink=said.append)
    scanned = [event for event in said if isinstance(event, events.LayerScanned)]
    assert [(one.layer, one.size) for one in scanned] == [("rootfs", sum(one.tar_size for one in result.layers))]
    packed = [event.layer for event in said if isinstance(event, events.LayerPacked)]
    assert sorted(packed) == ["rootfs 1/3", "rootfs 2/3", "rootfs 3/3"]
    for title in packed:
        done = [event.done for event in said if isinstance(event, events.LayerProgress) and event.layer == title]
        assert done == sorted(done)
    assert {"render", "compress", "hash_tar", "total"} <= result.layers[1].timings.keys()


def test_one_layer_is_the_unsplit_one(tree, tmp_path):
    whole = build([str(tree)], outputs=[f"oci:{tmp_path}/whole:1"])
    assert split(tree, tmp_path / "split", 1).digest == whole.digest


def test_whose_everything_is_is_said_once(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: os.stat(tree).st_uid or 1)
    if os.stat(tree).st_uid == 0:
        shutil.copytree(tree, tmp_path / "tree", symlinks=True)
        for path in [tmp_path / "tree", *(tmp_path / "tree").rglob("*")]:
            os.chown(path, 1, 1, follow_symlinks=False)
        tree = tmp_path / "tree"
    said = []
    split(tree, tmp_path / "oci", sink=said.append)
    entries = sum(1 for _ in tree.rglob("*"))
    warnings = [event.message for event in said if isinstance(event, events.Warned)]
    assert [one for one in warnings if f"all {entries:,} entries belong" in one] == warnings


# The same bytes.


@pytest.mark.parametrize("threads", [1, 3, 4, 16])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_threads_change_nothing(tree, tmp_path, threads, compression):
    results = [
        build(
            [str(tree)],
            outputs=[f"oci:{tmp_path}/{number}:1"],
            split=Split(count=7),
            layer=LayerOptions(threads=number, compression=compression),
        )
        for number in (2, threads)
    ]
    assert results[0].digest == results[1].digest


def test_archives_are_the_same_every_time(tree, tmp_path):
    archives = []
    for threads in (1, 5):
        path = tmp_path / f"{threads}.tar"
        build([str(tree)], outputs=[f"oci-archive:{path}:1"], split=Split(count=5), layer=LayerOptions(threads=threads))
        assert validate(f"oci-archive:{path}").is_valid
        archives.append(path.read_bytes())
    assert archives[0] == archives[1]


def test_by_size(tree, tmp_path):
    size = 300_000
    result = build([str(tree)], outputs=[f"oci:{tmp_path}:1"], split=Split(size=size))
    assert 4 < len(result.layers) < 40
    # Beside the entries there are directories above and what ends an archive.
    assert max(layer.tar_size for layer in result.layers) <= size * 3 // 2 + 40 * 512


# The next version.


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("how", ["changed", "added", "removed"])
def test_of_twenty_layers_eighteen_stay(tmp_path, how, seed):
    """A hundredth of the files, all of one directory, is another, new or gone: two digests are others at most."""
    root, chance = tmp_path / "tree", random.Random(f"{how} {seed}")
    make_packages(root, seed)
    before = {layer.descriptor.digest for layer in split(root, tmp_path / "before", 26).layers}
    assert 16 <= len(before) <= 26
    package = chance.choice(sorted((root / "lib").iterdir()))
    for path in sorted(package.iterdir()):
        match how:
            case "changed":
                path.write_bytes(chance.randbytes(path.stat().st_size))
            case "added":
                path.with_name(f"{path.name}-new").write_bytes(chance.randbytes(path.stat().st_size))
            case "removed":
                path.unlink()
    after = {layer.descriptor.digest for layer in split(root, tmp_path / "after", 26).layers}
    assert 1 <= len(before - after) <= 2


# What goes wrong.


def test_a_file_that_changes_meanwhile(tree, tmp_path):
    copy = tmp_path / "tree"
    shutil.copytree(tree, copy)

    def sink(event):
        if isinstance(event, events.LayerScanned):
            with open(copy / "d4/e3/019", "ab") as file:
                file.write(b"x")

    with pytest.raises(TreeChangedError) as caught:
        split(copy, tmp_path / "oci", sink=sink)
    assert caught.value.path == str(copy / "d4/e3/019")
    assert list((tmp_path / "oci").rglob("sha256/*")) == []


@pytest.mark.parametrize("most", range(0, 24, 3))
def test_no_thread_to_be_had(tree, tmp_path, monkeypatch, most):
    """It ends in words, or, where only help is missing, well."""
    started = allow_threads(monkeypatch, most)
    with contextlib.suppress(FastociError):
        split(tree, tmp_path / "oci", threads=4)
        assert validate(f"oci:{tmp_path}/oci:1").is_valid
        return
    assert len(started) == most
    assert list((tmp_path / "oci").rglob("sha256/*")) == []


@pytest.mark.parametrize("at", [1, 2, 9, 30])
def test_whoever_is_told_of_the_progress_fails(tree, tmp_path, at):
    class MadeUpError(Exception):
        pass

    lock, seen = threading.Lock(), []

    def sink(event):
        with lock:
            seen.append(event)
            if len(seen) == at:
                raise MadeUpError

    try:
        split(tree, tmp_path / "oci", sink=sink)
    except MadeUpError:
        assert list((tmp_path / "oci").rglob("sha256/*")) == []
    else:
        assert len(seen) < at


def test_what_is_no_tree_is_not_split(tmp_path):
    (tmp_path / "a.tar").write_bytes(make_tar({"x": b""}))
    for source in (str(tmp_path / "a.tar"), "-"):
        with pytest.raises(UsageError, match="cannot be split") as caught:
            build([source], outputs=[f"oci:{tmp_path}/oci"], split=Split(count=2))
        assert caught.value.hint
    with pytest.raises(UsageError, match="nothing to split"):
        build([], outputs=[f"oci:{tmp_path}/oci"], split=Split(count=2), packed=["x.json"])
    assert not (tmp_path / "oci").exists()


def test_too_many_layers(tmp_path, monkeypatch):
    monkeypatch.setattr("fastoci.layer.split._DOCKER_LAYERS", 7)
    monkeypatch.setattr("fastoci.layer.split._MOST_LAYERS", 20)
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(30):
        (root / f"{number}").touch()
    with pytest.raises(UsageError, match="30 layers") as caught:
        build([str(root)], outputs=[f"oci:{tmp_path}/oci"], split=Split(size=1))
    assert "larger size" in caught.value.hint
    said = []
    build([str(root)], outputs=[f"oci:{tmp_path}/oci"], split=Split(count=8), sink=said.append)
    assert any("docker runs no image of more than 7" in str(event) for event in said)


@pytest.mark.parametrize("values", [{}, {"size": 1, "count": 1}, {"size": 0}, {"count": 0}, {"count": -1}])
def test_splits_that_are_none(values):
    with pytest.raises(UsageError):
        Split(**values)


# The command line.


def test_the_command(fastoci, tree, tmp_path):
    code, out, err = fastoci("build", tree, "-o", f"oci:{tmp_path}/oci:1", "--split", "4", "--progress", "plain")
    assert code == 0
    assert out.startswith(f"oci:{tmp_path}/oci:1@sha256:")
    assert "packing rootfs 3/4" in err
    assert len(json.loads(fastoci("inspect", out.strip(), "--raw")[1])["layers"]) == 4


@pytest.mark.parametrize(
    ("value", "hint"),
    [("0", "a size has a unit"), ("536870912", "a size has a unit"), ("much", "32MiB"), ("-3", ""), ("0M", "32MiB")],
)
def test_what_is_no_split(fastoci, tree, tmp_path, value, hint):
    code, out, err = fastoci("build", tree, "-o", f"oci:{tmp_path}/oci", f"--split={value}")
    assert (code, out) == (2, "")
    assert "error: --split" in err
    assert hint in err
    assert not (tmp_path / "oci").exists()


def test_a_size_on_the_command_line(fastoci, tree, tmp_path):
    code, out, _ = fastoci("build", tree, "-o", f"oci:{tmp_path}/oci:1", "--split", "256KiB")
    assert code == 0
    sizes = Split(size=256 << 10)
    wanted = build([str(tree)], outputs=[f"oci:{tmp_path}/other:1"], split=sizes)
    assert out.strip().endswith(str(wanted.digest))
