"""The house's floors: imports point down only, and starting up imports no more than it must.

    cli  >  use cases (files here), checks  >  building  >  images
      >  layer  store  registry  rootfs (siblings)  >  tree  tar  events  >  spec  >  errors

`version` and `units` lie beneath everything. The engine lies beneath `tree`, which scans with it, `layer`, which
renders, and `ending`, which all who hold something may use.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import fastoci

PACKAGE = Path(fastoci.__file__).parent

# What images, builds, checks and use cases are built upon: the floors below, and small tools.
BENEATH = {
    "layer",
    "store",
    "registry",
    "rootfs",
    "tar",
    "tree",
    "ending",
    "threads",
    "parallel",
    "temporary",
    "counted",
    "units",
    "events",
    "spec",
    "errors",
    "version",
}

# Room -> the rooms of fastoci that it may import besides itself. A use case is any file in the package itself that has
# no line of its own here.
MAY_IMPORT = {
    "version": set(),
    "errors": set(),
    "ending": {"_engine"},
    "threads": {"ending", "errors"},
    "units": set(),
    "_engine": set(),
    "spec": {"errors"},
    "events": {"spec", "errors"},
    "tar": {"spec", "errors"},
    "tree": {"_engine", "ending", "threads", "events", "spec", "errors"},
    "layer": {"_engine", "ending", "tar", "threads", "tree", "events", "spec", "errors", "version"},
    "store": {"ending", "threads", "events", "spec", "errors", "version"},
    "registry": {"ending", "units", "events", "spec", "errors", "version"},
    "rootfs": {"_engine", "ending", "tar", "threads", "units", "events", "spec", "errors", "version"},
    "counted": set(),
    "temporary": {"ending", "errors"},
    "parallel": {"ending", "threads", "errors"},
    "images": BENEATH,
    "building": {"images", *BENEATH},
    "checks": {"use case", "building", "images", *BENEATH},  # what a tree gives is compared with what `unpack` reads
    "use case": {"checks", "building", "images", *BENEATH},
    "cli": {"use case", "checks", "building", "images", *BENEATH},
    # The package's own name gives out what is public, whichever floor that is on.
    "__init__": {"use case", "checks", "building", "images", *BENEATH},
    "__main__": {"cli"},
}

# Which of the engine's modules a room may import. The package of them, which has its errors, is for both, and so is the
# table of entries: it is what `tree` hands to `layer`.
ENGINE = {
    "ending": {"ending"},
    "tree": {"scanner", "table", "pattern", "comparison", "contents", "layered"},
    "rootfs": {"writer", "directories"},
    "layer": {"plan", "division", "ahead", "renderer", "header", "table", "sample", "fingerprint"},
}

# Packages from outside -> the rooms that may import them, so that each can be replaced in one place.
THIRD_PARTY = {
    "isal": {"layer", "images"},  # who reads layers inflates what `layer` deflated
    "backports": {"layer"},
    "compression": {"layer"},
    "urllib3": {"registry"},
    "rich": {"cli"},
    "typer": {"cli"},
}

# Packages that cost time at start-up, and must not be loaded before a command needs them.
HEAVY = ("urllib3", "rich", "typer", "click", "isal", "email", "http", "ssl")


@dataclass(frozen=True)
class Import:
    """One import, by absolute name, and where it stands."""

    importer: str
    imported: str
    where: str


def module_name(path: Path) -> str:
    parts = ["fastoci", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    """Return the room that a module of fastoci belongs to."""
    if module == "fastoci":
        return "__init__"
    top = module.split(".")[1]
    return top if top in MAY_IMPORT else "use case"


def imports_of(module: str, path: Path) -> list[Import]:
    """Return the imports of a file wherever in it they stand: in functions and under TYPE_CHECKING, too."""
    found: list[Import] = []

    def add(name: str, node: ast.AST) -> None:
        found.append(Import(module, name, f"{path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 0)}"))

    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name, node)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            for alias in node.names:
                # `from fastoci import errors` imports a module, `from fastoci.errors import X` a name in one.
                submodule = f"{base}.{alias.name}"
                is_module = submodule in MODULES or base == "fastoci._engine"
                add(submodule if is_module and not alias.name[:1].isupper() else base, node)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            # importlib.import_module("…"), or a lazy loader of that kind
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                add(node.args[0].value, node)
    return found


IMPORTS = [found for module, path in MODULES.items() for found in imports_of(module, path)]
OWN = [found for found in IMPORTS if found.imported.split(".")[0] == "fastoci"]


def test_every_room_is_known() -> None:
    """A new directory needs a floor of its own: say above which it may build."""
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= MAY_IMPORT.keys(), f"add to MAY_IMPORT: {sorted(rooms - MAY_IMPORT.keys())}"


def test_the_map_of_the_house_has_every_room() -> None:
    """What a newcomer reads first: docs/architecture.md, "The rooms". Of the use cases it names some."""
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()
    block = page.partition("\n    src/fastoci/\n")[2].partition("\n    tests/")[0]
    shown = {name for line in block.splitlines() for name in re.findall(r"([a-z_]+)(?:/|\.py)", line[:28])}
    rooms = MAY_IMPORT.keys() - {"use case", "version", "__init__", "__main__"}
    assert rooms <= shown
    assert {room(f"fastoci.{name}") for name in shown - rooms} == {"use case"}
    assert {f"fastoci.{name}" for name in shown} <= MODULES.keys()


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_imports_point_down(name: str) -> None:
    allowed = MAY_IMPORT[name] | {name}
    wrong = [
        f"{found.where}: {found.importer} ({name}) imports {found.imported} ({room(found.imported)})"
        for found in OWN
        if room(found.importer) == name and room(found.imported) not in allowed
    ]
    assert not wrong, "\n".join([*wrong, f"{name} may import only: {', '.join(sorted(allowed))}"])


def test_siblings_do_not_meet() -> None:
    """A table that allowed it would be a wrong table."""
    siblings = {"layer", "store", "registry", "rootfs"}
    for name in siblings:
        assert not MAY_IMPORT[name] & (siblings - {name})


def test_each_room_takes_its_own_part_of_the_engine() -> None:
    wrong = []
    for found in OWN:
        if room(found.imported) != "_engine" or room(found.importer) == "_engine":
            continue
        part = found.imported.removeprefix("fastoci._engine").lstrip(".")
        if part and part not in ENGINE.get(room(found.importer), set()):
            wrong.append(f"{found.where}: {found.importer} imports {found.imported}")
    told = "; ".join(f"{name} may import {', '.join(sorted(parts))}" for name, parts in ENGINE.items())
    assert not wrong, "\n".join([*wrong, told])


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_packages_from_outside_have_one_home(package: str) -> None:
    wrong = [
        f"{found.where}: {found.importer} imports {found.imported}"
        for found in IMPORTS
        if found.imported.split(".")[0] == package and room(found.importer) not in THIRD_PARTY[package]
    ]
    assert not wrong, "\n".join([*wrong, f"{package} is for {', '.join(sorted(THIRD_PARTY[package]))} alone"])


def test_use_cases_do_not_import_each_other_in_a_circle() -> None:
    cases = {found.importer for found in OWN if room(found.importer) in ("use case", "checks", "building", "images")}
    uses = {case: {found.imported for found in OWN if found.importer == case} & cases - {case} for case in cases}
    while free := {case for case, used in uses.items() if not used}:
        uses = {case: used - free for case, used in uses.items() if case not in free}
    assert not uses, f"these import each other in a circle: {uses}"


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a statement."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    # -I: neither the environment nor the working directory adds anything.
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("statement", ["import fastoci", "import fastoci.cli", "import fastoci.cli.app"])
def test_starting_up_imports_nothing_heavy(statement: str) -> None:
    # What an interpreter loads by itself, an editable install's finder among it, is not ours to answer for.
    loaded = loaded_by(statement) - loaded_by("pass")
    heavy = sorted(name for name in loaded if name.split(".")[0] in HEAVY)
    assert not heavy, f"`{statement}` loads {', '.join(heavy)}; import it in the function that needs it"


def loaded_by_command(*arguments: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a command line, beyond what it loads by itself."""
    lines = [
        "import os, sys",
        f"sys.argv[1:] = {list(arguments)!r}",
        # What the script that pip installs does.
        "from fastoci.cli import main",
        # It has still to tell what it has loaded.
        "os._exit = sys.exit",
        "kept = os.dup(1)",
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)",
        "try:",
        "    main()",
        "except SystemExit as end:",
        "    assert not end.code, end.code",
        "sys.stdout.flush()",
        "os.dup2(kept, 1)",
    ]
    return loaded_by("\n".join(lines)) - loaded_by("import os, sys")


