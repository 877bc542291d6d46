"""The error tree: exit codes, builtin ancestors, and facts that survive pickling."""

from __future__ import annotations

import pickle

import pytest

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
    assert {name: getattr(errors, name).exit_code for name in errors.__all__} == EXIT_CODES


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
