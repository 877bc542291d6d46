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

from fastoci.version import __version__

# As in `typing`, whose import alone would double the time of `fastoci --version`; type checkers know the name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from fastoci import errors, events
    from fastoci.build import BuildResult
    from fastoci.build import build as build_image
    from fastoci.building.config import ConfigOptions
    from fastoci.building.output import Output
    from fastoci.building.removals import Removals
    from fastoci.checks.findings import Finding
    from fastoci.copy import CopiedImage
    from fastoci.copy import copy as copy_image
    from fastoci.copy import pull as pull_image
    from fastoci.diff import Difference
    from fastoci.diff import diff as diff_images
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
    from fastoci.gc import Collected, collect_garbage
    from fastoci.images.source import ImageSource, open_image
    from fastoci.indexes import create_index
    from fastoci.inspect import Inspection, read_config, read_digest, read_manifest
    from fastoci.inspect import inspect as inspect_image
    from fastoci.layer.options import LayerOptions, Split
    from fastoci.listing import Listed, list_images, list_referrers
    from fastoci.load import LoadedImage
    from fastoci.load import load as load_image
    from fastoci.login import Login
    from fastoci.login import login as log_in
    from fastoci.login import logout as log_out
    from fastoci.packlayer import pack_layer
    from fastoci.push import PushedImage
    from fastoci.push import push as push_image
    from fastoci.rebase import rebase as rebase_image
    from fastoci.reconfigure import set_config
    from fastoci.registry.options import RegistryOptions
    from fastoci.report import Report, make_report
    from fastoci.rootfs.limits import Limits
    from fastoci.rootfs.owners import Owners
    from fastoci.spec.descriptor import Descriptor
    from fastoci.spec.digest import Digest
    from fastoci.spec.imagename import ImageName
    from fastoci.spec.platform import Platform
    from fastoci.spec.reference import Reference
    from fastoci.tag import tag as tag_image
    from fastoci.tree.policy import TreePolicy
    from fastoci.tree.source import TreeSource
    from fastoci.unpack import Unpacked
    from fastoci.unpack import unpack as unpack_image
    from fastoci.validate import Validation
    from fastoci.validate import validate as validate_image

# Public name -> the module it lives in, with its name there where that is another, or the module itself.
_HOMES = {
    "BuildResult": "fastoci.build",
    "Collected": "fastoci.gc",
    "ConfigOptions": "fastoci.building.config",
    "CopiedImage": "fastoci.copy",
    "Descriptor": "fastoci.spec.descriptor",
    "Difference": "fastoci.diff",
    "Digest": "fastoci.spec.digest",
    "Event": "fastoci.events",
    "Finding": "fastoci.checks.findings",
    "ImageName": "fastoci.spec.imagename",
    "ImageSource": "fastoci.images.source",
    "Inspection": "fastoci.inspect",
    "LayerOptions": "fastoci.layer.options",
    "Listed": "fastoci.listing",
    "Limits": "fastoci.rootfs.limits",
    "LoadedImage": "fastoci.load",
    "Login": "fastoci.login",
    "Output": "fastoci.building.output",
    "Owners": "fastoci.rootfs.owners",
    "Platform": "fastoci.spec.platform",
    "PushedImage": "fastoci.push",
    "Reference": "fastoci.spec.reference",
    "RegistryOptions": "fastoci.registry.options",
    "Removals": "fastoci.building.removals",
    "Report": "fastoci.report",
    "Sink": "fastoci.events",
    "Split": "fastoci.layer.options",
    "TreePolicy": "fastoci.tree.policy",
    "TreeSource": "fastoci.tree.source",
    "Unpacked": "fastoci.unpack",
    "Validation": "fastoci.validate",
    "build_image": "fastoci.build:build",
    "collect_garbage": "fastoci.gc",
    "copy_image": "fastoci.copy:copy",
    "create_index": "fastoci.indexes",
    "diff_images": "fastoci.diff:diff",
    "inspect_image": "fastoci.inspect:inspect",
    "list_images": "fastoci.listing",
    "list_referrers": "fastoci.listing",
    "load_image": "fastoci.load:load",
    "make_report": "fastoci.report",
    "log_in": "fastoci.login:login",
    "log_out": "fastoci.login:logout",
    "open_image": "fastoci.images.source",
    "pack_layer": "fastoci.packlayer",
    "pull_image": "fastoci.copy:pull",
    "push_image": "fastoci.push:push",
    "read_config": "fastoci.inspect",
    "read_digest": "fastoci.inspect",
    "read_manifest": "fastoci.inspect",
    "rebase_image": "fastoci.rebase:rebase",
    "set_config": "fastoci.reconfigure",
    "tag_image": "fastoci.tag:tag",
    "unpack_image": "fastoci.unpack:unpack",
    "validate_image": "fastoci.validate:validate",
}
_MODULES = ("errors", "events")

__all__ = [
    "AccessDeniedError",
    "BlobMismatchError",
    "BuildResult",
    "Collected",
    "ConfigOptions",
    "CopiedImage",
    "Descriptor",
    "Difference",
    "Digest",
    "EngineError",
    "Event",
    "FastociError",
    "Finding",
    "ImageName",
    "ImageNotFoundError",
    "ImageSource",
    "Inspection",
    "InvalidImageError",
    "LayerOptions",
    "Limits",
    "Listed",
    "LoadedImage",
    "Login",
    "ManifestNotFoundError",
    "Output",
    "Owners",
    "Platform",
    "PushedImage",
    "Reference",
    "RegistryError",
    "RegistryOptions",
    "RegistryResponseError",
    "Removals",
    "Report",
    "Sink",
    "Split",
    "StoreError",
    "TreeChangedError",
    "TreeError",
    "TreeNameError",
    "TreePolicy",
    "TreeSource",
    "Unpacked",
    "UsageError",
    "Validation",
    "__version__",
    "build_image",
    "collect_garbage",
    "copy_image",
    "create_index",
    "diff_images",
    "errors",
    "events",
    "inspect_image",
    "list_images",
    "list_referrers",
    "load_image",
    "log_in",
    "log_out",
    "make_report",
    "open_image",
    "pack_layer",
    "pull_image",
    "push_image",
    "read_config",
    "read_digest",
    "read_manifest",
    "rebase_image",
    "set_config",
    "tag_image",
    "unpack_image",
    "validate_image",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    import importlib

    if name in _MODULES:
        return importlib.import_module(f"fastoci.{name}")
    # What has no line in the table is an error.
    home, _, attribute = _HOMES.get(name, "fastoci.errors").partition(":")
    value = getattr(importlib.import_module(home), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
