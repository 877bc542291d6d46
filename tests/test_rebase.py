"""Rebase: against builds on the new base, which have to come to the same image, and against configs by hand."""

from __future__ import annotations

import json
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastoci.build import build
from fastoci.building.config import ConfigOptions
from fastoci.errors import ImageNotFoundError, InvalidImageError, UsageError
from fastoci.rebase import rebase, rebased
from fastoci.registry.options import RegistryOptions
from fastoci.spec.config import History, ImageConfig
from fastoci.spec.digest import Digest
from fastoci.spec.platform import Platform
from fastoci.validate import validate
from imagekit import LayoutKit, make_tar, noise, push_by_hand

CHANGES = ConfigOptions(
    env={"PATH": "/app/bin", "APP": "1"},
    entrypoint=["/app/run"],
    workdir="/app",
    expose=["80/tcp"],
    labels={"mine": "1"},
    annotations={"org.example": "x"},
)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    (root / "app").write_bytes(noise(4000))
    for path in (root / "app", root):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return str(root)


def base(kit, tag, *, seed, **config):
    """Write a base image of two layers."""
    tars = [make_tar({"etc/os": noise(500, seed)}), make_tar({"lib/c": noise(700, seed)})]
    changes = {"config": {"Env": ["PATH=/bin", f"OS={seed}"], "Cmd": ["sh"], "Labels": {"os": seed}, **config}}
    return kit.add(kit.image(*tars, **changes), tag, f"example.org/os:{tag}")


@pytest.mark.parametrize("changes", [ConfigOptions(), CHANGES], ids=["as it is", "changed"])
def test_as_if_it_had_been_built_on_the_new_base(kit, tree, changes, tmp_path):
    base(kit, "1", seed="one")
    base(kit, "2", seed="two", User="app", WorkingDir="/w", ExposedPorts={"9/udp": {}}, Healthcheck={"Test": ["NONE"]})
    old, new = f"oci:{kit}:1", f"oci:{kit}:2"
    image = f"oci:{tmp_path}/image:app"
    build([tree], base=old, config=changes, outputs=[image])
    built = build([tree], base=new, config=changes, outputs=[f"oci:{tmp_path}/built:app"])
    moved = rebase(image, new, old_base=old)
    assert moved.digest == built.digest
    assert moved.name == f"{image}@{built.digest}"
    assert validate(image).is_valid


def test_a_tag_of_its_own(kit, tree):
    base(kit, "1", seed="one")
    base(kit, "2", seed="two")
    before = build([tree], base=f"oci:{kit}:1", outputs=[f"oci:{kit}:app"])
    moved = rebase(f"oci:{kit}:app", f"oci:{kit}:2", old_base=f"oci:{kit}:1", tag="app2")
    assert moved.name == f"oci:{kit}:app2@{moved.digest}"
    assert rebase(f"oci:{kit}:app2", f"oci:{kit}:1", old_base=f"oci:{kit}:2", tag="app3").digest == before.digest


def test_at_a_registry_from_what_the_image_says_of_its_base(kit, hub, tree):
    """Nothing of the base is downloaded or sent: its layers are mounted, or stand."""
    one, two = base(kit, "1", seed="one"), base(kit, "2", seed="two")
    push_by_hand(kit, hub, "os", one, "stable")
    first = build([tree], base=f"{hub.host}/os:stable", tags=[f"{hub.host}/me/app:1"], push=True)
    push_by_hand(kit, hub, "os", two, "stable")
    built = build([tree], base=f"{hub.host}/os:stable", outputs=[f"oci:{kit}:built"])
    hub.seen.clear()
    moved = rebase(f"{hub.host}/me/app:1")
    assert moved.digest == built.digest != first.digest
    assert moved.name == f"{hub.host}/me/app@{moved.digest}"
    assert hub.manifests["me/app"]["1"] == hub.manifests["me/app"][str(moved.digest)]
    layers = {layer["digest"] for image in (one, two) for layer in kit.read(image)["layers"]}
    assert not [seen for seen in hub.seen if seen.method in {"GET", "PATCH", "PUT"} and layers & {seen.path[-71:]}]
    assert validate(f"{hub.host}/me/app:1").is_valid


