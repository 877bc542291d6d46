"""Cold trees: the page cache is dropped before each run, which disturbs all of the machine. Long form only, as root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from conftest import Pack
from peers import Fastoci, Peer, Pipeline, Result
from records import Records
from rounds import ROUNDS, SHORT, chosen
from trees import Tree

pytestmark = pytest.mark.timeout(3600)

DROP = "/proc/sys/vm/drop_caches"


class PlainPipeline(Pipeline):
    """Nothing but tar and igzip: no digest is made."""

    def __init__(self) -> None:
        super().__init__("igzip", "-1")
        self.name = "tar | igzip -1, alone"

    def command(self, tree: Tree, directory: str) -> list[str]:
        return ["bash", "-c", 'set -o pipefail; tar -C "$1" -cf - . | igzip -1 -c >layer.tar.gz', "bash", tree.path]

    def result(self, directory: str) -> Result:
        return Result(os.path.getsize(f"{directory}/layer.tar.gz"))


TOOLS: tuple[Peer, ...] = (Fastoci(), PlainPipeline())


def obstacle() -> str | None:
    """Return why there are no cold trees."""
    if SHORT:
        return "in the long form only"
    if os.geteuid():
        return "only root may drop the page cache"
    try:
        os.close(os.open(DROP, os.O_WRONLY))
    except OSError as error:
        return f"{DROP}: {error.strerror}"
    return None


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("name", chosen("node"))
def test_cold(
    name: str,
    number: int,
    tool: Peer,
    tree_of: Callable[[str], Tree],
    records: Records,
    directory: str,
    request: pytest.FixtureRequest,
) -> None:
    reason = obstacle() or tool.left_out(name)
    if reason:
        if number == 0:
            records.left_out.append(f"{tool.name} on a cold {name}: {reason}")
        return
    pack: Pack = request.getfixturevalue("pack")

    def drop() -> None:
        os.sync()
        with open(DROP, "w") as file:
            file.write("3")
        # The programs themselves were dropped, too; what is timed is the tree.
        nothing, place = f"{directory}/empty", f"{directory}/warming"
        os.mkdir(nothing)
        os.mkdir(place)
        subprocess.run(tool.command(Tree("empty", nothing, 0, 0), place), cwd=place, check=True, capture_output=True)

    records.add(records.cold, tree_of(name), tool.name, pack(tool, tree_of(name), before=drop))
