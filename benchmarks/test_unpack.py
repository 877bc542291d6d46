"""Unpacking an image of one layer: fastoci, and the peers beside it in the same run, each into an empty directory.

The layer is what fastoci makes of the tree, gzip, and in the page cache. Nothing here fails for being slow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import trees
from launch import Launch
from peers import Result
from records import Records, Run
from rounds import ROUNDS, chosen
from trees import Tree

pytestmark = pytest.mark.timeout(3600)

FASTOCI = f"{sysconfig.get_path('scripts')}/fastoci"

# What each restores: owners, modes, times and extended attributes. umoci and skopeo compare the blob's digest; tar
# compares nothing, and neither of them the diff_id.
_SKOPEO = """set -e
skopeo copy --quiet "oci:$1:latest" "dir:$PWD/copied"
mkdir out
tar -C out -xzpf "copied/$2" --xattrs --xattrs-include='*' --numeric-owner --same-owner"""

TOOLS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "fastoci unpack": ((FASTOCI,), [FASTOCI, "unpack", "--quiet", "oci:LAYOUT:latest", "out"]),
    "skopeo, GNU tar": (("bash", "skopeo", "tar"), ["bash", "-c", _SKOPEO, "bash", "LAYOUT", "LAYER"]),
    "umoci unpack": (("umoci",), ["umoci", "unpack", "--image", "LAYOUT:latest", "out"]),
}

LayoutOf = Callable[[Tree], tuple[str, str]]


@pytest.fixture(scope="module")
def layout_of() -> Iterator[LayoutOf]:
    """Return what makes a layout of a tree, once, and says its path and its layer's digest."""
    made: dict[str, tuple[str, str]] = {}

    def get(tree: Tree) -> tuple[str, str]:
        if tree.name not in made:
            path = os.path.join(trees.cache_directory(), f"unpack-{tree.name}.oci")
            shutil.rmtree(path, ignore_errors=True)
            command = [FASTOCI, "build", "--json", "--quiet", tree.path, "-o", f"oci:{path}"]
            said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            made[tree.name] = path, said["fastoci.layers"][0]["digest"].removeprefix("sha256:")
        return made[tree.name]

    yield get
    for path, _ in made.values():
        shutil.rmtree(path)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("name", chosen("mixed", "node", "rootfs"))
def test_unpack(
    name: str,
    number: int,
    tool: str,
    tree_of: Callable[[str], Tree],
    layout_of: LayoutOf,
    records: Records,
    directory: str,
    benchmark: BenchmarkFixture,
) -> None:
    needs, command = TOOLS[tool]
    missing = [program for program in needs if shutil.which(program) is None]
    if missing:
        records.left_out.append(f"{tool} on {name}: {', '.join(missing)} not on PATH")
        return
    tree = tree_of(name)
    layout, layer = layout_of(tree)
    words = [word.replace("LAYOUT", layout).replace("LAYER", layer) for word in command]
    with Launch(words, directory) as launch:
        with open(f"{layout}/blobs/sha256/{layer}", "rb") as file:
            while file.read(1 << 20):
                pass
        trees.settle()
        # pytest-benchmark leaves `pedantic` without annotations.
        benchmark.pedantic(launch.run, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    root = f"{directory}/out/rootfs" if "umoci" in tool else f"{directory}/out"
    found = sum(len(directories) + len(files) for _, directories, files in os.walk(root))
    assert found == tree.entries, f"{tool} made {found} entries of {tree.entries}"
    benchmark.group = f"unpack {name}"
    records.add(records.unpacking, tree, tool, Run(launch.usage, Result(os.path.getsize(file.name))))
