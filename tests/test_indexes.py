"""`index create`: what CI jobs pushed by digest becomes one image for all platforms."""

from __future__ import annotations

import json

import pytest
from fake_registry import PASSWORD, USER, FakeRegistry

from imagekit import CONFIG, INDEX, make_tar, push_by_hand

DOCKER = "application/vnd.docker.distribution.manifest"


@pytest.fixture
def second(no_credentials):
    registry = FakeRegistry()
    yield registry
    registry.close()


def index_of(registry, repository, tag) -> dict:
    media_type, data = registry.manifests[repository][tag]
    document = json.loads(data)
    assert document["mediaType"] == media_type
    return document


def platforms(document) -> list[str]:
    return [f"{entry['platform']['os']}/{entry['platform']['architecture']}" for entry in document["manifests"]]


def test_jobs_push_by_digest_and_one_joins(hub, fastoci, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("x")
    names = []
    for flags in (["--push", "--by-digest"], ["-o", "type=image,push=true,push-by-digest=true,name-canonical=true"]):
        architecture = ["amd64", "arm64"][len(names)]
        code, out, err = fastoci(
            "build", tmp_path / "tree", "-t", f"{hub.host}/me/app", "--platform", f"linux/{architecture}", *flags
        )
        assert code == 0, err
        names.append(out.strip())
    assert set(hub.manifests["me/app"]) == {name.rpartition("@")[2] for name in names}, "no tag"
    code, out, err = fastoci("index", "create", f"{hub.host}/me/app:1", *names, "--annotation", "a=b")
    assert code == 0, err
    document = index_of(hub, "me/app", "1")
    assert (document["mediaType"], document["annotations"]) == (INDEX, {"a": "b"})
    assert platforms(document) == ["linux/amd64", "linux/arm64"]
    assert [entry["digest"] for entry in document["manifests"]] == [name.rpartition("@")[2] for name in names]
    assert hub.requests("PATCH", "me/app")[4:] == []
    assert fastoci("validate", out.strip())[0] == 0


def test_members_from_anywhere(hub, second, kit, fastoci, tmp_path):
    here = kit.image(make_tar({"a": b"a"}), architecture="amd64")
    there = kit.image(make_tar({"b": b"b"}), architecture="arm64")
    same_host = kit.image(make_tar({"c": b"c"}), architecture="riscv64")
    kit.add(here, "1")
    push_by_hand(kit, second, "x", there, "1")
    push_by_hand(kit, hub, "other", same_host, "1")
    code, out, err = fastoci(
        "index", "create", f"{hub.host}/app:1", f"oci:{kit}:1", f"{second.host}/x:1", f"{hub.host}/other:1",
        "--progress=plain",
    )  # fmt: skip
    assert code == 0, err
    assert platforms(index_of(hub, "app", "1")) == ["linux/amd64", "linux/arm64", "linux/riscv64"]
    assert err.count("mounted sha256:") == 2
    assert err.count("pushed sha256:") == 4
    assert fastoci("validate", out.strip())[0] == 0
    # And from there into a layout and an archive.
    for target in (f"oci:{tmp_path}/out:1", f"oci-archive:{tmp_path}/out.tar:1"):
        code, out, err = fastoci("index", "create", target, f"{hub.host}/app:1")
        assert code == 0, err
        assert fastoci("validate", out.strip())[0] == 0


def test_an_index_gives_its_members_with_what_it_says_of_them(kit, fastoci, tmp_path):
    amd64, arm64 = (kit.image(architecture=name) for name in ("amd64", "arm64"))
    note = kit.manifest(kit.blob(b"{}", CONFIG), [])
    first = kit.index(
        {**amd64, "platform": {"os": "linux", "architecture": "amd64"}, "annotations": {"x": "y"}},
        {**note, "platform": {"os": "unknown", "architecture": "unknown"}},
    )
    kit.add(first, "1")
    kit.add(arm64, "2")
    # The second time the same image is the same member.
    code, out, err = fastoci(
        "index", "create", f"oci:{tmp_path}/out:1", f"oci:{kit}:1", f"oci:{kit}:2", f"oci:{kit}@{amd64['digest']}"
    )
    assert code == 0, err
    members = json.loads(fastoci("manifest", out.strip())[1])["manifests"]
    assert [member["digest"] for member in members] == [amd64["digest"], note["digest"], arm64["digest"]]
    assert members[0]["annotations"] == {"x": "y"}
    assert members[1]["platform"]["os"] == "unknown"


@pytest.mark.parametrize("annotated", [False, True])
def test_docker_members_make_a_manifest_list(annotated, hub, kit, fastoci):
    members = []
    for architecture in ("amd64", "arm64"):
        document = kit.read(kit.image(architecture=architecture)) | {"mediaType": f"{DOCKER}.v2+json"}
        document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
        for layer in document["layers"]:
            layer["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        push_by_hand(kit, hub, "app", kit.document(document), architecture)
        members.append(f"{hub.host}/app:{architecture}")
    options = ["--annotation", "a=b"] if annotated else []
    code, _, err = fastoci("index", "create", f"{hub.host}/app:1", *members, *options)
    assert code == 0, err
    assert index_of(hub, "app", "1")["mediaType"] == (INDEX if annotated else f"{DOCKER}.list.v2+json")


def test_two_for_one_platform(kit, fastoci, tmp_path):
    kit.add(kit.image(make_tar({"a": b"a"})), "1")
    kit.add(kit.image(make_tar({"b": b"b"})), "2")
    code, out, err = fastoci("index", "create", f"oci:{tmp_path}/out:1", f"oci:{kit}:1", f"oci:{kit}:2")
    assert (code, out) == (2, "")
    assert "error: two images for linux/amd64" in err
    assert f"cause: oci:{kit}:1 and oci:{kit}:2" in err
    assert not (tmp_path / "out").exists()


def test_a_password_is_for_the_target(hub, second, kit, fastoci, tmp_path):
    push_by_hand(kit, second, "x", kit.image(), "1")
    hub.auth = "basic"
    code, _, err = fastoci("index", "create", f"{hub.host}/x:1", f"{second.host}/x:1", f"--creds={USER}:{PASSWORD}")
    assert code == 0, err
    assert not any("authorization" in seen.headers for seen in second.seen)
    code, _, err = fastoci(
        "index", "create", f"oci:{tmp_path}/out", f"{second.host}/x:1", f"{hub.host}/x:1", f"--creds={USER}:{PASSWORD}"
    )
    assert code == 2
    assert "--creds does not say for which" in err


def test_what_is_not_there(hub, kit, fastoci):
    push_by_hand(kit, hub, "x", kit.image(), "1")
    code, _, err = fastoci("index", "create", f"{hub.host}/x:all", f"{hub.host}/x:1", f"{hub.host}/x:2")
    assert code == 1
    assert "there is no" in err
    assert "all" not in hub.manifests["x"]
