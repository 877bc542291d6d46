from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest

from fastoci.errors import (
    ImageNotFoundError,
    InvalidImageError,
    ManifestNotFoundError,
    StoreError,
    UsageError,
)
from fastoci.images.documents import read_document, select_manifest
from fastoci.images.source import locate_image, open_image
from fastoci.registry.options import RegistryOptions
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.imagename import ImageName
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest
from fastoci.spec.platform import Platform
from imagekit import GZIP, MANIFEST, LayoutKit, push_by_hand

OPTIONS = RegistryOptions()


@pytest.fixture
def image(kit):
    return kit.add(kit.image(), "1", "example.org/me/app:1")


def resolve(name):
    with open_image(name, OPTIONS) as source:
        return str(source.resolve().digest)


@pytest.mark.parametrize(
    "name",
    [
        "oci:{0}",
        "oci:{0}:1",
        "{0}",
        "{0}:1",
        "oci:{0}:1@{1}",
        "oci:{0}@{1}",
        "{0}@{1}",
        "oci:{0}:example.org/me/app:1",
        "oci:layout:1",
        "layout",
        "layout:1",
        "layout@{1}",
        "./layout",
        "./layout:1@{1}",
        "../{2}/layout:1",
    ],
)
def test_a_layout_by_its_names(name, image, kit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve(name.format(kit, image["digest"], tmp_path.name)) == image["digest"]


@pytest.mark.parametrize(
    "name", ["oci-archive:{0}", "oci-archive:{0}:1", "{0}", "./a.tar", "a.tar:1", "docker-archive:{0}"]
)
def test_an_archive_by_its_names(name, image, kit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = kit.archive(tmp_path / "a.tar")
    assert resolve(name.format(path)) == image["digest"]


def test_a_docker_archive_by_docker_save_s_form(kit, tmp_path):
    layer = gzip.decompress(kit.file(kit.read(kit.image())["layers"][0]["digest"]).read_bytes())
    config = json.dumps(kit.config([layer])).encode()
    path = tmp_path / "docker.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in {
            "config.json": config,
            "x/layer.tar": layer,
            "manifest.json": json.dumps(
                [{"Config": "config.json", "RepoTags": ["me/app:1"], "Layers": ["x/layer.tar"]}]
            ).encode(),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with open_image(f"docker-archive:{path}", OPTIONS) as source:
        assert source.place == "archive"
        manifest = read_document(source, source.resolve())
        assert isinstance(manifest, Manifest)
        assert source.read_blob(manifest.config) == config


def test_a_path_with_a_colon_in_it(tmp_path):
    kit = LayoutKit(tmp_path / "a:b")
    image = kit.add(kit.image(), "1")
    for name in (f"oci:{kit}", f"oci:{kit}:1", str(kit), f"{kit}:1", f"{kit}:1@{image['digest']}"):
        assert resolve(name) == image["digest"]


def test_a_directory_that_is_no_layout_hides_no_registry(kit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "debian").mkdir()
    (tmp_path / "busybox").write_bytes(b"#!/bin/sh\n")
    for name in ("debian", "busybox", "debian:12", "ghcr.io/me/app"):
        assert locate_image(name).transport == "docker"
    assert locate_image("layout") == ImageName("oci", "layout")
    assert locate_image("docker://layout:1").transport == "docker"


@pytest.mark.parametrize("name", ["./debian", "../{0}/debian", "/nowhere/debian", "oci:debian", "oci-archive:debian"])
def test_what_is_written_like_a_path_is_one(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "debian").mkdir()
    with pytest.raises(StoreError) as caught:
        open_image(name.format(tmp_path.name), OPTIONS)
    assert caught.value.exit_code == 1
    assert "debian" in caught.value.what


def test_a_compressed_archive_is_refused_with_a_word(kit, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(kit.archive(tmp_path / "a.tar").read_bytes()))
    with pytest.raises(StoreError, match="compressed") as caught:
        open_image(str(path), OPTIONS)
    assert "gunzip" in caught.value.hint


def test_a_tag_that_is_not_there_lists_those_that_are(image, kit):
    kit.add(kit.image(b""), "two")
    with pytest.raises(ImageNotFoundError) as caught:
        resolve(f"oci:{kit}:nope")
    assert "'nope'" in caught.value.what
    assert "1, two" in caught.value.cause
    with pytest.raises(ImageNotFoundError) as caught:
        resolve(f"oci:{kit}")
    assert "1, two" in caught.value.cause


def test_a_name_that_is_none():
    for name in ("", "oci:", "me/UPPER", "containers-storage:x"):
        with pytest.raises(UsageError):
            open_image(name, OPTIONS)


def test_a_stored_image_is_read(image, kit):
    with open_image(str(kit), OPTIONS) as source:
        assert source.place == "layout"
        assert source.name == f"oci:{kit}"
        descriptor = source.resolve()
        manifest = read_document(source, descriptor)
        layer = manifest.layers[0]
        assert source.has_blob(layer.digest)
        assert source.has_blob(layer.digest, layer.size)
        assert not source.has_blob(layer.digest, layer.size + 1)
        assert not source.has_blob(Digest.of(b"nothing"))
        with source.open_blob(layer) as stream:
            assert len(stream.read()) == layer.size


def test_an_image_at_a_registry_is_read(image, kit, hub):
    push_by_hand(kit, hub, "me/app", image, "1")
    for name in (f"{hub.host}/me/app:1", f"docker://{hub.host}/me/app:1", f"{hub.host}/me/app:1@{image['digest']}"):
        with open_image(name, OPTIONS) as source:
            assert source.place == "registry"
            assert source.name == name.removeprefix("docker://")
            descriptor = source.resolve()
            assert str(descriptor.digest) == image["digest"]
            manifest = read_document(source, descriptor)
            assert source.read_manifest(descriptor) == kit.file(image["digest"]).read_bytes()
            config, layer = manifest.config, manifest.layers[0]
            assert source.read_blob(config) == kit.file(str(config.digest)).read_bytes()
            assert source.has_blob(layer.digest, layer.size)
            assert not source.has_blob(layer.digest, layer.size + 1)
            assert not source.has_blob(Digest.of(b"nothing"))
            with source.open_blob(layer) as stream:
                assert stream.read() == kit.file(str(layer.digest)).read_bytes()
    assert len(hub.requests("GET", "/manifests/")) == 3, "each image's manifest is asked for once"


def test_nothing_is_asked_before_it_is_resolved(hub):
    open_image(f"{hub.host}/me/app:1", OPTIONS).close()
    assert hub.seen == []


def test_an_image_that_is_not_at_the_registry(hub):
    with pytest.raises(ManifestNotFoundError):
        resolve(f"{hub.host}/me/app:1")


def test_a_config_over_the_limit_is_not_read_from_a_registry(hub):
    with open_image(f"{hub.host}/me/app:1", OPTIONS) as source, pytest.raises(InvalidImageError, match="too large"):
        source.read_blob(Descriptor("x", Digest.of(b""), 5 << 20))
    assert hub.seen == []


def test_a_manifest_of_another_size_than_its_index_says(kit, hub):
    index = kit.multi("amd64", "arm64")
    push_by_hand(kit, hub, "me/app", index, "1")
    with open_image(f"{hub.host}/me/app:1", OPTIONS) as source:
        member = read_document(source, source.resolve()).manifests[0]
        with pytest.raises(InvalidImageError, match="size"):
            source.read_manifest(Descriptor(MANIFEST, member.digest, member.size + 1))


def test_a_document_that_is_neither_manifest_nor_index(kit):
    descriptor = kit.blob(b"{}", "application/vnd.docker.distribution.manifest.v1+prettyjws")
    kit.add(descriptor, "1")
    with open_image(str(kit), OPTIONS) as source, pytest.raises(InvalidImageError) as caught:
        read_document(source, source.resolve())
    assert "manifest.v1+prettyjws" in caught.value.cause
    assert caught.value.hint


class TestPlatforms:
    def choose(self, kit, index, platform):
        kit.add(index, "m")
        with open_image(f"oci:{kit}:m", OPTIONS) as source:
            return select_manifest(source, source.resolve(), platform)

    def members(self, kit, *platforms):
        """An index with one image for each `os/arch/variant`, and the images' digests."""
        images = {platform: kit.image(platform.encode().ljust(512, b"\0")) for platform in platforms}
        entries = []
        for platform, image in images.items():
            system, architecture, *variant = platform.split("/")
            fields = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
            entries.append({**image, "platform": fields})
        return kit.index(*entries), {platform: image["digest"] for platform, image in images.items()}

    @pytest.mark.parametrize(
        ("wanted", "chosen"),
        [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm64/v9", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v6"),
            ("linux/arm/v7", "linux/arm/v6"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/arm/v5", "linux/arm/v5"),
            ("linux/amd64/v3", "linux/amd64"),
            ("linux/s390x", "linux/s390x"),
        ],
    )
    def test_the_best_member_is_chosen(self, kit, wanted, chosen):
        index, digests = self.members(
            kit, "unknown/unknown", "linux/amd64", "linux/arm64/v8", "linux/arm/v5", "linux/arm/v6", "linux/s390x"
        )
        assert str(self.choose(kit, index, Platform.parse(wanted)).digest) == digests[chosen]

    @pytest.mark.parametrize("wanted", ["linux/arm/v6", "windows/amd64", "linux/riscv64", "linux/arm64/v7"])
    def test_none_that_runs_there(self, kit, wanted):
        index, _ = self.members(kit, "linux/amd64", "linux/arm/v7")
        with pytest.raises(ImageNotFoundError) as caught:
            self.choose(kit, index, Platform.parse(wanted))
        assert "linux/amd64, linux/arm/v7" in caught.value.cause

    def test_this_machine_s_is_the_default(self, kit):
        index, digests = self.members(kit, "plan9/mips", str(Platform.host()))
        assert str(self.choose(kit, index, None).digest) == digests[str(Platform.host())]

    def test_an_index_within_an_index(self, kit):
        inner, digests = self.members(kit, "linux/amd64")
        outer = kit.index({**inner, "platform": {"os": "linux", "architecture": "amd64"}})
        assert str(self.choose(kit, outer, Platform("linux", "amd64")).digest) == digests["linux/amd64"]

    def test_nesting_has_an_end(self, kit):
        index, _ = self.members(kit, "linux/amd64")
        for _ in range(5):
            index = kit.index({**index, "platform": {"os": "linux", "architecture": "amd64"}})
        with pytest.raises(InvalidImageError, match="nested"):
            self.choose(kit, index, Platform("linux", "amd64"))

    def test_a_manifest_is_itself(self, kit, image):
        with open_image(f"oci:{kit}:1", OPTIONS) as source:
            assert select_manifest(source, source.resolve(), Platform.parse("plan9/mips")) == source.resolve()

    def test_an_index_is_read_as_one(self, kit):
        index, _ = self.members(kit, "linux/amd64")
        kit.add(index, "m")
        with open_image(f"oci:{kit}:m", OPTIONS) as source:
            document = read_document(source, source.resolve())
        assert isinstance(document, Index)
        assert GZIP not in document.media_type
