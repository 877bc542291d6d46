"""build --split --push: the layers of one tree travel at once, and each goes on alone where it broke."""

from __future__ import annotations

import json
import shutil

import pytest
from fake_registry import FakeRegistry, answer, reset_at

from fastoci import events
from fastoci.build import build
from fastoci.errors import RegistryError, TreeChangedError
from fastoci.layer import fingerprint as fingerprint_module
from fastoci.layer.options import LayerOptions, Split
from fastoci.registry import patience
from fastoci.registry.options import RegistryOptions
from fastoci.validate import validate
from imagekit import noise
from oracles.kills import killed_from
from oracles.threads import our_threads
from splitkit import blob, make_tree, split

CHUNK = 64 << 10
UPLOADS = "/blobs/uploads/"


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert our_threads() == []


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("split") / "rootfs")


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch):
    """Waits for a registry that failed take no time here."""
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.0)
    monkeypatch.setattr("fastoci.registry.upload_send.SYNC_WAIT", 0.0)


@pytest.fixture
def settled(monkeypatch):
    """Trees of this moment count as old."""
    monkeypatch.setattr(fingerprint_module, "_SETTLED", -(10**15))


def push(tree, *names, count=6, jobs=4, threads=2, **values):
    return build(
        [str(tree)],
        tags=names,
        push=True,
        split=Split(count=count),
        layer=LayerOptions(threads=threads),
        registry=RegistryOptions(retry=3, chunk_size=CHUNK, jobs=jobs),
        **values,
    )


def layers_at(registry, repository, digest):
    manifest = json.loads(registry.manifests[repository][str(digest)][1])
    return [registry.blobs[repository][layer["digest"]] for layer in manifest["layers"]]


@pytest.mark.parametrize(("jobs", "threads"), [(1, 2), (2, 8), (4, 4), (16, 16)])
def test_pushed_in_one_pass_it_is_the_same_image(tree, hub, tmp_path, jobs, threads):
    stored = split(tree, tmp_path / "oci")
    pushed = push(tree, f"{hub.host}/team/app:1", jobs=jobs, threads=threads)
    assert pushed.digest == stored.digest
    assert layers_at(hub, "team/app", pushed.digest) == [blob(tmp_path / "oci", layer) for layer in stored.layers]


@pytest.mark.parametrize("jobs", [1, 2, 3, 5])
def test_to_two_registries_and_to_disk_at_once(tree, hub, tmp_path, jobs):
    other = FakeRegistry()
    try:
        pushed = push(
            tree, f"{hub.host}/team/app:1", f"{other.host}/x:2", jobs=jobs, outputs=[f"oci-archive:{tmp_path}/a.tar"]
        )
        assert layers_at(hub, "team/app", pushed.digest) == layers_at(other, "x", pushed.digest)
        assert validate(f"oci-archive:{tmp_path}/a.tar").is_valid
    finally:
        other.close()


def test_what_has_not_changed_is_not_sent_again(tree, hub, settled, tmp_path):
    copy = tmp_path / "tree"
    shutil.copytree(tree, copy, symlinks=True)
    push(copy, f"{hub.host}/team/app:1")
    before = len(hub.requests("PATCH"))
    (copy / "d2/e1/new").write_bytes(noise(30_000))
    pushed = push(copy, f"{hub.host}/team/app:2")
    again = push(copy, f"{hub.host}/team/app:3")
    assert again.digest == pushed.digest
    done = {seen.path.split("?")[0] for seen in hub.requests("PATCH")[before:]}
    assert 1 <= len(done) <= 3


def test_a_registry_that_refuses_a_layer_ends_it(tree, hub):
    hub.on("PUT", "/blobs/uploads/", answer(400, '{"errors":[{"code":"UNSUPPORTED","message":"no"}]}'), skip=3)
    with pytest.raises(RegistryError):
        push(tree, f"{hub.host}/team/app:1", threads=8)
    assert "team/app" not in hub.manifests


def test_a_tree_that_changes_while_it_is_sent(tree, hub, tmp_path):
    copy = tmp_path / "tree"
    shutil.copytree(tree, copy)

    def sink(event):
        if isinstance(event, events.LayerScanned):
            with open(copy / "d4/e3/019", "ab") as file:
                file.write(b"x")

    with pytest.raises(TreeChangedError):
        push(copy, f"{hub.host}/team/app:1", sink=sink)
    assert "team/app" not in hub.manifests


# Each layer alone.


def sent(registry, first=0):
    """Return how many bytes of PATCH bodies were announced, by all requests from one on."""
    return sum(int(seen.headers["content-length"]) for seen in registry.requests("PATCH")[first:])


def standing(registry):
    """Return how many bytes the registry has, of whole blobs and of uploads under way."""
    whole = sum(map(len, registry.blobs.get("team/app", {}).values()))
    return whole + sum(len(session.data) for session in registry.sessions.values() if not session.lost)


@pytest.mark.parametrize("jobs", [1, 2, 5])
@pytest.mark.parametrize("skip", [3, 9, 20])
def test_broken_off_and_run_again_every_layer_goes_on_alone(tree, hub, jobs, skip):
    """What stands of any layer is not sent again: neither of those that are whole, nor of those that were under way."""
    hub.on("PATCH", UPLOADS, answer(503), times=999, skip=skip)
    with pytest.raises(RegistryError) as caught:
        push(tree, f"{hub.host}/team/app:1", jobs=jobs)
    assert caught.value.exit_code == 4
    assert "team/app" not in hub.manifests
    hub.rules.clear()
    stood, under_way = standing(hub), sum(bool(session.data) for session in hub.sessions.values())
    assert stood
    first, seen = len(hub.requests("PATCH")), []
    result = push(tree, f"{hub.host}/team/app:1", jobs=jobs, sink=seen.append)
    assert sum(map(len, hub.blobs["team/app"].values())) - stood == sent(hub, first)
    assert sum(isinstance(event, events.Resumed) and event.offset > 0 for event in seen) == under_way
    assert [len(layer) for layer in layers_at(hub, "team/app", result.digest)] == [
        layer.descriptor.size for layer in result.layers
    ]


def test_killed_and_run_again(tree, hub):
    with killed_from(2 * CHUNK, growing=True):
        push(tree, f"{hub.host}/team/app:1", jobs=2)
    stood = standing(hub)
    assert stood >= 2 * CHUNK
    first = len(hub.requests("PATCH"))
    result = push(tree, f"{hub.host}/team/app:1", jobs=2)
    assert sum(map(len, hub.blobs["team/app"].values())) - stood == sent(hub, first)
    assert len(layers_at(hub, "team/app", result.digest)) == len(result.layers)


def test_where_a_cut_loses_the_upload_one_layer_is_sent_again(tree, hub):
    """A registry that cannot go on in the middle of a blob costs what one layer had sent, and no more."""
    hub.style = "2.8"
    hub.on("PATCH", UPLOADS, reset_at(CHUNK // 2), skip=12)
    result = push(tree, f"{hub.host}/team/app:1", jobs=3)
    layers = layers_at(hub, "team/app", result.digest)
    again = sent(hub) - sum(map(len, hub.blobs["team/app"].values()))
    # The chunk that was cut was announced, and did not come.
    assert 0 < again <= max(map(len, layers)) + CHUNK
