"""Trees that went through an archive, ours and other writers', are what they were; and what others make of them."""

from __future__ import annotations

import gzip
import os
import subprocess

import pytest

from fastoci.tree.policy import TreePolicy
from fastoci.unpack import Owners, unpack
from oracles import unpackers
from oracles.nasty import is_root
from oracles.packing import pack
from oracles.snapshot import differences, snapshot

BEYOND_THE_KERNEL = "deepest"  # its paths are over 4,096 bytes long, which GNU tar does not take


def unpacked(blob, directory):
    unpackers.write_layout(directory / "layout", blob)
    result = unpack(f"oci:{directory}/layout:latest", str(directory / "out"))
    assert result.layers == 1
    return directory / "out"


def test_the_nasty_tree_comes_back_whole(nasty_tree, tmp_path):
    """Its paths reach beyond what the kernel takes at once."""
    out = unpacked(pack(nasty_tree.path).blob, tmp_path)
    try:
        assert differences(nasty_tree.entries, snapshot(out)) == []
    finally:
        # pytest cannot remove so deep a tree.
        subprocess.run(["rm", "-rf", out], check=True)


@pytest.mark.parametrize("form", ["gnu", "pax", "oldgnu"])
def test_what_gnu_tar_wrote_comes_back_whole(form, nasty_tree, tmp_path):
    tar = unpackers.program("tar", "tar")
    options = ["--xattrs", "--xattrs-include=*"] if form == "pax" else []
    options += ["--numeric-owner", "--warning=none", f"--exclude={BEYOND_THE_KERNEL}"]
    done = subprocess.run(
        [tar, "-C", nasty_tree.path, f"--format={form}", *options, "-cf", "-", "."],
        capture_output=True,
        check=False,
    )
    if form != "pax" and done.returncode:
        # Times and owners that these forms cannot say are refused by the writer.
        assert b"out of" in done.stderr, done.stderr
        pytest.skip(f"GNU tar's form {form} cannot say all of this tree")
    out = unpacked(gzip.compress(done.stdout, 1), tmp_path)
    found = snapshot(out)
    expected = nasty_tree.without(BEYOND_THE_KERNEL)
    # GNU tar writes devices and FIFOs of several names once for each name (create.c, dump_hard_link).
    nodes = [path for path, entry in expected.items() if entry.kind in ("character", "block", "fifo")]
    wrong = [one for one in differences(expected, found) if one.fact != "names" or one.path not in nodes]
    if form != "pax":
        wrong = [one for one in wrong if not one.fact.startswith("xattr")]
    assert wrong == []


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ],
)
def test_sparse_files_of_gnu_tar_keep_their_holes(options, tmp_path):
    tar = unpackers.program("tar", "tar")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, regions, size in [
        ("many", [(number * 300_000 + 4096, b"%d" % number * 500) for number in range(40)], 20_000_000),
        ("end", [(9_999_000, b"x" * 1000)], 10_000_000),
        ("hole", [], 5_000_000),
    ]:
        with open(tree / name, "wb") as file:
            for offset, data in regions:
                file.seek(offset)
                file.write(data)
            file.truncate(size)
    written = subprocess.run([tar, "-C", tree, "-S", *options, "-cf", "-", "."], capture_output=True, check=True).stdout
    assert len(written) < 2_000_000
    out = unpacked(gzip.compress(written, 1), tmp_path)
    assert differences(snapshot(tree), snapshot(out)) == []
    assert sum(file.stat().st_blocks for file in out.iterdir()) * 512 < 4_000_000


def test_long_runs_of_zeros_become_holes(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, data in {
        "middle": b"a" * 100_000 + bytes(3_000_000) + b"b" * 77,
        "start": bytes(1_000_000) + b"x",
        "end": b"x" + bytes(2_000_001),
        "all": bytes(1_234_567),
        "small": bytes(10_000),
    }.items():
        (tree / name).write_bytes(data)
    out = unpacked(pack(str(tree)).blob, tmp_path)
    assert differences(snapshot(tree), snapshot(out)) == []
    used = {path.name: path.stat().st_blocks * 512 for path in out.iterdir()}
    assert used["middle"] < 400_000
    assert used["start"] + used["end"] + used["all"] < 400_000


@pytest.mark.skipif(not is_root(), reason="umoci restores owners and devices as root alone")
def test_umoci_and_gnu_tar_make_the_same_of_it(nasty_tree, tmp_path):
    blob = pack(nasty_tree.path, policy=TreePolicy(patterns=("deep", BEYOND_THE_KERNEL))).blob
    ours = snapshot(unpacked(blob, tmp_path))
    unpackers.gnu_tar(blob, tmp_path / "tar")
    assert differences(snapshot(tmp_path / "tar"), ours) == []
    unpackers.umoci(blob, tmp_path / "umoci")
    others = differences(ours, snapshot(tmp_path / "umoci"))
    assert [difference for difference in others if unpackers.excused_umoci(difference) is None] == []


def test_owners_stay_at_home_without_same_owner(nasty_tree, tmp_path):
    blob = pack(nasty_tree.path, policy=TreePolicy(patterns=("deep", BEYOND_THE_KERNEL))).blob
    unpackers.write_layout(tmp_path / "layout", blob)
    unpack(f"oci:{tmp_path}/layout:latest", str(tmp_path / "out"), owners=Owners(keep=False))
    owners = {(entry.uid, entry.gid) for entry in snapshot(tmp_path / "out").values()}
    assert owners == {(os.geteuid(), os.getegid())}
