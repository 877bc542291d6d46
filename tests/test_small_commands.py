"""`tag`, `ls`, `digest`, `manifest` and `config set`."""

from __future__ import annotations

import json

import pytest
from fake_registry import Reply, answer

from imagekit import IMAGE_NAME, REF_NAME, make_tar, push_by_hand, sha256


def names(kit) -> list[tuple[str, str | None, str | None]]:
    entries = json.loads((kit.path / "index.json").read_bytes())["manifests"]
    return [
        (entry["digest"], entry.get("annotations", {}).get(REF_NAME), entry.get("annotations", {}).get(IMAGE_NAME))
        for entry in entries
    ]


# --- tag


def test_tags_at_a_registry(hub, kit, fastoci):
    image = kit.multi("amd64", "arm64")
    push_by_hand(kit, hub, "app", image, "1")
    code, out, err = fastoci("tag", f"{hub.host}/app:1", "stable", "latest")
    assert code == 0, err
    assert out == f"{hub.host}/app:stable@{image['digest']}\n{hub.host}/app:latest@{image['digest']}\n"
    assert hub.manifests["app"]["stable"] == hub.manifests["app"]["1"] == hub.manifests["app"]["latest"]
    assert hub.requests("POST") == hub.requests("HEAD") == []


def test_tags_in_a_layout(kit, fastoci):
    one = kit.add(kit.image(), "1", "ghcr.io/me/app:1")
    two = kit.add(kit.image(make_tar({"x": b"x"})), "2")
    assert fastoci("tag", f"oci:{kit}:1", "stable")[0] == 0
    assert (one["digest"], "stable", "ghcr.io/me/app:stable") in names(kit)
    assert (one["digest"], "1", "ghcr.io/me/app:1") in names(kit)
    assert fastoci("tag", f"oci:{kit}:1", "docker.io/me/app:3")[0] == 0
    assert (one["digest"], "3", "docker.io/me/app:3") in names(kit)
    # A tag that another image has moves.
    code, out, _ = fastoci("tag", f"oci:{kit}:1", "2")
    assert (code, out) == (0, f"oci:{kit}:2@{one['digest']}\n")
    assert two["digest"] not in [digest for digest, _, _ in names(kit)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["HUB/app:1", "a/b:1"], "hint:  fastoci copy HUB/app:1 a/b:1"),
        (["oci:KIT:1", "-x"], "no such option"),
        (["oci:KIT:1", "a b"], "not a tag: 'a b'"),
        (["HUB/app:1", "a+b"], "not a tag: 'a+b'"),
        (["oci-archive:TAR:1", "2"], "is in an archive"),
        (["oci:KIT:1"], "missing argument"),
    ],
)
def test_what_is_no_tag(arguments, said, kit, hub, fastoci, tmp_path):
    kit.add(kit.image(), "1")
    push_by_hand(kit, hub, "app", kit.image(), "1")
    tar = kit.archive(tmp_path / "x.tar")

    def filled(text):
        return text.replace("KIT", str(kit)).replace("HUB", hub.host).replace("TAR", str(tar))

    code, out, err = fastoci("tag", *map(filled, arguments))
    assert (code, out) == (2, ""), err
    assert filled(said) in err


# --- ls


def pages(*tags_of_pages, link='</v2/app/tags/list?n=1000&last={}>; rel="next"'):
    left = list(tags_of_pages)

    def act(handler):
        tags = left.pop(0)
        headers = {"Content-Type": "application/json"}
        if left:
            headers["Link"] = link.format(tags[-1])
        return Reply(200, headers, json.dumps({"name": "app", "tags": tags}).encode())

    return act


def test_tags_page_by_page(hub, fastoci):
    hub.on("GET", "/tags/list", pages(["a", "b"], ["c"], ["d"]), times=9)
    code, out, err = fastoci("ls", f"{hub.host}/app")
    assert (code, out) == (0, "a\nb\nc\nd\n"), err
    assert [seen.target for seen in hub.requests("GET", "tags")] == [
        "/v2/app/tags/list?n=1000",
        "/v2/app/tags/list?n=1000&last=b",
        "/v2/app/tags/list?n=1000&last=c",
    ]


def test_pages_in_a_circle_end(hub, fastoci):
    hub.on("GET", "/tags/list", pages(*[["a", "b"]] * 50), times=50)
    code, out, _ = fastoci("ls", f"{hub.host}/app", "--full-ref")
    assert (code, out) == (0, f"{hub.host}/app:a\n{hub.host}/app:b\n")
    assert len(hub.requests("GET", "tags")) == 2


@pytest.mark.parametrize(
    ("action", "code", "said"),
    [
        (answer(200, '{"name": "app", "tags": null}'), 0, ""),
        (answer(200, '{"name": "app", "tags": ["\\u001b[2J"]}'), 4, "is not a tag"),
        (answer(200, '{"name": "app", "tags": ["../x"]}'), 4, "is not a tag"),
        (answer(200, "[]"), 4, "is no list of tags"),
        (answer(200, "x" * (5 << 20)), 4, "has over"),
        (answer(404), 1, "there is no"),
        (answer(403), 5, "cannot list"),
    ],
)
def test_odd_lists(action, code, said, hub, fastoci):
    hub.on("GET", "/tags/list", action)
    found, out, err = fastoci("ls", f"{hub.host}/app")
    assert (found, out) == (code, ""), err
    assert said in err
    assert "\x1b" not in err


def test_a_next_page_elsewhere_gets_no_password(hub, fastoci, no_credentials):
    hub.on("GET", "/tags/list", pages(["a"], ["b"], link='<http://10.0.0.1/x>; rel="next"'))
    code, _, err = fastoci("ls", f"{hub.host}/app")
    assert code == 4, err


