"""Real registries behind a line that breaks, and clients and servers that are killed: no byte is sent in vain.

The short form takes seconds. FASTOCI_TESTS=long runs the same with blobs of a gibibyte; `docs/reliability.md` has its
numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from realparts.line import Line
from realparts.processes import LEFT_OUT, until
from realparts.program import Fastoci, program
from realparts.registries import PROGRAMS, has_distribution_3, program_path, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from realparts.registries import Registry

MIB = 1 << 20
LONG = os.environ.get("FASTOCI_TESTS") == "long"
SIZE = (1024 if LONG else 24) * MIB
KILLED_SIZE = (512 if LONG else 24) * MIB
CHUNK = (16 if LONG else 2) * MIB
RATE = (400 if LONG else 60) * MIB  # bytes a second where something is to happen in the middle
RESETS = [1, 2, 5, 10, 20, 50] if LONG else [1, 5]
# Seconds that the server has to read what it was sent: what lies unread in its socket when the line breaks, it has not
# received, and a quick client fills that with megabytes.
DRAIN = 0.05
KILLS = (0.1, 0.3, 0.6, 0.9) if LONG else (0.1, 0.6)
SLACK = 256 << 10  # what is no blob: questions, headers, the config, the manifest

needs_distribution_3 = pytest.mark.skipif(not has_distribution_3(), reason=f"{LEFT_OUT}no `registry` on PATH")


@pytest.fixture(scope="module", params=list(PROGRAMS.values()), ids=list(PROGRAMS))
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that may be killed."""
    with running(program_path(request.param), tmp_path_factory.mktemp("registry")) as one:
        yield one


