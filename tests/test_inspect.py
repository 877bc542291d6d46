from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from fastoci.errors import ImageNotFoundError, InvalidImageError, ManifestNotFoundError
from fastoci.inspect import inspect, read_config, read_manifest
from fastoci.registry.options import RegistryOptions
from fastoci.spec.index import Index
from fastoci.spec.platform import Platform
from imagekit import CONFIG, GZIP, push_by_hand

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def image(kit):
    return kit.add(kit.image(), "1")


def test_what_an_image_is(image, kit):
    found = inspect(f"oci:{kit}:1")
    manifest = kit.read(image)
    assert found.name == f"oci:{kit}:1"
    assert str(found.descriptor.digest) == image["digest"]
    assert str(found.config.platform) == "linux/amd64"
    assert found.config.entrypoint == ("hello",)
    assert [str(layer.descriptor.digest) for layer in found.layers] == [layer["digest"] for layer in manifest["layers"]]
    diff_ids = kit.read(manifest["config"])["rootfs"]["diff_ids"]
    assert [str(layer.diff_id) for layer in found.layers] == diff_ids
    assert [layer.created_by for layer in found.layers] == ["COPY 0", "COPY 1"]
    assert found.size == sum(layer["size"] for layer in manifest["layers"])


def test_the_same_from_anywhere(image, kit, hub, tmp_path):
    push_by_hand(kit, hub, "me/app", image, "1")
    wanted = inspect(f"oci:{kit}:1").to_json()
    for name in (f"{hub.host}/me/app:1", f"oci-archive:{kit.archive(tmp_path / 'a.tar')}:1"):
        assert {**inspect(name).to_json(), "name": None} == {**wanted, "name": None}
    layers = {layer["digest"] for layer in kit.read(image)["layers"]}
    assert not [seen for seen in hub.seen if seen.target.rpartition("/")[2] in layers], "no layer is asked for"


def test_as_json(image, kit):
    manifest = kit.read(image)
    found = json.loads(json.dumps(inspect(f"oci:{kit}:1").to_json()))
    assert found["digest"] == image["digest"]
    assert found["size"] == image["size"]
    assert found["platform"] == "linux/amd64"
    assert found["created"] == "2026-01-02T03:04:05Z"
    assert found["config"] == manifest["config"]
    assert found["image"] == kit.read(manifest["config"])
    assert [layer["createdBy"] for layer in found["layers"]] == ["COPY 0", "COPY 1"]
    assert {name: found["layers"][0][name] for name in ("mediaType", "digest", "size")} == manifest["layers"][0]


def test_an_index_lists_its_members(kit):
    index = kit.add(kit.multi("amd64", "arm64"), "m")
    found = inspect(f"oci:{kit}:m")
    assert isinstance(found.document, Index)
    assert (found.config, found.layers, found.size) == (None, (), 0)
    assert found.to_json()["manifests"] == kit.read(index)["manifests"]


def test_a_member_by_its_platform(kit, hub):
    index = kit.add(kit.multi("amd64", "arm64"), "m")
    push_by_hand(kit, hub, "me/app", index, "m")
    member = kit.read(index)["manifests"][1]
    for name in (f"oci:{kit}:m", f"{hub.host}/me/app:m"):
        found = inspect(name, platform=ARM64)
        assert str(found.descriptor.digest) == member["digest"]
        assert str(found.config.platform) == "linux/arm64"
        assert read_manifest(name, platform=ARM64) == kit.file(member["digest"]).read_bytes()
        assert json.loads(read_config(name, platform=ARM64))["architecture"] == "arm64"


def test_a_platform_that_is_not_the_image_s(image, kit):
    assert inspect(f"oci:{kit}:1", platform=AMD64).config is not None
    with pytest.raises(ImageNotFoundError, match="not for linux/arm64") as caught:
        inspect(f"oci:{kit}:1", platform=ARM64)
    assert "linux/amd64" in caught.value.cause


def test_the_bytes_are_the_documents_own(image, kit, hub):
    push_by_hand(kit, hub, "me/app", image, "1")
    for name in (f"oci:{kit}:1", f"{hub.host}/me/app:1"):
        assert read_manifest(name) == kit.file(image["digest"]).read_bytes()
        assert read_config(name) == kit.file(kit.read(image)["config"]["digest"]).read_bytes()
    index = kit.add(kit.multi("amd64", "arm64"), "m")
    assert read_manifest(f"oci:{kit}:m") == kit.file(index["digest"]).read_bytes()


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not on PATH: apt-get install skopeo")
@pytest.mark.parametrize("where", ["layout", "registry"])
def test_skopeo_says_the_same(where, image, kit, hub):
    push_by_hand(kit, hub, "me/app", image, "1")
    name, theirs = f"oci:{kit}:1", f"oci:{kit}:1"
    if where == "registry":
        name, theirs = f"{hub.host}/me/app:1", f"docker://{hub.host}/me/app:1"

    def skopeo(*options):
        command = ["skopeo", "inspect", "--tls-verify=false", *options, theirs]
        return subprocess.run(command, check=True, capture_output=True).stdout

    assert read_manifest(name) == skopeo("--raw")
    assert read_config(name) == skopeo("--raw", "--config")
    said, found = json.loads(skopeo("--no-tags")), inspect(name)
    assert said["Digest"] == str(found.descriptor.digest)
    assert said["Layers"] == [str(layer.descriptor.digest) for layer in found.layers]
    assert [said["Os"], said["Architecture"]] == str(found.config.platform).split("/")
    assert said["Labels"] == dict(found.config.labels)


def test_an_artifact_has_no_config_to_show(kit):
    empty = kit.blob(b"{}", "application/vnd.oci.empty.v1+json")
    kit.add(kit.manifest(empty, [kit.blob(b"a note", "text/plain")], artifactType="application/x-note"), "1")
    found = inspect(f"oci:{kit}:1")
    assert found.config is None
    assert [layer.diff_id for layer in found.layers] == [None]
    assert json.loads(json.dumps(found.to_json()))["image"] is None


def test_a_history_that_does_not_fit_is_left_out(kit):
    kit.add(kit.image(history=[{"created_by": "x"}]), "1")
    assert [layer.created_by for layer in inspect(f"oci:{kit}:1").layers] == [None, None]


def test_config_and_manifest_that_do_not_belong_together(kit):
    config = kit.blob(json.dumps(kit.config([b"one"])).encode(), CONFIG)
    kit.add(kit.manifest(config, [kit.blob(b"1", GZIP), kit.blob(b"2", GZIP)]), "1")
    with pytest.raises(InvalidImageError, match="belong together"):
        inspect(f"oci:{kit}:1")


def test_what_is_not_there(image, kit, hub):
    with pytest.raises(ImageNotFoundError, match="nope"):
        inspect(f"oci:{kit}:nope")
    with pytest.raises(ManifestNotFoundError):
        inspect(f"{hub.host}/me/app:1", RegistryOptions(retry=1))


def test_a_damaged_config(image, kit):
    path = kit.file(kit.read(image)["config"]["digest"])
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidImageError, match="not what it should be"):
        inspect(f"oci:{kit}:1")
