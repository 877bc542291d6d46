"""The layout, taken apart by hand: gunzip, sha256sum and jq say what is true of it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from realparts.processes import capture, require

if TYPE_CHECKING:
    from pathlib import Path

    from realparts.program import Fastoci

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def sha256sum(path: Path) -> str:
    return capture(["sha256sum", str(path)]).decode().split()[0].lstrip("\\")


def jq(query: str, path: Path) -> Any:
    """Return what a query makes of a JSON file."""
    return json.loads(capture([require("jq", "jq"), "--compact-output", query, str(path)]))


def blob(layout: Path, digest: str) -> Path:
    algorithm, _, encoded = digest.partition(":")
    return layout / "blobs" / algorithm / encoded


@pytest.fixture
def layout(fastoci: Fastoci, odd_tree: Path, hello_tree: Path, tmp_path: Path) -> Path:
    """A layout with an image of two layers and every kind of setting."""
    path = tmp_path / "image.oci"
    fastoci.ok(
        "build", hello_tree, f"{odd_tree}:/srv/odd", "-t", "example.org/demo/hello:by-hand", "-o", f"oci:{path}",
        "--entrypoint", "hello-cloud", "--cmd", "Cloud", "-e", "A=1", "-e", "B=two words", "-w", "/tmp", "-u", "7",
        "-l", "k=v", "--annotation", "org.example.note=yes", "--platform", "linux/arm/v7",
        "--source-date-epoch", "1700000000",
    )  # fmt: skip
    return path


def test_every_blob_is_what_its_name_says(layout: Path) -> None:
    blobs = sorted((layout / "blobs/sha256").iterdir())
    assert len(blobs) == 4  # two layers, a config, a manifest
    for path in blobs:
        assert sha256sum(path) == path.name
        assert path.stat().st_mode & 0o777 == 0o644
    assert {path.name for path in layout.iterdir()} >= {"oci-layout", "index.json", "blobs"}


def test_every_descriptor_is_true(layout: Path) -> None:
    (entry,) = jq(".manifests", layout / "index.json")
    manifest = blob(layout, entry["digest"])
    described = [entry, jq(".config", manifest), *jq(".layers", manifest)]
    for descriptor in described:
        assert descriptor["size"] == blob(layout, descriptor["digest"]).stat().st_size
    assert [descriptor["mediaType"] for descriptor in described] == [MANIFEST, CONFIG, LAYER, LAYER]


def test_unzipped_layers_are_the_diff_ids(layout: Path) -> None:
    (entry,) = jq(".manifests", layout / "index.json")
    manifest = blob(layout, entry["digest"])
    config = blob(layout, jq(".config.digest", manifest))
    layers, diff_ids = jq("[.layers[].digest]", manifest), jq(".rootfs.diff_ids", config)
    assert len(layers) == len(diff_ids) == 2
    for digest, diff_id in zip(layers, diff_ids, strict=True):
        path = blob(layout, digest)
        capture(["gzip", "--test", str(path)])
        summed = subprocess.run(
            ["sh", "-c", 'gunzip -c < "$1" | sha256sum', "sh", str(path)], capture_output=True, check=True
        )
        assert diff_id == f"sha256:{summed.stdout.split()[0].decode()}"


def test_index_names_the_image(layout: Path) -> None:
    assert jq(".", layout / "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    index = layout / "index.json"
    assert jq(".schemaVersion", index) == 2
    assert jq(".manifests[0].annotations", index) == {
        "org.opencontainers.image.ref.name": "by-hand",
        "io.containerd.image.name": "example.org/demo/hello:by-hand",
    }


def test_manifest_and_config_say_what_was_asked(layout: Path) -> None:
    manifest = blob(layout, jq(".manifests[0].digest", layout / "index.json"))
    assert jq("[.schemaVersion, .mediaType]", manifest) == [2, MANIFEST]
    assert jq(".annotations", manifest) == {"org.example.note": "yes"}
    config = blob(layout, jq(".config.digest", manifest))
    assert jq("[.os, .architecture, .variant]", config) == ["linux", "arm", "v7"]
    assert jq(".created", config) == "2023-11-14T22:13:20Z"
    assert jq(".config.Entrypoint", config) == ["hello-cloud"]
    assert jq(".config.Cmd", config) == ["Cloud"]
    assert {"A=1", "B=two words"} <= set(jq(".config.Env", config))
    assert jq(".config.WorkingDir", config) == "/tmp"
    assert jq(".config.User", config) == "7"
    assert jq(".config.Labels", config) == {"k": "v"}
    assert jq(".rootfs.type", config) == "layers"
    assert jq("[.history[] | select(.empty_layer | not)] | length", config) == 2
    assert jq("[.history[] | .created] | unique", config) == ["2023-11-14T22:13:20Z"]


def test_documents_are_canonical(layout: Path) -> None:
    """Sorted keys, no spaces, UTF-8: jq's sorted and compact form, to the byte."""
    entry = jq(".manifests[0]", layout / "index.json")
    manifest = blob(layout, entry["digest"])
    for path in (manifest, blob(layout, jq(".config.digest", manifest)), layout / "index.json", layout / "oci-layout"):
        canonical = capture([require("jq", "jq"), "--compact-output", "--sort-keys", "--join-output", ".", str(path)])
        assert path.read_bytes() == canonical


