"""The pages are true: what they name is there, what they link to too, and the command lines of docs/usage.md run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fastoci.build import build
from fastoci.building.config import ConfigOptions
from fastoci.cli.app import COMMANDS, function_of
from fastoci.cli.command import parser_of
from fastoci.cli.settings import long_name
from fastoci.spec.platform import Platform

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
USAGE = PAGES["usage.md"]

# Where a file may be meant to stand that is named without its folder.
FOLDERS = ("", "src/fastoci", "ext/fastoci", "ext/fastoci/_engine", "benchmarks")

# Options of others, which the pages name.
FOREIGN = {"--dist"}


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return what a link may point at in a page: its headings, as hosts of Markdown write them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    base = ROOT if page == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        name, _, anchor = target.partition("#")
        path = (base / name) if name else base / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), target


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page):
    named = re.findall(r"`([\w./-]+\.(?:py|pyx|pxd|pyi|c))`", PAGES[page])
    missing = [name for name in named if not any((ROOT / folder / name).is_file() for folder in FOLDERS)]
    assert missing == []


def test_the_table_of_the_engine_is_whole():
    section = PAGES["architecture.md"].partition("## The native boundary")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    named = re.findall(r"`([\w.]+)`", " ".join(rows))
    there = {path.name for path in (ROOT / "ext/fastoci/_engine").glob("*.p[yx][xd]")}
    # A module's own declarations stand beside it, and need no line of theirs.
    there -= {name for name in there if name.endswith(".pxd") and f"{name[:-4]}.pyx" in there}
    assert sorted(named) == sorted(there)


OPTIONS = {
    name: {
        spelling
        for param in parser_of(name, function_of(name)).params
        if param.param_type_name == "option"
        for spelling in (*param.opts, *param.secondary_opts)
    }
    for name in COMMANDS
}


@pytest.mark.parametrize("page", ["README.md", "usage.md", "reliability.md", "registries.md", "layer-format.md"])
def test_options_that_are_named_are_there(page):
    known = {"--help", "--version", *FOREIGN}.union(*OPTIONS.values())
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", PAGES[page]))
    named -= {option for option in named if f"{option}-*" in PAGES[page]}
    assert named - known == set()


def test_variables_that_are_named_are_there():
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    options = {
        f"FASTOCI_{key.upper().replace('-', '_')}"
        for name in COMMANDS
        for param in parser_of(name, function_of(name)).params
        if (key := long_name(param)) is not None
    }
    named = set(re.findall(r"FASTOCI_[A-Z_]*[A-Z]", PAGES["README.md"] + USAGE))
    assert {name for name in named if name not in options and f'"{name}"' not in source} == set()


def test_every_command_has_its_place_in_the_guide():
    assert [name for name in COMMANDS if f"fastoci {name}" not in USAGE] == []


def test_a_synopsis_names_options_of_its_command():
    lines = re.findall(r"^ {4}fastoci (.*)$", USAGE, re.MULTILINE)
    assert lines
    for line in lines:
        for part in re.split(r" \| (?=[a-z]+ [A-Z])", line):
            name = max((name for name in COMMANDS if part.startswith(name)), key=len)
            assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", part)) <= OPTIONS[name], line


def test_the_first_example_of_the_readme_is_a_command_line():
    (block,) = fenced(PAGES["README.md"], "console")
    (line,) = (line for line in block.splitlines() if line.startswith("$ "))
    _, program, name, *arguments = shlex.split(line)
    assert program == "fastoci"
    parser_of(name, function_of(name)).make_context(name, arguments)


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> str:
    """A directory with `fastoci` in it, for PATH."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "fastoci"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m fastoci "$@"\n')
    program.chmod(0o755)
    return str(folder)


@pytest.fixture
def place(tmp_path, hub):
    """What the examples take as there: trees, and the images that they speak of, at a registry."""
    place = tmp_path / "place"
    for name in ("rootfs/bin", "app", "checkout/.git"):
        (place / name).mkdir(parents=True)
    (place / "rootfs/bin/hello").write_text("#!/bin/sh\necho hello\n")
    (place / "app/main.py").write_text("print('hello')\n")
    (place / "checkout/README").write_text("read me\n")

    def push(tag: str, *sources: str, base: str | None = None, platform: str | None = None) -> None:
        config = ConfigOptions(platform=None if platform is None else Platform.parse(platform))
        base = None if base is None else f"{hub.host}/team/{base}"
        build([str(place / source) for source in sources], tags=[f"{hub.host}/team/{tag}"], push=True, config=config,
              base=base)  # fmt: skip

    push("base:1", "rootfs")
    push("base:2", "rootfs", "checkout")
    push("app:1", "app", base="base:1")
    for architecture in ("amd64", "arm64"):
        push(f"app:1-{architecture}", "app", platform=f"linux/{architecture}")
    return place


EXAMPLES = fenced(USAGE, "sh")


@pytest.mark.parametrize("example", EXAMPLES, ids=[" ".join(example.split()[:3]) for example in EXAMPLES])
def test_the_command_lines_of_the_guide_run(example, place, hub, command, no_credentials):
    if example.startswith("fastoci unpack"):
        # It makes what the others begin with.
        (place / "rootfs").rename(place / "other")
    script = re.sub(r"\b(registry|mirror)\.example\b", hub.host, example)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place,
        env={**os.environ, "PATH": f"{command}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "error:" not in done.stderr
