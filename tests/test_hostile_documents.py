"""Documents that somebody made wrong on purpose, digests and all: an error in words, or findings, and never more."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci.cli.picture import picture
from fastoci.errors import FastociError, InvalidImageError
from fastoci.images.contents import Contents
from fastoci.images.source import open_image
from fastoci.inspect import inspect, read_config
from fastoci.registry.options import RegistryOptions
from fastoci.spec.platform import Platform
from fastoci.validate import validate
from imagekit import CONFIG, GZIP, INDEX, MANIFEST, LayoutKit, make_tar

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "sha256:" + "0" * 64,
            "sha512:" + "0" * 128,
            "sha256:../../../etc/passwd",
            "blake3:abc",
            MANIFEST,
            INDEX,
            CONFIG,
            GZIP,
            "linux",
            "x" * 10_000,
            "\x1b[2J",
        ]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


NAMES = ["manifests", "layers", "config", "platform", "data", "urls", "annotations", "subject", "history"]


def places(value, path=()):
    """Every place in a JSON value, as the keys that lead there."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from places(item, (*path, position))


def change(draw, document):
    """One thing in a document replaced, removed or added."""
    changed = copy.deepcopy(document)
    path = draw(st.sampled_from([path for path in places(document) if path]))
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    match draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            parent[path[-1]] = draw(JSON)
        case "remove":
            del parent[path[-1]]
        case "add":
            if isinstance(parent, list):
                parent.insert(path[-1], draw(JSON))
            else:
                names = [
                    "manifests",
                    "layers",
                    "config",
                    "platform",
                    "data",
                    "urls",
                    "annotations",
                    "subject",
                    "history",
                ]
                parent[draw(st.sampled_from(names))] = draw(JSON)
    return changed


@settings(max_examples=150)
@given(data=st.data())
def test_any_change_to_any_document(data):
    draw = data.draw
    with tempfile.TemporaryDirectory() as directory:
        kit = LayoutKit(Path(directory) / "layout")
        tar = make_tar({"a": b"b"})
        which = draw(st.sampled_from(["config", "manifest", "index", "entry"]))

        config = kit.config([tar])
        if which == "config":
            config = change(draw, config)
        descriptor = kit.blob(json.dumps(config).encode(), CONFIG)

        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor,
            "layers": [kit.blob(gzip.compress(tar), GZIP)],
            "annotations": {"a": "b"},
        }
        if which == "manifest":
            manifest = change(draw, manifest)
        image = kit.blob(json.dumps(manifest).encode(), MANIFEST)

        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{**image, "platform": {"os": "linux", "architecture": "amd64"}}],
        }
        if which == "index":
            index = change(draw, index)
        entry = {
            **kit.blob(json.dumps(index).encode(), INDEX),
            "annotations": {"org.opencontainers.image.ref.name": "1"},
        }
        if which == "entry":
            entry = change(draw, entry)
        kit.entries = [entry]
        kit.write_index()

        validate(str(kit))
        platform = Platform("linux", "amd64")
        for look in (
            lambda: picture(inspect(f"oci:{kit}:1")),
            lambda: json.dumps(inspect(f"oci:{kit}:1").to_json()),
            lambda: picture(inspect(f"oci:{kit}:1", platform=platform)),
            lambda: read_config(f"oci:{kit}:1", platform=platform),
            lambda: collect(kit),
        ):
            with contextlib.suppress(FastociError):
                look()


def collect(kit):
    with open_image(f"oci:{kit}:1", RegistryOptions()) as source:
        Contents.collect(source, source.resolve())


@settings(max_examples=60)
@given(data=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_at_all_in_the_place_of_a_document(data):
    with tempfile.TemporaryDirectory() as directory:
        kit = LayoutKit(Path(directory) / "layout")
        kit.add(kit.blob(data, MANIFEST), "manifest")
        kit.add(kit.blob(data, INDEX), "index")
        kit.add(kit.manifest(kit.blob(data, CONFIG), []), "config")
        assert not validate(str(kit)).is_valid or data == b""
        for name in ("manifest", "index", "config"):
            with contextlib.suppress(InvalidImageError):
                picture(inspect(f"oci:{kit}:{name}"))
        (kit.path / "index.json").write_bytes(data)
        assert not validate(str(kit)).is_valid
        (kit.path / "oci-layout").write_bytes(data)
        assert not validate(str(kit)).is_valid