def test_history_that_the_base_tells_otherwise(kit, tree):
    told = kit.read(base(kit, "1", seed="one"))
    base(kit, "2", seed="two")
    config = kit.read(told["config"])
    config["history"][0]["created_by"] = "otherwise"
    blob = kit.blob(json.dumps(config).encode(), told["config"]["mediaType"])
    kit.add(kit.manifest(blob, told["layers"]), "1c")
    build([tree], base=f"oci:{kit}:1", outputs=[f"oci:{kit}:app"])
    moved = rebase(f"oci:{kit}:app", f"oci:{kit}:2", old_base=f"oci:{kit}:1c", tag="x")
    assert moved.digest == rebase(f"oci:{kit}:app", f"oci:{kit}:2", old_base=f"oci:{kit}:1", tag="y").digest


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"new_base": "oci:{kit}:2", "old_base": "oci:{kit}:2"}, InvalidImageError, "does not begin with the layers"),
        ({"new_base": "oci:{kit}:arm", "old_base": "oci:{kit}:1"}, UsageError, "is for linux/arm64"),
        ({"new_base": "oci:{kit}:9", "old_base": "oci:{kit}:1"}, ImageNotFoundError, "9"),
        ({"new_base": "oci:{kit}:2", "old_base": "oci:{kit}:1", "tag": "a b"}, UsageError, "not a tag"),
        ({"image": "oci:{kit}:multi", "new_base": "oci:{kit}:2", "old_base": "oci:{kit}:1"}, UsageError, "an index"),
        ({"image": "oci:{kit}:1"}, UsageError, "does not say what its base is called"),
        ({"image": "oci:{kit}:1", "new_base": "oci:{kit}:2"}, UsageError, "does not say what its base was"),
        (
            {"image": "oci-archive:{kit}.tar:app", "new_base": "oci:{kit}:2", "old_base": "oci:{kit}:1"},
            UsageError,
            "an archive is written once",
        ),
    ],
)
def test_what_cannot_be_done(kit, tree, arguments, error, message):
    base(kit, "1", seed="one")
    base(kit, "2", seed="two")
    build([tree], base=f"oci:{kit}:1", outputs=[f"oci:{kit}:app", f"oci-archive:{kit}.tar:app"])
    kit.entries = json.loads((kit.path / "index.json").read_text())["manifests"]
    kit.add(kit.image(architecture="arm64"), "arm")
    kit.add(kit.multi("amd64", "arm64"), "multi")
    before = (kit.path / "index.json").read_bytes()
    arguments = {name: text.format(kit=kit) for name, text in arguments.items()}
    with pytest.raises(error) as caught:
        rebase(**{"image": f"oci:{kit}:app", **arguments})
    assert message in str(caught.value)
    assert (kit.path / "index.json").read_bytes() == before


def test_the_command_line(kit, tree, fastoci):
    base(kit, "1", seed="one")
    base(kit, "2", seed="two")
    build([tree], base=f"oci:{kit}:1", outputs=[f"oci:{kit}:app"])
    arguments = ["rebase", f"oci:{kit}:app", "--old-base", f"oci:{kit}:1", "--new-base", f"oci:{kit}:2", "-q"]
    code, out, err = fastoci(*arguments, "-t", "new", "--json")
    assert (code, err) == (0, "")
    digest = json.loads(out)["digest"]
    assert fastoci(*arguments)[:2] == (0, f"oci:{kit}:app@{digest}\n")


# --- configs


def config(**fields):
    return ImageConfig(Platform("linux", "amd64"), **fields)


def test_fields_that_nobody_but_the_bases_said_follow_the_new_one():
    old = config(user="old", working_dir="/old", stop_signal="1", author="a", cmd=("old",), env=("A=1", "B=1"))
    new = config(user="new", working_dir="/new", stop_signal="2", author="b", cmd=("new",), env=("B=2", "C=2"))
    found = rebased(old, old, new)
    assert found == new


def test_what_the_image_said_stays():
    old = config(user="old", cmd=("old",), env=("A=1", "B=1"), labels={"a": "1", "b": "1"}, volumes=("/v",))
    mine = config(
        user="me", entrypoint=("e",), env=("A=1", "B=9", "D=9"), labels={"b": "1", "c": "9"}, volumes=("/v", "/w")
    )
    new = config(user="new", cmd=("new",), env=("B=2", "C=2"), labels={"a": "2", "d": "2"}, volumes=("/x",))
    found = rebased(mine, old, new)
    assert (found.user, found.entrypoint, found.cmd) == ("me", ("e",), None)
    assert found.env == ("B=9", "C=2", "D=9")
    assert found.labels == {"d": "2", "c": "9"}
    assert found.volumes == ("/x", "/w")


