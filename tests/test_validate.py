from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import pytest
from fake_registry import answer
from hypothesis import given, settings
from hypothesis import strategies as st

from fastoci.checks import blob as blobcheck
from fastoci.checks.findings import Finding, Findings
from fastoci.errors import (
    ImageNotFoundError,
    InvalidImageError,
    ManifestNotFoundError,
    RegistryError,
    StoreError,
)
from fastoci.events import CheckProgress, Notice
from fastoci.registry.options import RegistryOptions
from fastoci.validate import validate
from imagekit import (
    CONFIG,
    GZIP,
    INDEX,
    MANIFEST,
    TAR,
    ZSTD,
    LayoutKit,
    compress_zstd,
    make_tar,
    noise,
    push_by_hand,
    sha256,
)


@pytest.fixture
def image(kit):
    return kit.add(kit.image(), "1", "example.org/me/app:1")


def test_how_far_the_reading_is(kit):
    big = make_tar({"big": noise(5 << 20)})
    descriptor = kit.add(kit.image(big, make_tar({"small": b"1"})), "1")
    seen = []
    assert check(kit, sink=seen.append).is_valid
    positions = [event for event in seen if isinstance(event, CheckProgress)]
    manifest = kit.read(descriptor)
    total = sum(blob["size"] for blob in manifest["layers"])
    assert {(event.name, event.total) for event in positions} == {(f"oci:{kit}", total)}
    done = [event.done for event in positions]
    assert done == sorted(done)
    assert 0 < done[0] < done[-1] == total
    seen.clear()
    check(kit, fast=True, sink=seen.append)
    assert not [event for event in seen if isinstance(event, CheckProgress)]


def check(name, **options):
    return validate(str(name), RegistryOptions(retry=1), **options)


def errors(found):
    assert not found.is_valid
    return [f"{finding.path}: {finding.message}" for finding in found.findings if finding.severity == "error"]


def kinds(found, severity):
    return [finding for finding in found.findings if finding.severity == severity]


class TestGoodImages:
    def test_a_layout(self, image, kit):
        seen = []
        found = check(kit, sink=seen.append)
        assert found.findings == ()
        assert found.is_valid
        assert (found.name, found.images, found.blobs, found.fast) == (f"oci:{kit}", 1, 2, False)
        assert found.size == sum(layer["size"] for layer in kit.read(image)["layers"])
        assert len([event for event in seen if isinstance(event, Notice)]) == 2

    @pytest.mark.parametrize("name", ["oci:{0}:1", "{0}:1@{1}", "oci:{0}@{1}"])
    def test_one_image_of_a_layout(self, name, image, kit):
        broken = kit.image(b"\0" * 1024)
        kit.file(kit.read(broken)["layers"][0]["digest"]).unlink()
        kit.add(broken, "2")
        assert check(name.format(kit, image["digest"])).is_valid
        assert not check(kit).is_valid
        assert not check(f"{kit}:2").is_valid

    def test_an_archive(self, image, kit, tmp_path):
        found = check(kit.archive(tmp_path / "a.tar"))
        assert (found.findings, found.images, found.blobs) == ((), 1, 2)

    def test_an_index(self, kit):
        kit.add(kit.multi("amd64", "arm64"), "m")
        found = check(kit)
        assert (found.findings, found.images) == ((), 2)
        assert found.blobs == 3, "the layer that both have is read once"

    def test_a_registry(self, image, kit, hub):
        push_by_hand(kit, hub, "me/app", image, "1")
        found = check(f"{hub.host}/me/app:1")
        assert (found.findings, found.images, found.blobs) == ((), 1, 2)

    def test_uncompressed_layers(self, kit):
        kit.add(kit.image(media_type=TAR), "1")
        assert check(kit).findings == ()

    def test_a_layer_of_many_gzip_members(self, kit):
        tar = make_tar({"a": noise(9000)})
        layer = kit.blob(b"".join(gzip.compress(tar[at : at + 700]) for at in range(0, len(tar), 700)), GZIP)
        config = kit.blob(json.dumps(kit.config([tar])).encode(), CONFIG)
        kit.add(kit.manifest(config, [layer]), "1")
        assert check(kit).findings == ()

    def test_an_artifact(self, kit):
        empty = kit.blob(b"{}", "application/vnd.oci.empty.v1+json")
        kit.add(kit.manifest(empty, [kit.blob(b"a note", "text/plain")]), "1")
        found = check(kit)
        assert (found.findings, found.blobs) == ((), 2)

    def test_blobs_that_nothing_names_are_fine(self, image, kit):
        kit.blob(b"anything", "x")
        found = check(kit)
        assert found.findings == ()
        assert found.blobs == 3

    def test_an_empty_layout(self, kit):
        assert check(kit).findings == ()

    def test_fast_reads_no_blob(self, image, kit, hub):
        push_by_hand(kit, hub, "me/app", image, "1")
        for layer in kit.read(image)["layers"]:
            path = kit.file(layer["digest"])
            path.write_bytes(bytes(path.stat().st_size))
        found = check(kit, fast=True)
        assert (found.is_valid, found.blobs, found.size, found.fast) == (True, 0, 0, True)
        assert check(f"{hub.host}/me/app:1", fast=True).is_valid
        layers = [layer["digest"] for layer in kit.read(image)["layers"]]
        asked = [seen.method for seen in hub.seen if seen.target.rpartition("/")[2] in layers]
        assert set(asked) == {"HEAD"}