def named(modules: set[str], *packages: str) -> list[str]:
    """Return those of the modules that belong to one of the packages."""
    return sorted(name for name in modules if any(f"{name}.".startswith(f"{package}.") for package in packages))


def test_version_is_told_before_anything_is_imported() -> None:
    loaded = loaded_by_command("--version")
    assert named(loaded, "fastoci") == ["fastoci", "fastoci.cli", "fastoci.version"]
    assert not named(loaded, "typing", "re", "dataclasses", "enum", "gc")


def test_the_list_of_commands_does_without_typer() -> None:
    assert not named(loaded_by_command("--help"), "typer", "urllib3", "rich", "isal", "dataclasses")


def test_help_of_build_imports_nothing_that_builds() -> None:
    loaded = loaded_by_command("build", "--help")
    assert not named(
        loaded, "urllib3", "rich", "isal", "pydantic", "fastoci.build", "fastoci.layer", "fastoci.registry"
    )


def test_a_build_imports_nothing_of_the_network_nor_of_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    loaded = loaded_by_command("build", str(tmp_path / "tree"), "-o", f"oci:{tmp_path}/image", "--progress=none")
    assert "fastoci.build" in loaded
    assert not named(loaded, "urllib3", "rich", "http", "ssl", "pydantic")
    # How registries are reached is a value among the arguments, and nothing more.
    assert named(loaded, "fastoci.registry") == ["fastoci.registry", "fastoci.registry.options"]


def test_a_tree_into_a_layout_needs_neither_archives_nor_what_is_seldom_asked_for(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    loaded = loaded_by_command("build", str(tmp_path / "tree"), "-o", f"oci:{tmp_path}/image", "--progress=none")
    assert not named(loaded, "tarfile", "tempfile", "random", "csv", "tomllib", "logging", "getpass")
    seldom = ("archive", "archive_reader", "docker_archive", "tarmembers")
    assert not named(
        loaded,
        "fastoci.layer.tarball",
        "fastoci.tree.chmod",
        "fastoci.building.removals",
        *(f"fastoci.store.{name}" for name in seldom),
    )