def test_images_of_a_layout_and_an_archive(kit, fastoci, tmp_path):
    one = kit.add(kit.image(), "1")
    two = kit.add(kit.image(make_tar({"x": b"x"})), "2", "ghcr.io/me/app:2")
    bare = kit.add(kit.image(make_tar({"y": b"y"})))
    for place in (f"oci:{kit}", f"oci-archive:{kit.archive(tmp_path / 'x.tar')}"):
        code, out, err = fastoci("ls", place)
        assert (code, out) == (0, f"1\n2\n{bare['digest']}\n"), err
        code, out, err = fastoci("ls", place, "--full-ref")
        assert out.splitlines() == [
            f"{place}:1@{one['digest']}",
            f"{place}:2@{two['digest']}",
            f"{place}@{bare['digest']}",
        ]
        assert [one["descriptor"]["size"] for one in json.loads(fastoci("ls", place, "--json")[1])] == [
            one["size"], two["size"], bare["size"],
        ]  # fmt: skip
    code, _, err = fastoci("ls", f"oci:{kit}:1")
    assert (code, "names one image" in err) == (2, True)


# --- digest, manifest


def test_digest_and_manifest(hub, kit, fastoci):
    index = kit.add(kit.multi("amd64", "arm64"), "1")
    push_by_hand(kit, hub, "app", index, "1")
    arm64 = kit.read(index)["manifests"][1]["digest"]
    for name in (f"{hub.host}/app:1", f"oci:{kit}:1"):
        assert fastoci("digest", name)[1] == f"{index['digest']}\n"
        assert fastoci("digest", name, "--platform=linux/arm64")[1] == f"{arm64}\n"
        assert sha256(fastoci("manifest", name)[1].encode()) == index["digest"]
        assert sha256(fastoci("manifest", name, "--platform=linux/arm64")[1].encode()) == arm64
        assert json.loads(fastoci("digest", name, "--json")[1]) == {"digest": index["digest"]}
    assert fastoci("digest", f"{hub.host}/app:2")[0] == 1


# --- config set


def test_config_at_a_registry(hub, kit, fastoci, monkeypatch):
    image = kit.image()
    push_by_hand(kit, hub, "app", image, "1")
    code, out, err = fastoci(
        "config", "set", f"{hub.host}/app:1", "-e", "A=1", "--cmd", "x", "-l", "c=d", "--annotation", "k=v"
    )
    assert code == 0, err
    manifest = json.loads(hub.manifests["app"]["1"][1])
    config = json.loads(hub.blobs["app"][manifest["config"]["digest"]])
    before = kit.read(kit.read(image)["config"])
    assert out == f"{hub.host}/app@{sha256(hub.manifests['app']['1'][1])}\n"
    assert manifest["layers"] == kit.read(image)["layers"]
    assert manifest["annotations"] == {"k": "v"}
    assert config["config"] == {
        **before["config"], "Env": ["PATH=/bin", "A=1"], "Cmd": ["x"], "Labels": {"a": "b", "c": "d"},
    }  # fmt: skip
    assert (config["created"], config["rootfs"]) == (before["created"], before["rootfs"])
    assert config["history"][:-1] == before["history"]
    assert config["history"][-1]["empty_layer"] is True
    assert fastoci("validate", f"{hub.host}/app:1")[0] == 0
    # By digest, and under another tag: the old name stays.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    code, out, err = fastoci("config", "set", f"{hub.host}/app@{image['digest']}", "-u", "7", "-t", "2")
    assert code == 0, err
    manifest = json.loads(hub.manifests["app"]["2"][1])
    assert json.loads(hub.blobs["app"][manifest["config"]["digest"]])["created"] == "1970-01-01T00:00:00Z"
    code, out, err = fastoci("config", "set", f"{hub.host}/app@{image['digest']}", "-u", "8")
    assert code == 0, err
    assert set(hub.manifests["app"]) - {"1", "2"} >= {out.strip().rpartition("@")[2]}
    assert "latest" not in hub.manifests["app"]


def test_config_in_a_layout(kit, fastoci):
    image = kit.add(kit.image(), "1", "ghcr.io/me/app:1")
    code, out, err = fastoci("config", "set", f"oci:{kit}:1", "--entrypoint", "/x")
    assert code == 0, err
    digest = out.strip().rpartition("@")[2]
    assert names(kit) == [(digest, "1", "ghcr.io/me/app:1")]
    config = json.loads(fastoci("inspect", "--config", f"oci:{kit}:1")[1])["config"]
    assert config["Entrypoint"] == ["/x"]
    assert "Cmd" not in config
    assert fastoci("validate", f"oci:{kit}")[0] == 0
    code, out, err = fastoci("config", "set", f"oci:{kit}@{image['digest']}", "-w", "/y", "--tag", "2")
    assert code == 0, err
    assert [tag for _, tag, _ in names(kit)] == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "arguments", "code", "said"),
    [
        ("1", [], 2, "nothing to change"),
        ("1", ["-u", "7", "-t", "a/b:1"], 2, "not a tag"),
        ("index", ["-u", "7"], 2, "is an index"),
        ("artifact", ["-u", "7"], 3, "is no image that runs"),
        ("none", ["-u", "7"], 1, "there is no image 'none'"),
    ],
)
def test_configs_that_cannot_be_set(name, arguments, code, said, kit, fastoci):
    kit.add(kit.image(), "1")
    kit.add(kit.multi("amd64", "arm64"), "index")
    kit.add(kit.manifest(kit.blob(b"{}", "application/x"), []), "artifact")
    before = (kit.path / "index.json").read_bytes()
    found, out, err = fastoci("config", "set", f"oci:{kit}:{name}", *arguments)
    assert (found, out) == (code, ""), err
    assert said in err
    assert (kit.path / "index.json").read_bytes() == before