def test_blank_steps_where_the_image_tells_none():
    ids = [Digest.of(bytes([number])) for number in range(4)]
    old = config(diff_ids=tuple(ids[:1]), history=(History(created_by="base"),))
    mine = config(diff_ids=tuple(ids[:3]), history=(History(created_by="all"),), created="2026-01-01T00:00:00Z")
    new = config(diff_ids=tuple(ids[3:]), history=(History(created_by="new"),))
    found = rebased(mine, old, new)
    assert found.diff_ids == (ids[3], ids[1], ids[2])
    assert [step.created_by for step in found.history] == ["new", None, None]


def test_steps_that_the_base_does_not_know():
    ids = [Digest.of(bytes([number])) for number in range(4)]
    made, said = History(created_by="COPY"), History(created_by="ENV", empty_layer=True)
    old = config(diff_ids=tuple(ids[:1]), history=(made,))
    mine = config(diff_ids=tuple(ids[:2]), history=(said, made, History(created_by="mine")))
    new = config(diff_ids=tuple(ids[3:]), history=(History(created_by="new"),))
    assert [step.created_by for step in rebased(mine, old, new).history] == ["new", "mine"]


WORDS = st.dictionaries(st.sampled_from("ABCD"), st.sampled_from("12"), max_size=4)


@given(old=WORDS, new=WORDS, changes=WORDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_variables_are_those_of_a_build_on_the_new_base(old, new, changes):
    """But for those that were set to what the old base said already, which are as if they had not been set."""
    changes = {name: value for name, value in changes.items() if old.get(name) != value}
    mine = {**old, **changes}

    def written(values):
        return tuple(f"{name}={value}" for name, value in values.items())

    found = rebased(config(env=written(mine)), config(env=written(old)), config(env=written(new)))
    assert dict(entry.split("=") for entry in found.env) == {**new, **changes}
    labels = rebased(config(labels=mine), config(labels=old), config(labels=new)).labels
    assert labels == {**new, **changes}


def test_there_and_back(tmp_path, tree):
    """Over some bases at random: rebased from each to each, an image is what a build there makes of it."""
    draw = random.Random(5)
    kit = LayoutKit(tmp_path / "layout")
    for number in range(3):
        values = {"Env": [f"V{draw.randrange(3)}={draw.randrange(2)}" for _ in range(1)], "User": str(number)}
        base(kit, str(number), seed=f"s{number}", **values)
    built = {}
    for number in range(3):
        built[number] = build([tree], base=f"oci:{kit}:{number}", config=CHANGES, outputs=[f"oci:{kit}:app{number}"])
    for one in range(3):
        for other in range(3):
            moved = rebase(f"oci:{kit}:app{one}", f"oci:{kit}:{other}", old_base=f"oci:{kit}:{one}", tag="moved")
            assert moved.digest == built[other].digest


class OpenedError(Exception):
    """A registry would have been opened now."""


@pytest.mark.parametrize(
    ("bases", "credentials"),
    [
        ({}, None),
        ({"new_base": "127.0.0.1:2/os"}, None),
        ({"old_base": "127.0.0.1:1/os"}, ("me", "word")),
    ],
)
def test_an_annotation_is_given_no_password(kit, tree, monkeypatch, bases, credentials):
    """The command line's is for whom the command line names."""
    annotations = {"org.opencontainers.image.base.name": "127.0.0.1:1/os"}
    annotations["org.opencontainers.image.base.digest"] = f"sha256:{'0' * 64}"
    build([tree], config=ConfigOptions(annotations=annotations), outputs=[f"oci:{kit}:app"])
    seen = []

    def open_base(name, platform, options, sink, stack):
        seen.append((str(name).partition("@")[0], options.credentials))
        raise OpenedError

    monkeypatch.setattr("fastoci.rebase.open_base", open_base)
    with pytest.raises(OpenedError):
        rebase(f"oci:{kit}:app", options=RegistryOptions(credentials=("me", "word")), **bases)
    assert [(name.removeprefix("docker://"), word) for name, word in seen] == [("127.0.0.1:1/os", credentials)]
