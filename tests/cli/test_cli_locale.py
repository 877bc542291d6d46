"""What the user writes is UTF-8, whatever the locale says: the same command makes the same image everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# A locale of another encoding, which every system has: C without what Python does to make it UTF-8.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C.UTF-8"}


def run(surroundings, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "fastoci", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **surroundings},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_locale_is_another_one():
    said = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"],
        env=ASCII,
        capture_output=True,
        check=True,
    )
    assert said.stdout == b"ascii\n"


@pytest.mark.parametrize("surroundings", [ASCII, UTF8])
def test_patterns_and_texts_are_utf8(tmp_path, surroundings):
    for name in ("café", "caff", "☺x", os.fsdecode(b"latin\xe9")):
        (tmp_path / "tree" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(b"")
    options = ["--exclude", "caf[é-ü]", "--exclude", "?x", "-l", "who=☺", "-e", "WHERE=Zürich"]
    run(surroundings, "build", "tree", "-o", "oci:image:1", *options, cwd=tmp_path)
    config = json.loads(run(surroundings, "inspect", "oci:image:1", "--config", cwd=tmp_path))
    assert config["config"]["Labels"] == {"who": "☺"}
    assert config["config"]["Env"][-1] == "WHERE=Zürich"
    (layer,) = json.loads(run(surroundings, "inspect", "oci:image:1", "--json", cwd=tmp_path))["layers"]
    blob = tmp_path / "image/blobs/sha256" / layer["digest"].removeprefix("sha256:")
    listed = subprocess.run(["tar", "-tzf", blob, "--quoting-style=literal"], capture_output=True, check=True).stdout
    assert sorted(listed.split(b"\n")[:-1]) == [b"caff", b"latin\xe9"]


def test_what_an_image_says_is_shown_in_any_locale(tmp_path):
    (tmp_path / "tree").mkdir()
    run(UTF8, "build", "tree", "-o", "oci:image:1", "--author", "Ψ ☺", cwd=tmp_path)
    shown = {run(surroundings, "inspect", "oci:image:1", cwd=tmp_path) for surroundings in (ASCII, UTF8)}
    assert len(shown) == 1
    assert "Ψ ☺".encode() in shown.pop()
