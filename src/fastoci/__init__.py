"""Directory trees into OCI images, and images to registries and engines.

    import fastoci

    result = fastoci.build_image(["./rootfs"], tags=["ghcr.io/me/base:1"], push=True)
    print(result.digest)

What stands in `__all__` is the public interface, and nothing else is. Each name is imported when it is first used, so
that `import fastoci` costs next to nothing. The functions are not called like the modules they live in (`build_image`
is `fastoci.build.build`): importing a module sets an attribute of its name on the package, and `fastoci.build` would
be a function or a module by what else the program had imported before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastoci.version import __version__

if TYPE_CHECKING:
    from fastoci.build import BuildResult, ConfigOptions
    from fastoci.build import build as build_image
    from fastoci.errors import (
        AccessDeniedError,
        BlobMismatchError,
        EngineError,
        FastociError,
        ImageNotFoundError,
        InvalidImageError,
        ManifestNotFoundError,
        RegistryError,
        RegistryResponseError,
        StoreError,
        TreeChangedError,
        TreeError,
        TreeNameError,
        UsageError,
    )
    from fastoci.events import Event, Sink
    from fastoci.layer.options import LayerOptions
    from fastoci.load import load as load_image
    from fastoci.registry.options import RegistryOptions
    from fastoci.tree.policy import TreePolicy

__all__ = [
    "AccessDeniedError",
    "BlobMismatchError",
    "BuildResult",
    "ConfigOptions",
    "EngineError",
    "Event",
    "FastociError",
    "ImageNotFoundError",
    "InvalidImageError",
    "LayerOptions",
    "ManifestNotFoundError",
    "RegistryError",
    "RegistryOptions",
    "RegistryResponseError",
    "Sink",
    "StoreError",
    "TreeChangedError",
    "TreeError",
    "TreeNameError",
    "TreePolicy",
    "UsageError",
    "__version__",
    "build_image",
    "load_image",
]

_ERRORS = "fastoci.errors"

# Public name -> the module it lives in, and its name there where that is another.
_HOMES = {
    "BuildResult": "fastoci.build",
    "ConfigOptions": "fastoci.build",
    "Event": "fastoci.events",
    "LayerOptions": "fastoci.layer.options",
    "RegistryOptions": "fastoci.registry.options",
    "Sink": "fastoci.events",
    "TreePolicy": "fastoci.tree.policy",
    "build_image": "fastoci.build:build",
    "load_image": "fastoci.load:load",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    import importlib

    home, _, attribute = _HOMES.get(name, _ERRORS).partition(":")
    value = getattr(importlib.import_module(home), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
