"""What `import fastoci` gives: the public names, lazily, whatever else was imported before."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastoci

PUBLIC = {
    # functions
    "build_image", "inspect_image", "load_image", "log_in", "log_out", "open_image", "push_image", "unpack_image",
    "validate_image", "collect_garbage", "copy_image", "create_index", "diff_images", "list_images", "list_referrers",
    "pack_layer", "make_report", "pull_image", "read_config", "read_digest", "read_manifest", "rebase_image",
    "set_config", "tag_image",
    # what they take and give
    "Collected", "CopiedImage", "Difference", "Listed",
    "BuildResult", "ConfigOptions", "Finding", "ImageSource", "Inspection", "LayerOptions", "LoadedImage", "Login",
    "Limits", "Output", "Owners", "PushedImage", "RegistryOptions", "TreePolicy", "TreeSource", "Unpacked",
    "Validation", "Removals", "Report", "Split",
    # values of the specification
    "Descriptor", "Digest", "ImageName", "Platform", "Reference",
    # progress and errors
    "Event", "Sink", "errors", "events",
    "AccessDeniedError", "BlobMismatchError", "EngineError", "FastociError", "ImageNotFoundError", "InvalidImageError",
    "ManifestNotFoundError", "RegistryError", "RegistryResponseError", "StoreError", "TreeChangedError", "TreeError",
    "TreeNameError", "UsageError",
    "__version__",
}  # fmt: skip


def test_public_names():
    assert set(fastoci.__all__) == PUBLIC
    assert len(fastoci.__all__) == len(PUBLIC)
    # All of the error tree; beside it stands what writes its causes.
    assert set(fastoci.errors.__all__) - {"reason"} <= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_name_is_there(name):
    value = getattr(fastoci, name)
    assert value is getattr(fastoci, name)
    assert name in dir(fastoci)


@pytest.mark.parametrize(
    "name", sorted(name for name in PUBLIC if name[0].islower() and name not in ("errors", "events"))
)
def test_functions_are_functions_and_not_modules(name):
    for home in fastoci._HOMES.values():
        importlib.import_module(home.partition(":")[0])
    assert inspect.isfunction(getattr(fastoci, name))
    assert inspect.ismodule(fastoci.build)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="'fastoci' has no attribute 'nothing'"):
        _ = fastoci.nothing
    with pytest.raises(ImportError):
        from fastoci import nothing  # noqa: F401


def test_type_checkers_see_the_same():
    tree = ast.parse(Path(fastoci.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen.keys() == PUBLIC - {"__version__"}
    for name, (module, attribute) in seen.items():
        assert getattr(importlib.import_module(module), attribute) is getattr(fastoci, name)


def test_nothing_is_imported_before_it_is_used():
    script = "import sys, fastoci; print(sorted(m for m in sys.modules if m.startswith('fastoci')))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert ast.literal_eval(out) == ["fastoci", "fastoci.version"]


def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "docs" / "usage.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert examples
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs" / "motd").write_text("welcome")
    monkeypatch.chdir(tmp_path)
    for example in examples:
        exec(compile(example, "docs/usage.md", "exec"), {})
    assert "motd changed content" in capsys.readouterr().out