@pytest.fixture(scope="module")
def going_on(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Distribution 3.1, which goes on in the middle of a PATCH."""
    with running(program_path("registry"), tmp_path_factory.mktemp("registry")) as one:
        yield one


@dataclass
class Work:
    """A tree of one large file, the same in a layout, and how both are brought to a registry."""

    fastoci: Fastoci
    tree: Path
    layout: str
    digest: str
    layer: str
    size: int

    def command(self, how: str, host: str, repository: str) -> list[str]:
        name = f"{host}/{repository}:1"
        chunks = ["--chunk-size", str(CHUNK), "--progress", "plain"]
        if how == "push":
            return ["push", self.layout, name, *chunks]
        return ["build", str(self.tree), "-t", name, "--push", *chunks]

    def stands(self, registry: Registry, repository: str) -> None:
        """Hold what lies in the server's storage against its digest."""
        v2 = registry.storage / "docker/registry/v2"
        tag = (v2 / "repositories" / repository / "_manifests/tags/1/current/link").read_text()
        assert tag == self.digest
        assert (v2 / "repositories" / repository / "_layers/sha256" / self.layer / "link").exists()
        with (v2 / "blobs/sha256" / self.layer[:2] / self.layer / "data").open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == self.layer


def make_work(top: Path, size: int) -> Work:
    """Make a tree that does not compress, and its image."""
    fastoci = Fastoci(program(), top / "home")
    (top / "tree").mkdir()
    with (top / "tree/noise").open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    layout = f"oci:{top}/image.oci:1"
    digest = fastoci.ok("build", top / "tree", "-o", layout).digest
    layer = json.loads(fastoci.ok("inspect", "--raw", layout).stdout)["layers"][0]
    return Work(fastoci, top / "tree", layout, digest, layer["digest"].removeprefix("sha256:"), layer["size"])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return make_work(tmp_path_factory.mktemp("large"), SIZE)


@pytest.fixture(scope="module")
def killed(large: Work, tmp_path_factory: pytest.TempPathFactory) -> Work:
    return large if KILLED_SIZE == SIZE else make_work(tmp_path_factory.mktemp("killed"), KILLED_SIZE)


def note(text: str) -> None:
    """Say what was measured: pytest shows it where it is asked to (-rA)."""
    sys.stderr.write(f"{text}\n")


def total(said: str) -> str:
    """Return the line of what it cost."""
    found = re.search(r"total: (.*)", said)
    assert found, said
    return found[1]


@needs_distribution_3
@pytest.mark.parametrize(("how", "resets"), [*(("push", count) for count in RESETS), ("build", RESETS[-1])])
def test_resets(how: str, resets: int, going_on: Registry, large: Work) -> None:
    """However often the line breaks: it always succeeds, and the server receives hardly more than the blob."""
    repository = f"broken/{how}-{resets}"
    with Line(going_on.host, breaks=[large.size // (resets + 1)] * resets, rate=RATE, drain=DRAIN) as line:
        # One at a time: with two the chunks of a blob may be spread over connections that never come to their break.
        result = large.fastoci.ok(*large.command(how, line.host, repository), "--jobs", "1", timeout=600)
    large.stands(going_on, repository)
    note(f"{how}, {resets} resets: {line.sent / large.size:.4f} of the blob; {total(result.stderr)}")
    assert line.resets == resets
    assert line.sent <= large.size * 1.05 + SLACK


@pytest.mark.parametrize("how", ["push", "build"])
def test_client_killed_again_and_again(how: str, registry: Registry, killed: Work) -> None:
    """At parts of the blob, in the middle of whatever it does; where the registry can go on, the upload does."""
    goes_on = registry.daemon.name == "registry"
    repository = f"killed/{how}"
    said = []
    with Line(registry.host, rate=RATE) as line:
        for part in KILLS:
            begun = line.sent
            process = killed.fastoci.start(*killed.command(how, line.host, repository))
            # Where the blob has to start over, the part is of what this run sends.
            goal = part * killed.size if goes_on else begun + part * killed.size
            until("the upload", lambda g=goal: line.sent >= g, seconds=300, alive=lambda p=process: p.poll() is None)
            process.kill()
            said.append(process.communicate()[1].decode())
        sent = line.sent
        result = killed.fastoci.ok(*killed.command(how, line.host, repository), timeout=600)
    said.append(result.stderr)
    killed.stands(registry, repository)
    note(f"{how}, killed at {KILLS}: {line.sent / killed.size:.4f} of the blob; {total(result.stderr)}")
    if goes_on:
        assert all(re.search(r"resumed \S+ at ", text) for text in said[1:])
        assert line.sent <= killed.size + len(KILLS) * CHUNK + SLACK
    else:
        assert all(re.search(r"resumed \S+ at |the upload of an earlier run is lost", text) for text in said[1:])
        assert line.sent - sent <= killed.size + CHUNK + SLACK  # what the line had still to hand over


@pytest.mark.parametrize("how", ["push", "build"])
def test_client_killed_between_chunks(how: str, registry: Registry, killed: Work) -> None:
    """There even a registry that loses broken sessions goes on, and nothing is sent twice."""
    repository = f"between/{how}"
    with Line(registry.host) as line:
        line.hold_from = killed.size // 2
        process = killed.fastoci.start(*killed.command(how, line.host, repository))
        until("the upload", line.held.is_set, seconds=300, alive=lambda: process.poll() is None)
        process.kill()
        process.communicate()
        line.hold_from = None
        result = killed.fastoci.ok(*killed.command(how, line.host, repository), timeout=600)
    killed.stands(registry, repository)
    note(f"{how}, killed between chunks: {line.sent / killed.size:.4f} of the blob; {total(result.stderr)}")
    assert re.search(r"resumed \S+ at ", result.stderr), result.stderr
    assert line.sent <= killed.size + SLACK


@pytest.mark.parametrize("how", ["push", "build"])
def test_server_killed_and_started_again(how: str, registry: Registry, killed: Work) -> None:
    """In the middle of a PATCH: the same run of the client goes on, or begins the blob again."""
    repository = f"server/{how}"
    with Line(registry.host, rate=RATE) as line:
        process = killed.fastoci.start(*killed.command(how, line.host, repository))
        half = killed.size // 2
        until("the upload", lambda: line.sent >= half, seconds=300, alive=lambda: process.poll() is None)
        registry.kill()
        registry.resume()
        _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said.decode()
    killed.stands(registry, repository)
    note(f"{how}, server killed: {line.sent / killed.size:.4f} of the blob; {total(said.decode())}")
    if registry.daemon.name == "registry":
        # What it had read and not yet written is gone with it.
        assert line.sent <= killed.size + 2 * CHUNK + SLACK