class TestWhatIsNotAnImage:
    def test_errors_that_are_no_findings(self, image, kit, hub, tmp_path):
        with pytest.raises(ImageNotFoundError):
            check(f"oci:{kit}:nope")
        with pytest.raises(ImageNotFoundError):
            check(f"oci:{tmp_path}/nowhere")
        with pytest.raises(StoreError, match="not an OCI layout"):
            check(f"oci:{tmp_path}")
        with pytest.raises(ManifestNotFoundError):
            check(f"{hub.host}/me/app:1")
        with pytest.raises(RegistryError):
            check("127.0.0.1:1/me/app:1")


class TestBlobs:
    def test_a_layer_that_is_missing(self, image, kit):
        digest = kit.read(image)["layers"][1]["digest"]
        kit.file(digest).unlink()
        for fast in (False, True):
            found = check(kit, fast=fast)
            assert errors(found) == [f"{image['digest']}/layers/1: there is no blob {digest}"]
            assert found.findings[0].digest == digest

    def test_a_layer_of_another_size(self, image, kit):
        layer = kit.read(image)["layers"][0]
        for change in (lambda data: data[:-1], lambda data: data + b"x"):
            path = kit.file(layer["digest"])
            before = path.read_bytes()
            path.write_bytes(change(before))
            for fast in (False, True):
                [error, *_] = errors(check(f"{kit}:1", fast=fast))
                assert (
                    error
                    == f"{image['digest']}/layers/0: the blob has not the {layer['size']:,} bytes that are said of it"
                )
            path.write_bytes(before)

    def test_a_config_that_is_missing(self, image, kit):
        digest = kit.read(image)["config"]["digest"]
        kit.file(digest).unlink()
        assert errors(check(kit)) == [f"{image['digest']}/config: there is no blob {digest} in {kit}"]

    def test_a_manifest_that_is_missing(self, image, kit):
        kit.file(image["digest"]).unlink()
        assert errors(check(kit)) == [f"index.json/manifests/0: there is no blob {image['digest']} in {kit}"]

    def test_a_diff_id_that_is_another_layer_s(self, kit):
        tars = [make_tar({"a": b"1"}), make_tar({"b": b"2"})]
        layers = [kit.blob(gzip.compress(tar), GZIP) for tar in tars]
        config = kit.blob(json.dumps(kit.config(tars[::-1])).encode(), CONFIG)
        image = kit.add(kit.manifest(config, layers), "1")
        for number, error in enumerate(errors(check(kit))):
            said = f"its tar has the diff_id {sha256(tars[number])}, and the config says {sha256(tars[1 - number])}"
            assert error == f"{image['digest']}/layers/{number}: {said}"
        assert check(kit, fast=True).is_valid

    def test_a_layer_that_is_no_tar(self, kit):
        rubbish = noise(2000)
        kit.add(kit.image(rubbish), "1")
        [error] = errors(check(kit))
        assert error.endswith("the tar header at byte 0 does not match its checksum")

    def test_a_layer_that_is_no_gzip(self, kit):
        tar = make_tar({"a": b"b"})
        config = kit.blob(json.dumps(kit.config([tar])).encode(), CONFIG)
        kit.add(kit.manifest(config, [kit.blob(tar, GZIP)]), "1")
        [error] = errors(check(kit))
        assert "the gzip stream is broken" in error

    def test_a_tar_without_an_end(self, kit):
        kit.add(kit.image(make_tar({"a": b"b"})[:1024]), "1")
        [error] = errors(check(kit))
        assert error.endswith("the tar has no end: the two blocks of zeros are missing")

    def test_a_zstd_layer(self, kit):
        tar = make_tar({"a": noise(5000)})
        layer = kit.blob(compress_zstd(tar), ZSTD)
        for says, problems in ((tar, 0), (tar + b"x", 1)):
            kit.entries.clear()
            config = kit.blob(json.dumps(kit.config([says])).encode(), CONFIG)
            kit.add(kit.manifest(config, [layer]), "1")
            assert len(check(kit).findings) == problems

    def test_a_zstd_layer_is_not_called_right_where_nothing_inflates_it(self, kit, monkeypatch):
        monkeypatch.setattr(blobcheck, "zstd_reader", lambda: None)
        config = kit.blob(json.dumps(kit.config([b"tar"])).encode(), CONFIG)
        layer = kit.blob(b"\x28\xb5\x2f\xfd rubbish", ZSTD)
        image = kit.add(kit.manifest(config, [layer]), "1")
        found = check(kit)
        assert found.is_valid
        [finding] = found.findings
        assert (finding.severity, finding.path) == ("unchecked", f"{image['digest']}/layers/0")
        assert finding.message.startswith("its diff_id: nothing here inflates zstd")
        data = bytearray(kit.file(layer["digest"]).read_bytes())
        data[5] ^= 1
        kit.file(layer["digest"]).write_bytes(data)
        assert len(errors(check(kit))) == 1

    def test_a_layer_that_may_not_be_distributed(self, kit):
        layer = {
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": "sha256:" + "3" * 64,
            "size": 10,
        }
        config = kit.blob(json.dumps(kit.config([b"tar"])).encode(), CONFIG)
        kit.add(kit.manifest(config, [{**layer, "urls": ["https://example.com/"]}]), "1")
        found = check(f"{kit}:1")
        assert found.is_valid
        assert len(kinds(found, "unchecked")) == 1
        kit.add(kit.manifest(config, [layer]), "2")
        assert len(errors(check(f"{kit}:2"))) == 1

    def test_other_algorithms(self, kit):
        data = make_tar({"a": b"b"})
        digest = f"sha512:{hashlib.sha512(data).hexdigest()}"
        kit.file(digest).parent.mkdir()
        kit.file(digest).write_bytes(data)
        config = kit.config([data])
        config["rootfs"]["diff_ids"] = [digest]
        descriptor = kit.blob(json.dumps(config).encode(), CONFIG)
        kit.add(kit.manifest(descriptor, [{"mediaType": TAR, "digest": digest, "size": len(data)}]), "1")
        assert check(kit).findings == ()
        kit.file(digest).write_bytes(data[:-1] + b"x")
        assert any("sha512:" in error for error in errors(check(kit)))

    def test_an_algorithm_that_is_not_known(self, kit):
        config = kit.blob(json.dumps(kit.config([b"tar"])).encode(), CONFIG)
        layer = {"mediaType": GZIP, "digest": "blake3:" + "a" * 64, "size": 3}
        kit.file(layer["digest"]).parent.mkdir()
        kit.file(layer["digest"]).write_bytes(b"abc")
        kit.add(kit.manifest(config, [layer]), "1")
        found = check(f"{kit}:1")
        assert found.is_valid
        assert [finding.message for finding in found.findings] == ["its digest cannot be computed here: blake3"]


