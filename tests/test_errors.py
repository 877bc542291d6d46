"""The error tree: exit codes, builtin ancestors, facts that survive pickling, and why something was refused."""

from __future__ import annotations

import ast
import errno
import os
import pickle
from pathlib import Path

import pytest

import fastoci
from fastoci import errors

EXIT_CODES = {
    "AccessDeniedError": 5,
    "BlobMismatchError": 1,
    "EngineError": 1,
    "FastociError": 1,
    "ImageNotFoundError": 1,
    "InvalidImageError": 3,
    "ManifestNotFoundError": 1,
    "RegistryError": 4,
    "RegistryResponseError": 4,
    "StoreError": 1,
    "TreeChangedError": 1,
    "TreeError": 1,
    "TreeNameError": 1,
    "UsageError": 2,
}


def test_every_class_has_the_exit_code_of_the_contract() -> None:
    classes = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert {name: getattr(errors, name).exit_code for name in classes} == EXIT_CODES


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.UsageError("wrong"), ValueError),
        (errors.InvalidImageError("broken"), ValueError),
        (errors.TreeError("cannot read", path="a"), OSError),
        (errors.StoreError("cannot write", path="a"), OSError),
        (errors.RegistryError("cannot reach"), OSError),
        (errors.AccessDeniedError("not allowed"), PermissionError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_builtin_handler_catches_what_fits_it(error: errors.FastociError, builtin: type[Exception]) -> None:
    assert isinstance(error, builtin)


@pytest.mark.parametrize(
    "error",
    [
        errors.UsageError("wrong", cause="why", hint="what to do"),
        errors.InvalidImageError("broken", cause="why", digest="sha256:00"),
        errors.TreeChangedError("a changed", path="a/\udcff", cause="size", errno=2),
        errors.ImageNotFoundError("no image", path="x", hint="look"),
        errors.AccessDeniedError("not in", method="POST", url="https://host/v2/", status=401),
    ],
    ids=lambda error: type(error).__name__,
)
def test_facts_survive_pickling(error: errors.FastociError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_the_text_is_what_failed_and_why() -> None:
    assert str(errors.TreeError("cannot open a", path="a", cause="permission denied")) == (
        "cannot open a: permission denied"
    )
    assert str(errors.UsageError("nothing to build")) == "nothing to build"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), "no such file or directory"),
        (OSError(errno.EIO, os.strerror(errno.EIO)), "input/output error"),
        (errno.EISDIR, "is a directory"),
        (errno.EDOTDOT, "RFS specific error"),
        (OSError("cannot read from timed out object"), "cannot read from timed out object"),
        (OSError(), "OSError"),
        (ValueError("Embedded null byte."), "embedded null byte"),
    ],
    ids=str,
)
def test_why_something_was_refused(error: BaseException | int, words: str) -> None:
    assert errors.reason(error) == words


def test_an_error_of_the_kernel_s_has_its_words_and_number() -> None:
    refused = PermissionError(errno.EACCES, "Permission denied", "a")
    error = errors.StoreError.from_os(refused, "cannot write a", path="a", hint="look")
    assert type(error) is errors.StoreError
    assert (str(error), error.hint) == ("cannot write a: permission denied", "look")
    assert (error.path, error.errno) == ("a", errno.EACCES)


def test_the_kernel_s_words_are_told_in_one_form() -> None:
    """Nobody asks for them but `reason`, and who raises an OSError as the kernel would."""
    found: list[str] = []
    package = Path(fastoci.__file__).parent
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_bytes())
        raised = {
            argument
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and len(node.args) > 1
            for argument in node.args[1:2]
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Attribute) and node.attr == "strerror"):
                continue
            is_raised = any(isinstance(call, ast.Call) and call.func is node for call in raised)
            if path.name != "errors.py" and not is_raised:
                found.append(f"{path.relative_to(package)}:{node.lineno}")
    assert found == []
