"""Ignore files: the real docker's build context, and what fastoci packs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from realparts.processes import require

from fastoci.errors import UsageError
from fastoci.tree.patterns import compile_patterns, read_ignorefile

sys.path.append(str(Path(__file__).parent.parent))

from oracles.dockercontext import DockerContext
from oracles.ignorecases import TREE, left_out, make_tree, with_directories

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = Path(__file__).parent.parent / "tree" / "ignorecases.json"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerContext]:
    root = tmp_path_factory.mktemp("context")
    make_tree(root)
    with DockerContext(require("docker", "docker.io"), root) as docker:
        yield docker


def ours(ignore: str, directory: Path) -> list[str] | None:
    """Return what is left out by an ignore file, None where it is refused."""
    file = directory / "ignore"
    file.write_bytes(ignore.encode())
    try:
        patterns = compile_patterns(read_ignorefile(str(file)))
    except UsageError:
        return None
    return left_out(path for path in with_directories(TREE) if not patterns.excludes_path(path.encode()))


def test_the_recorded_cases_are_still_what_docker_does(context: DockerContext) -> None:
    recorded = json.loads(TABLE.read_text())
    said = subprocess.run([require("docker", "docker.io"), "--version"], capture_output=True, check=True, text=True)
    name = f"docker {said.stdout.split()[2].rstrip(',')}"
    wrong = []
    for record in recorded["cases"][::9]:
        # Of a version that was never recorded, only what all that were agree on can be asked.
        if name not in recorded["oracles"] and any(key.startswith("docker ") for key in record):
            continue
        if context.left_out(record["ignore"]) != record.get(name, record["buildkit"]):
            wrong.append(record["ignore"])
    assert wrong == []


PARTS = ["a", "ab", "b", "x.txt", "docs", "README.md", "*", "*", "**", "?", "/", "/", "/", "[ab]", "[^a]", "\\*", "."]
LINES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("".join)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(LINES, min_size=1, max_size=3))
def test_any_ignore_file_means_what_it_means_to_docker(
    lines: list[str], context: DockerContext, tmp_path: Path
) -> None:
    """Without exceptions, for which docker's classic builder does not look into what it leaves out."""
    text = "\n".join(lines)
    assert ours(text, tmp_path) == context.left_out(text)
