"""Records what BuildKit, and the docker clients named on the command line, leave out by each of the ignore files.

    python tests/oracles/record_ignorecases.py /usr/bin/docker

Writes `tests/tree/ignorecases.json`. Needs Go and its module proxy.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from oracles.dockercontext import DockerContext
from oracles.ignorecases import CASES, left_out, make_tree

HERE = Path(__file__).parent
TABLE = HERE.parent / "tree" / "ignorecases.json"
MODULES = ("github.com/moby/patternmatcher", "github.com/tonistiigi/fsutil")


def ask_buildkit(root: Path, scratch: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return the modules' versions, and what each ignore file keeps."""
    for name in ("go.mod", "main.go"):
        (scratch / name).write_bytes((HERE / "buildkitcontext" / name).read_bytes())
    subprocess.run(["go", "mod", "tidy"], cwd=scratch, check=True)
    listed = _output(["go", "list", "-m", "all"], scratch)
    versions = dict(
        line.split() for line in listed.splitlines() if line.startswith(tuple(m.split("@")[0] for m in MODULES))
    )
    subprocess.run(["go", "build", "-o", "ask", "."], cwd=scratch, check=True)
    asked = "".join(json.dumps(case) + "\n" for case in CASES)
    said = subprocess.run([scratch / "ask", root], input=asked, check=True, capture_output=True, text=True).stdout
    return versions, [json.loads(line) for line in said.splitlines()]


def _output(command: list[str], directory: Path | None = None) -> str:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


def main(clients: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root, scratch = Path(directory) / "tree", Path(directory) / "go"
        root.mkdir()
        scratch.mkdir()
        make_tree(root)
        versions, answers = ask_buildkit(root, scratch)
        recorded: list[dict[str, Any]] = []
        for case, answer in zip(CASES, answers, strict=True):
            kept = answer.get("kept")
            recorded.append({"ignore": case, "buildkit": None if kept is None else left_out(kept)})
        for client in clients:
            name = f"docker {_output([client, '--version']).split()[2].rstrip(',')}"
            with DockerContext(client, root) as docker:
                for record in recorded:
                    gone = docker.left_out(record["ignore"])
                    if gone != record["buildkit"]:
                        record[name] = gone
            versions[name] = "as BuildKit, but where it is noted"
    lines = ",\n".join(json.dumps(record, ensure_ascii=True) for record in recorded)
    TABLE.write_text(f'{{"oracles": {json.dumps(versions)}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main(sys.argv[1:])
