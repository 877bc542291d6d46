"""`build --from`: where the layers of the base come from, and that nobody reads them without need."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from fake_registry import PASSWORD, USER, FakeRegistry

from imagekit import CONFIG, GZIP, MANIFEST, make_tar, noise, push_by_hand, sha256

DOCKER = "application/vnd.docker."
DOCKER_MANIFEST = f"{DOCKER}distribution.manifest.v2+json"
DOCKER_CONFIG = f"{DOCKER}container.image.v1+json"
DOCKER_GZIP = f"{DOCKER}image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN = f"{DOCKER}image.rootfs.foreign.diff.tar.gzip"
BASE_NAME, BASE_DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/own").write_text("own\n")
    return tmp_path / "tree"


@pytest.fixture
def second(no_credentials):
    registry = FakeRegistry()
    yield registry
    registry.close()


def layout(path) -> tuple[dict, dict, dict]:
    """Return the only entry, the manifest and the config of a layout."""
    (entry,) = json.loads((Path(path) / "index.json").read_bytes())["manifests"]
    manifest = json.loads((Path(path) / "blobs" / entry["digest"].replace(":", "/")).read_bytes())
    config = json.loads((Path(path) / "blobs" / manifest["config"]["digest"].replace(":", "/")).read_bytes())
    return entry, manifest, config


def pushed(registry, repository, tag) -> tuple[dict, dict]:
    manifest = json.loads(registry.manifests[repository][tag][1])
    return manifest, json.loads(registry.blobs[repository][manifest["config"]["digest"]])


def blob_reads(registry) -> list[str]:
    return [seen.path for seen in registry.requests("GET", "/blobs/sha256:")]


def layer_reads(registry, kit, base) -> list[str]:
    layers = [layer["digest"] for layer in kit.read(base)["layers"]]
    return [path for path in blob_reads(registry) if path.rpartition("/")[2] in layers]


# --- Where the layers come from


def test_the_same_registry_mounts_the_base_unread(hub, kit, tree, fastoci):
    base = kit.image()
    push_by_hand(kit, hub, "bases/one", base, "1")
    code, out, err = fastoci(
        "build", tree, "--from", f"{hub.host}/bases/one:1", "-t", f"{hub.host}/me/app:2", "--push", "--progress=plain"
    )
    assert code == 0, err
    manifest, config = pushed(hub, "me/app", "2")
    layers = kit.read(base)["layers"]
    assert manifest["layers"][:2] == layers
    assert all(layer["digest"] in hub.blobs["me/app"] for layer in manifest["layers"])
    assert layer_reads(hub, kit, base) == []
    assert err.count("mounted sha256:") == 2
    assert manifest["annotations"] == {
        BASE_NAME: f"{hub.host}/bases/one:1",
        BASE_DIGEST: base["digest"],
    }
    assert out == f"{hub.host}/me/app@{sha256(hub.manifests['me/app']['2'][1])}\n"
    assert config["rootfs"]["diff_ids"][:2] == kit.read(kit.read(base)["config"])["rootfs"]["diff_ids"]
    assert len(config["rootfs"]["diff_ids"]) == 3
    assert [step.get("created_by") for step in config["history"]] == [
        "COPY 0",
        "COPY 1",
        "ENV PATH=/bin",
        "COPY . / # fastoci",
    ]


def test_another_registry_is_read_once_into_the_cache(hub, second, kit, tree, fastoci, no_credentials):
    base = kit.image()
    push_by_hand(kit, second, "base", base, "1")
    arguments = ("build", tree, "--from", f"{second.host}/base:1", "--push")
    code, _, err = fastoci(*arguments, "-t", f"{hub.host}/a:1")
    assert code == 0, err
    assert len(layer_reads(second, kit, base)) == 2
    assert {layer["digest"] for layer in kit.read(base)["layers"]} <= hub.blobs["a"].keys()
    assert (no_credentials / ".cache/fastoci/oci-layout").is_file()
    second.seen.clear()
    code, _, err = fastoci(*arguments, "-t", f"{hub.host}/b:1")
    assert code == 0, err
    assert layer_reads(second, kit, base) == []
    assert hub.manifests["b"]["1"][1] == hub.manifests["a"]["1"][1]


def test_what_stands_at_the_destination_is_not_fetched(hub, second, kit, tree, fastoci, no_credentials):
    base = kit.image()
    push_by_hand(kit, second, "base", base, "1")
    push_by_hand(kit, hub, "a", base, "old")
    code, _, err = fastoci("build", tree, "--from", f"{second.host}/base:1", "-t", f"{hub.host}/a:1", "--push")
    assert code == 0, err
    assert layer_reads(second, kit, base) == []


@pytest.mark.parametrize("output", ["oci", "oci-archive", "docker-archive"])
def test_on_disk_the_image_is_whole(output, hub, kit, tree, fastoci, tmp_path):
    push_by_hand(kit, hub, "base", kit.image(), "1")
    target = f"{output}:{tmp_path / 'out'}"
    code, _, err = fastoci("build", tree, "--from", f"{hub.host}/base:1", "-t", "app:1", "-o", target)
    assert code == 0, err
    code, out, err = fastoci("validate", target)
    assert code == 0, err
    assert ": valid (1 image, 3 blobs read" in out


def test_several_outputs(hub, kit, tree, fastoci, tmp_path):
    base = kit.image()
    push_by_hand(kit, hub, "base", base, "1")
    code, _, err = fastoci(
        "build", tree, "--from", f"{hub.host}/base:1", "-t", f"{hub.host}/app:1", "--push",
        "-o", f"oci:{tmp_path / 'out'}", "-o", f"oci-archive:{tmp_path / 'out.tar'}",
    )  # fmt: skip
    assert code == 0, err
    assert len(layer_reads(hub, kit, base)) == 2
    for name in (tmp_path / "out", tmp_path / "out.tar", f"{hub.host}/app:1"):
        assert fastoci("validate", name)[0] == 0


@pytest.mark.parametrize("kind", ["layout", "archive"])
def test_a_base_on_disk(kind, kit, tree, fastoci, tmp_path):
    base = kit.add(kit.image(), "1", "ghcr.io/me/base:1")
    place = f"oci:{kit}:1" if kind == "layout" else f"oci-archive:{kit.archive(tmp_path / 'base.tar')}"
    code, _, err = fastoci("build", tree, "--from", place, "-o", f"oci:{tmp_path / 'out'}")
    assert code == 0, err
    _, manifest, _ = layout(tmp_path / "out")
    assert manifest["layers"][:2] == kit.read(base)["layers"]
    assert manifest["annotations"] == {BASE_NAME: "ghcr.io/me/base:1", BASE_DIGEST: base["digest"]}
    assert fastoci("validate", tmp_path / "out")[0] == 0


def test_a_damaged_base_does_not_get_into_the_image(kit, tree, fastoci, tmp_path):
    base = kit.add(kit.image(), "1")
    file = kit.file(kit.read(base)["layers"][0]["digest"])
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    code, out, err = fastoci("build", tree, "--from", f"oci:{kit}:1", "-o", f"oci:{tmp_path / 'out'}")
    assert (code, out) == (3, "")
    assert "is not what it should be" in err
    assert not (tmp_path / "out").exists()


def test_docker_schema_2_becomes_oci(hub, kit, tree, fastoci, tmp_path):
    tar = make_tar({"bin/sh": noise(2000)})
    layer = kit.blob(gzip.compress(tar, 9, mtime=0), DOCKER_GZIP)
    document = kit.config([tar], container="abc", docker_version="20.10", history=[])
    document["config"] |= {
        "Hostname": "abc",
        "Image": "sha256:1",
        "OnBuild": ["RUN x"],
        "Healthcheck": {"Test": ["CMD", "true"]},
    }
    config = kit.blob(json.dumps(document).encode(), DOCKER_CONFIG)
    base = kit.document({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]})
    push_by_hand(kit, hub, "base", base, "1")
    code, _, err = fastoci(
        "build", tree, "--from", f"{hub.host}/base@{base['digest']}", "-o", f"oci:{tmp_path / 'out'}"
    )
    assert code == 0, err
    assert "1 ONBUILD of the base" in err
    entry, manifest, found = layout(tmp_path / "out")
    assert (entry["mediaType"], manifest["mediaType"], manifest["config"]["mediaType"]) == (MANIFEST, MANIFEST, CONFIG)
    assert manifest["layers"][0] == {**layer, "mediaType": GZIP}
    assert manifest["annotations"][BASE_NAME] == f"{hub.host}/base@{base['digest']}"
    assert "container" not in found
    assert "docker_version" not in found
    assert found["config"].keys() == {"Env", "Entrypoint", "Cmd", "Labels", "Healthcheck"}
    assert found["history"][0] == {"created": "2026-01-02T03:04:05Z"}
    assert len(found["history"]) == 2
    assert fastoci("validate", tmp_path / "out")[0] == 0


def test_a_layer_that_is_elsewhere_stays_there(hub, kit, tree, fastoci):
    tar = make_tar({"bin/sh": noise(2000)})
    data = gzip.compress(tar, 9, mtime=0)
    layer = {"mediaType": DOCKER_FOREIGN, "digest": sha256(data), "size": len(data), "urls": ["https://example.com/x"]}
    config = kit.blob(json.dumps(kit.config([tar])).encode(), DOCKER_CONFIG)
    base = kit.document({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]})
    hub.put_blob("base", kit.file(config["digest"]).read_bytes())
    hub.manifests["base"] = {"1": (DOCKER_MANIFEST, kit.file(base["digest"]).read_bytes())}
    code, _, err = fastoci("build", tree, "--from", f"{hub.host}/base:1", "-t", f"{hub.host}/app:1", "--push")
    assert code == 0, err
    manifest, _ = pushed(hub, "app", "1")
    assert manifest["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    assert manifest["layers"][0]["urls"] == ["https://example.com/x"]
    assert layer["digest"] not in hub.blobs["app"]


# --- Which image, and as whom


def test_the_platform_is_picked_from_an_index(hub, kit, tree, fastoci, tmp_path):
    index = kit.multi("amd64", "arm64")
    push_by_hand(kit, hub, "base", index, "1")
    for architecture in ("amd64", "arm64"):
        out = tmp_path / architecture
        code, _, err = fastoci(
            "build", tree, "--from", f"{hub.host}/base:1", "--platform", f"linux/{architecture}", "-o", f"oci:{out}"
        )
        assert code == 0, err
        assert "warning" not in err
        entry, manifest, config = layout(out)
        assert config["architecture"] == architecture
        assert entry["platform"]["architecture"] == architecture
        # annotations.md: the digest of what the name means, which is the index.
        assert manifest["annotations"][BASE_DIGEST] == index["digest"]
    code, _, err = fastoci("build", tree, "--from", f"{hub.host}/base:1", "--platform", "linux/s390x", "-o", "x")
    assert code == 1
    assert "cause: it has linux/amd64, linux/arm64" in err


def test_one_image_gives_its_platform_and_another_is_a_warning(kit, tree, fastoci, tmp_path):
    kit.add(kit.image(architecture="riscv64"), "1")
    code, _, err = fastoci("build", tree, "--from", f"oci:{kit}:1", "-o", f"oci:{tmp_path / 'a'}")
    assert code == 0, err
    assert layout(tmp_path / "a")[2]["architecture"] == "riscv64"
    code, _, err = fastoci(
        "build", tree, "--from", f"oci:{kit}:1", "--platform", "linux/amd64", "-o", f"oci:{tmp_path / 'b'}"
    )
    assert code == 0, err
    assert "is for linux/riscv64, and the image becomes one for linux/amd64" in err
    assert layout(tmp_path / "b")[2]["architecture"] == "amd64"


def test_a_password_for_the_destination_is_not_shown_to_the_base(hub, second, kit, tree, fastoci, tmp_path):
    push_by_hand(kit, second, "base", kit.image(), "1")
    hub.auth = "basic"
    second.auth = "basic"
    creds = f"--creds={USER}:{PASSWORD}"
    code, _, err = fastoci("build", tree, "--from", f"{second.host}/base:1", "-t", f"{hub.host}/a:1", "--push", creds)
    assert code == 5, err
    assert not any("authorization" in seen.headers for seen in second.seen)
    # Where nothing is pushed, it can only be meant for the base.
    code, _, err = fastoci("build", tree, "--from", f"{second.host}/base:1", "-o", f"oci:{tmp_path}/out.oci", creds)
    assert code == 0, err


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (lambda kit: kit.manifest(kit.blob(b"{}", "application/x"), []), 3, "is no image to build on"),
        (lambda kit: kit.image(make_tar({"a": b"a"}), rootfs={"type": "layers", "diff_ids": []}), 3, "0 diff_ids"),
        (lambda kit: kit.index(), 1, "it has none that names a platform"),
    ],
)
def test_what_is_no_base(make, code, said, kit, tree, fastoci, tmp_path):
    kit.add(make(kit), "1")
    found, out, err = fastoci("build", tree, "--from", f"oci:{kit}:1", "-o", f"oci:{tmp_path / 'out'}")
    assert (found, out) == (code, ""), err
    assert said in err
    assert not (tmp_path / "out").exists()


def test_scratch_is_nothing(tree, fastoci, tmp_path):
    assert fastoci("build", tree, "--from", "scratch", "-o", f"oci:{tmp_path / 'a'}")[0] == 0
    assert fastoci("build", tree, "-o", f"oci:{tmp_path / 'b'}")[0] == 0
    assert layout(tmp_path / "a")[0]["digest"] == layout(tmp_path / "b")[0]["digest"]


# --- The directories above a destination


def system_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, mode in (("usr", 0o755), ("usr/lib", 0o711), ("tmp", 0o1777)):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.mtime = tarfile.DIRTYPE, mode, 7, 1234
            archive.addfile(info)
        info = tarfile.TarInfo("lib")
        info.type, info.linkname = tarfile.SYMTYPE, "usr/lib"
        archive.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize("place", ["layout", "registry"])
def test_destinations_are_as_the_base_has_them(place, hub, kit, tree, fastoci, tmp_path):
    base = kit.add(kit.image(system_tar(), make_tar({"other": b"x"})), "1")
    push_by_hand(kit, hub, "base", base, "1")
    name = f"oci:{kit}:1" if place == "layout" else f"{hub.host}/base:1"
    code, _, err = fastoci(
        "build", f"{tree}:/lib/own", f"{tree}:/tmp/x", "--from", name, "-o", f"oci:{tmp_path / 'out'}"
    )
    assert code == 0, err
    _, manifest, _ = layout(tmp_path / "out")
    found = []
    for layer in manifest["layers"][2:]:
        data = (tmp_path / "out/blobs" / layer["digest"].replace(":", "/")).read_bytes()
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            found.append({member.name: (oct(member.mode), member.uid, member.mtime) for member in tar})
    assert found[0]["usr/lib"] == ("0o711", 7, 1234)
    assert "lib" not in found[0]
    assert "usr/lib/own/etc/own" in found[0]
    assert found[1]["tmp"] == ("0o1777", 7, 1234)


def test_a_base_layer_that_is_no_tar(kit, tree, fastoci, tmp_path):
    kit.add(kit.image(b"\x01" * 2048), "1")
    code, _, err = fastoci("build", f"{tree}:/lib/own", "--from", f"oci:{kit}:1", "-o", f"oci:{tmp_path / 'out'}")
    assert code == 3, err
    assert "is not valid" in err
    # At the root nobody has to look into it.
    assert fastoci("build", tree, "--from", f"oci:{kit}:1", "-o", f"oci:{tmp_path / 'out'}")[0] == 0


# --- The cache


def test_a_cache_that_cannot_be_written_costs_a_warning(hub, second, kit, tree, fastoci, tmp_path, monkeypatch):
    base = kit.image()
    push_by_hand(kit, second, "base", base, "1")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FASTOCI_CACHE_DIR", str(tmp_path / "file"))
    code, _, err = fastoci("build", tree, "--from", f"{second.host}/base:1", "-t", f"{hub.host}/a:1", "--push")
    assert code == 0, err
    assert "warning: no cache for base layers" in err