def test_same_tree_gives_the_same_bytes(fastoci: Fastoci, odd_tree: Path, tmp_path: Path) -> None:
    results = {
        fastoci.ok(
            "build", odd_tree, "-t", "demo:1", "-o", f"oci:{tmp_path}/{threads}.oci", "--threads", threads
        ).digest
        for threads in ("1", "2", "3", "8")
    }
    assert len(results) == 1


def test_layout_is_added_to(fastoci: Fastoci, hello_tree: Path, odd_tree: Path, tmp_path: Path) -> None:
    layout = tmp_path / "both.oci"
    first = fastoci.ok("build", hello_tree, "-t", "demo:1", "-o", f"oci:{layout}")
    second = fastoci.ok("build", odd_tree, "-t", "demo:2", "-o", f"oci:{layout}")
    found = jq(
        '[.manifests[] | {tag: .annotations["org.opencontainers.image.ref.name"], digest: .digest}]',
        layout / "index.json",
    )
    assert found == [{"tag": "1", "digest": first.digest}, {"tag": "2", "digest": second.digest}]
    replaced = fastoci.ok("build", odd_tree, "-t", "demo:1", "-o", f"oci:{layout}")
    assert replaced.digest == second.digest
    assert jq("[.manifests[].digest] | unique", layout / "index.json") == [second.digest]


def test_result_line_is_a_name_to_go_on_with(fastoci: Fastoci, hello_tree: Path, tmp_path: Path) -> None:
    built = fastoci.ok("build", hello_tree, "-t", "demo:1", "-o", f"oci:{tmp_path}/image.oci")
    assert built.line == f"oci:{tmp_path}/image.oci:1@{built.digest}"
    raw = fastoci.ok("inspect", "--raw", built.line).stdout
    assert raw == blob(tmp_path / "image.oci", built.digest).read_text()
    fastoci.ok("validate", built.line)


def test_validate_finds_a_changed_byte(fastoci: Fastoci, layout: Path) -> None:
    fastoci.ok("validate", f"oci:{layout}:by-hand")
    manifest = blob(layout, jq(".manifests[0].digest", layout / "index.json"))
    layer = blob(layout, jq(".layers[1].digest", manifest))
    with layer.open("r+b") as file:
        file.seek(layer.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    result = fastoci.run("validate", f"oci:{layout}:by-hand")
    assert result.code == 3, str(result)
    assert f"{manifest.name}/layers/1: the blob's digest" in result.stdout