class TestDocuments:
    def findings(self, kit, name="{0}:x"):
        return check(name.format(kit))

    def broken(self, kit, tars=(b"\0" * 1024,), **changes):
        """The errors of an image whose config has these fields changed; None removes one."""
        config = {**kit.config(list(tars)), **changes}
        config = {name: value for name, value in config.items() if value is not None}
        descriptor = kit.blob(json.dumps(config).encode(), CONFIG)
        kit.entries.clear()
        kit.add(kit.manifest(descriptor, [kit.blob(gzip.compress(tar), GZIP) for tar in tars]), "x")
        return [error.replace(descriptor["digest"], "CONFIG") for error in errors(check(f"{kit}:x"))]

    def test_fewer_diff_ids_than_layers(self, kit):
        assert self.broken(kit, rootfs={"type": "layers", "diff_ids": []}) == ["CONFIG/rootfs/diff_ids: 0 for 1 layers"]

    def test_a_history_of_another_length(self, kit):
        assert self.broken(kit, history=[{}, {"empty_layer": True}, {}]) == [
            "CONFIG/history: 2 steps made a layer, and there are 1"
        ]

    def test_no_history_is_fine(self, kit):
        kit.add(kit.image(history=[]), "1")
        assert check(kit).findings == ()

    @pytest.mark.parametrize("date", ["yesterday", "2026-01-02", "", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05"])
    def test_times_of_another_form(self, date, kit):
        assert self.broken(kit, created=date) == [f"CONFIG/created: {date!r} is not a time as in RFC 3339"]
        assert self.broken(kit, history=[{"created": date}]) == [
            f"CONFIG/history/0/created: {date!r} is not a time as in RFC 3339"
        ]

    @pytest.mark.parametrize(
        "changes",
        [
            {"os": None},
            {"architecture": 5},
            {"rootfs": None},
            {"rootfs": {"type": "other", "diff_ids": []}},
            {"rootfs": {"type": "layers", "diff_ids": ["sha256:no"]}},
            {"config": {"Env": "no list"}},
            {"config": []},
        ],
    )
    def test_a_config_that_is_none(self, changes, kit):
        [error] = self.broken(kit, **changes)
        assert "/config: the config" in error

    def test_a_config_that_is_no_json(self, kit):
        kit.add(kit.manifest(kit.blob(b"{", CONFIG), []), "x")
        [error] = errors(check(kit))
        assert "JSON" in error

    @pytest.mark.parametrize(
        "document",
        [
            {"schemaVersion": 1},
            {"config": None},
            {"layers": None, "manifests": []},
            {"layers": "none"},
            {"manifests": []},
            {"mediaType": INDEX},
        ],
    )
    def test_a_manifest_that_is_none(self, document, kit):
        good = kit.read(kit.image())
        bad = {name: value for name, value in {**good, **document}.items() if value is not None}
        descriptor = kit.blob(json.dumps(bad).encode(), MANIFEST)
        kit.add(descriptor, "x")
        [error] = errors(check(f"{kit}:x"))
        assert error.startswith(f"{descriptor['digest']}: the manifest")

    def test_a_media_type_that_its_descriptor_does_not_say(self, kit):
        image = kit.image()
        kit.add({**image, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}, "x")
        [error] = errors(check(kit))
        assert "was found as" in error

    def test_a_document_of_an_unknown_type(self, kit):
        kit.add(kit.blob(b"<xml/>", "text/xml"), "x")
        found = check(kit)
        assert found.is_valid
        assert [finding.message for finding in found.findings] == ["its media type is not known here: 'text/xml'"]
        assert found.blobs == 1

    def test_a_layer_of_an_unknown_type_is_hashed(self, kit):
        config = kit.blob(json.dumps(kit.config([b"x"])).encode(), CONFIG)
        layer = kit.blob(b"something", "application/x-other")
        kit.add(kit.manifest(config, [layer]), "x")
        found = check(kit)
        assert found.is_valid
        assert len(kinds(found, "unchecked")) == 1
        kit.file(layer["digest"]).write_bytes(b"somewhere")
        assert len(errors(check(kit))) == 1

    def test_docker_s_and_oci_s_parts_in_one_are_told(self, kit):
        image = kit.read(kit.image())
        image["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        kit.add(kit.document(image), "x")
        found = check(kit)
        assert found.is_valid
        assert len(kinds(found, "warning")) == 1

    def test_an_image_without_layers_is_told(self, kit):
        kit.add(kit.manifest(kit.blob(json.dumps(kit.config([])).encode(), CONFIG), []), "x")
        assert [finding.severity for finding in check(kit).findings] == ["warning"]

    @pytest.mark.parametrize(
        ("listed", "severity"),
        [
            ({"os": "linux", "architecture": "arm64"}, "error"),
            ({"os": "windows", "architecture": "amd64"}, "error"),
            ({"os": "linux", "architecture": "amd64", "variant": "v3"}, None),
            ({"os": "linux", "architecture": "x86_64"}, None),
        ],
    )
    def test_a_member_for_another_platform_than_listed(self, listed, severity, kit):
        kit.add(kit.index({**kit.image(), "platform": listed}), "m")
        assert [finding.severity for finding in check(kit).findings] == ([severity] if severity else [])

    def test_a_variant_that_differs_is_a_warning(self, kit):
        image = kit.image(architecture="arm", variant="v6")
        kit.add(kit.index({**image, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}), "m")
        assert [finding.severity for finding in check(kit).findings] == ["warning"]

    def test_indexes_that_multiply_end(self, kit):
        descriptor = kit.image()
        for _ in range(3):
            descriptor = kit.index(*[descriptor] * 300)
        kit.add(descriptor, "m")
        found = check(kit)
        assert (found.findings, found.images, found.blobs) == ((), 1, 2)

    def test_indexes_nested_too_deeply(self, kit):
        descriptor = kit.image()
        for _ in range(6):
            descriptor = kit.index(descriptor)
        kit.add(descriptor, "m")
        assert "more than 4 indexes" in errors(check(kit))[0]


class TestLayouts:
    @pytest.mark.parametrize(
        "marker", [b"{", b"[]", b"{}", b'{"imageLayoutVersion": 1}', b'{"imageLayoutVersion": "2.0.0"}']
    )
    def test_a_marker_that_is_none(self, marker, image, kit):
        (kit.path / "oci-layout").write_bytes(marker)
        [error] = errors(check(kit))
        assert error.startswith("oci-layout: ")

    def test_a_marker_of_a_later_version_is_read_on(self, image, kit):
        (kit.path / "oci-layout").write_text('{"imageLayoutVersion": "1.1.0"}')
        found = check(kit)
        assert errors(found) == ["oci-layout: imageLayoutVersion is '1.1.0', not '1.0.0'"]
        assert found.images == 1

    @pytest.mark.parametrize(
        "index", [b"", b"{", b"{}", b'{"schemaVersion": 2}', b'{"schemaVersion": 2, "manifests": [{}]}']
    )
    def test_an_index_that_is_none(self, index, image, kit):
        (kit.path / "index.json").write_bytes(index)
        [error] = errors(check(kit))
        assert error.startswith("index.json: ")

    def test_two_images_of_one_name(self, image, kit):
        kit.add(kit.image(b"\0" * 1024), "1")
        assert errors(check(kit)) == ["index.json/manifests/1: another image has the name '1' already"]

    def test_a_name_outside_the_grammar(self, kit):
        kit.add(kit.image(), "a b")
        assert [finding.severity for finding in check(kit).findings] == ["warning"]

    def test_a_blob_that_nothing_names_and_that_is_not_what_it_is_called(self, image, kit):
        stray = kit.blob(b"anything", "x")
        kit.file(stray["digest"]).write_bytes(b"something")
        path = f"blobs/sha256/{stray['digest'][7:]}"
        assert errors(check(kit)) == [
            f"{path}: the blob's digest is {sha256(b'something')}, and {stray['digest']} is said of it"
        ]
        assert check(f"{kit}:1").is_valid
        assert check(kit, fast=True).is_valid

    def test_what_else_lies_about(self, image, kit):
        (kit.path / "blobs/sha256/no-digest").write_bytes(b"")
        (kit.path / "blobs/sha256/.fastoci-left").write_bytes(b"")
        (kit.path / "blobs/README").write_bytes(b"")
        found = check(kit)
        assert found.is_valid
        assert sorted(finding.path for finding in kinds(found, "warning")) == [
            "blobs/README",
            "blobs/sha256/.fastoci-left",
            "blobs/sha256/no-digest",
        ]

    def test_a_blob_that_is_a_directory(self, image, kit):
        path = kit.path / "blobs/sha256" / ("4" * 64)
        path.mkdir()
        assert errors(check(kit)) == [f"blobs/sha256/{'4' * 64}: it is not a regular file"]


class TestRegistries:
    def test_a_blob_of_other_bytes(self, image, kit, hub):
        push_by_hand(kit, hub, "me/app", image, "1")
        layer = kit.read(image)["layers"][0]
        data = hub.blobs["me/app"][layer["digest"]]
        hub.blobs["me/app"][layer["digest"]] = data[:-1] + bytes([data[-1] ^ 1])
        [error] = errors(check(f"{hub.host}/me/app:1"))
        assert error.startswith(f"{image['digest']}/layers/0: ")
        assert layer["digest"] in error

    @pytest.mark.parametrize("fast", [False, True])
    def test_a_blob_that_is_missing(self, fast, image, kit, hub):
        push_by_hand(kit, hub, "me/app", image, "1")
        layer = kit.read(image)["layers"][0]
        del hub.blobs["me/app"][layer["digest"]]
        assert errors(check(f"{hub.host}/me/app:1", fast=fast)) == [
            f"{image['digest']}/layers/0: there is no blob {layer['digest']}"
        ]

    def test_a_member_that_is_missing(self, kit, hub):
        index = kit.multi("amd64", "arm64")
        push_by_hand(kit, hub, "me/app", index, "1")
        member = kit.read(index)["manifests"][1]["digest"]
        del hub.manifests["me/app"][member]
        [error] = errors(check(f"{hub.host}/me/app:1"))
        assert error.startswith(f"{index['digest']}/manifests/1: there is no")

    def test_a_registry_that_goes_away_is_an_error(self, image, kit, hub):
        push_by_hand(kit, hub, "me/app", image, "1")
        hub.on("GET", "/blobs/", answer(403), times=9, skip=1)
        with pytest.raises(RegistryError):
            check(f"{hub.host}/me/app:1")


def small_layout(path):
    """A layout with one of everything, a few KiB in all."""
    kit = LayoutKit(path)
    kit.add(kit.multi("amd64", "arm64"), "m")
    kit.add(kit.image(make_tar({"etc/motd": b"welcome", "bin/sh": noise(600)}), media_type=TAR), "1")
    return kit


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    kit = small_layout(tmp_path_factory.mktemp("good") / "layout")
    assert check(kit).findings == ()
    return kit


@settings(max_examples=150)
@given(data=st.data())
def test_no_changed_bit_of_any_blob_goes_unseen(good, data):
    files = sorted((good.path / "blobs/sha256").iterdir())
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(before)
    changed[at] ^= 1 << bit
    path.write_bytes(changed)
    try:
        assert not check(good).is_valid
    finally:
        path.write_bytes(before)


@settings(max_examples=60)
@given(data=st.data())
def test_no_blob_of_another_length_goes_unseen(good, data):
    files = sorted((good.path / "blobs/sha256").iterdir())
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    changed = before[: data.draw(st.integers(0, len(before) - 1))]
    if data.draw(st.booleans()):
        changed = before + data.draw(st.binary(min_size=1, max_size=9))
    path.write_bytes(changed)
    try:
        assert not check(good).is_valid
        if path.stem in (good.path / "index.json").read_text():
            assert not check(good, fast=True).is_valid
    finally:
        path.write_bytes(before)


@settings(max_examples=100)
@given(data=st.data())
def test_a_changed_bit_of_the_files_that_have_no_digest_is_no_traceback(good, data):
    path = good.path / data.draw(st.sampled_from(["index.json", "oci-layout"]))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    changed = bytearray(before)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed)
    try:
        check(good)
    finally:
        path.write_bytes(before)


@settings(max_examples=60)
@given(data=st.data())
def test_a_changed_bit_of_an_archive_is_an_error_or_seen_or_without_meaning(good, data):
    with tempfile.TemporaryDirectory() as directory:
        path = good.archive(Path(directory) / "a.tar")
        changed = bytearray(path.read_bytes())
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(changed)
        with contextlib.suppress(StoreError, InvalidImageError):
            check(path)


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not on PATH: apt-get install skopeo")
@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_what_skopeo_writes_is_valid(kind, image, kit, tmp_path):
    target = f"{kind}:{tmp_path}/copy:me/app:1" if kind == "docker-archive" else f"{kind}:{tmp_path}/copy:1"
    subprocess.run(["skopeo", "copy", f"oci:{kit}:1", target], check=True, capture_output=True)
    found = check(f"{kind}:{tmp_path}/copy")
    assert (found.findings, found.images, found.blobs) == ((), 1, 2)


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not on PATH: apt-get install umoci")
def test_what_umoci_writes_is_valid(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("umoci unpack wants to be root")
    layout, bundle = tmp_path / "layout", tmp_path / "bundle"

    def umoci(*arguments):
        subprocess.run(["umoci", *map(str, arguments)], check=True, capture_output=True)

    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:1")
    umoci("unpack", "--image", f"{layout}:1", bundle)
    (bundle / "rootfs/file").write_bytes(noise(5000))
    umoci("repack", "--image", f"{layout}:2", bundle)
    found = check(f"{layout}:2")
    assert (found.findings, found.images, found.blobs) == ((), 1, 1)


class TestArchivesOfBothKinds:
    """An archive that docker and readers of OCI read must be one image to both."""

    def write(self, kit, path, image, **changes):
        manifest = kit.read(image)
        names = {"Config": manifest["config"]["digest"], "Layers": [layer["digest"] for layer in manifest["layers"]]}
        listed = {
            "Config": f"blobs/{names['Config'].replace(':', '/')}",
            "RepoTags": ["me/app:1"],
            "Layers": [f"blobs/{name.replace(':', '/')}" for name in names["Layers"]],
            **changes,
        }
        (kit.path / "manifest.json").write_text(json.dumps([listed]))
        return kit.archive(path)

    def test_one_image_to_both(self, image, kit, tmp_path):
        assert check(self.write(kit, tmp_path / "a.tar", image)).findings == ()

    def test_another_config(self, image, kit, tmp_path):
        config = kit.read(kit.image(created="2020-01-02T03:04:05Z"))["config"]["digest"]
        path = self.write(kit, tmp_path / "a.tar", image, Config=f"blobs/{config.replace(':', '/')}")
        assert errors(check(path)) == ["manifest.json: it lists an image that index.json has not"]
        assert check(path, fast=True).is_valid
        assert check(f"{path}:1").is_valid

    def test_other_layers(self, image, kit, tmp_path):
        layers = [f"blobs/{layer['digest'].replace(':', '/')}" for layer in kit.read(image)["layers"]]
        path = self.write(kit, tmp_path / "a.tar", image, Layers=layers[::-1])
        assert errors(check(path)) == ["manifest.json: it lists other layers for an image than index.json"]

    def test_layers_that_are_not_there(self, image, kit, tmp_path):
        path = self.write(kit, tmp_path / "a.tar", image, Layers=["nowhere", "nowhere"])
        [error] = errors(check(path))
        assert "not there" in error


def test_an_interruption_is_over_within_a_second(tmp_path):
    """A layer of hundreds of gigabytes of zeros is being inflated when Ctrl-C is pressed."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as stream:
        info = tarfile.TarInfo("zeros")
        info.size = 1 << 40
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
    megabytes = gzip.compress(bytes(64 << 20), 9)
    kit = LayoutKit(tmp_path / "layout")
    layer = kit.blob(out.getvalue() + megabytes * 400, GZIP)
    kit.add(kit.manifest(kit.blob(json.dumps(kit.config([b""])).encode(), CONFIG), [layer]), "1")
    script = (
        "import sys\n"
        "from fastoci.validate import validate\n"
        "print('begun', flush=True)\n"
        "try:\n"
        f"    validate({str(kit)!r})\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"begun\n"
        time.sleep(0.5)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        seconds = time.monotonic() - started
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, said.decode()
    assert said == b""
    assert seconds < 1.0


class TestFindings:
    def test_they_are_told_in_order(self):
        found = Findings()
        found.add("warning", "a/1", "w")
        found.add("error", "a/10", "e")
        found.add("unchecked", "a/3", "u")
        found.add("error", "a/9", "e")
        assert [str(finding) for finding in found.all()] == [
            "error: a/9: e",
            "error: a/10: e",
            "unchecked: a/3: u",
            "warning: a/1: w",
        ]

    def test_there_is_a_limit_to_them(self):
        found = Findings()
        for number in range(5000):
            found.add("error", f"x/{number}", "wrong")
        assert len(found.all()) == 1001
        assert found.all()[-1] == Finding("error", "", "4,000 more are left out")

    def test_errors_of_others_pass(self):
        found = Findings()
        with pytest.raises(StoreError), found.noting("x"):
            raise StoreError("the disk", path="/")
        with found.noting("x", "y"):
            raise InvalidImageError("wrong")
        assert [finding.path for finding in found.all()] == ["x", "y"]


def test_no_thread_is_left(image, kit):
    check(kit)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")] == []
