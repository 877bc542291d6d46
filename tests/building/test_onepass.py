"""build --push in one pass: the same image as in two, whatever breaks, and nothing read or sent that need not be."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import random
import tarfile
import tempfile
import threading
from pathlib import Path

import pytest
from fake_registry import PASSWORD, PROFILES, USER, FakeRegistry, answer, error, reset_at

from fastoci import events
from fastoci.build import build
from fastoci.building.onepass import LayerUploads
from fastoci.building.packedbefore import PackedBefore
from fastoci.errors import FastociError, RegistryError, TreeChangedError, TreeError
from fastoci.layer import fingerprint as fingerprint_module
from fastoci.layer.blocks import SourceFacts
from fastoci.layer.options import LayerOptions
from fastoci.registry import patience
from fastoci.registry.options import RegistryOptions
from fastoci.spec.reference import Reference
from fastoci.threads import Crew
from imagekit import make_tar, noise
from oracles.kills import killed_from
from oracles.streams import MemoryBlocks, planned_layer

CHUNK = 64 << 10
UPLOADS = "/blobs/uploads/"


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")] == []


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch):
    """Waits for a registry that failed take no time here."""
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.0)
    monkeypatch.setattr("fastoci.registry.upload_send.SYNC_WAIT", 0.0)


@pytest.fixture
def state(tmp_path, monkeypatch):
    path = tmp_path / "state"
    monkeypatch.setenv("FASTOCI_STATE_DIR", str(path))
    return path


@pytest.fixture
def settled(monkeypatch):
    """Trees of this moment count as old."""
    monkeypatch.setattr(fingerprint_module, "_SETTLED", -(10**15))


def make_tree(path, seed=1, size=700_000):
    """Make a tree of some noise, which compresses to itself, and some text."""
    noise = random.Random(seed)
    (path / "bin").mkdir(parents=True)
    (path / "bin/noise").write_bytes(noise.randbytes(size))
    (path / "etc").mkdir()
    for number in range(20):
        (path / f"etc/{number:02}").write_bytes(noise.randbytes(900) + b"text\n" * 900)
    for directory, names, files in os.walk(path):
        for name in (*names, *files, "."):
            os.utime(os.path.join(directory, name), (1600000000, 1600000000))
    return path


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "rootfs")


@pytest.fixture
def other():
    registry = FakeRegistry()
    yield registry
    registry.close()


def push(trees, *names, sink=events.discard, **values):
    """Build and push, in chunks so small that a layer has several."""
    fields = {"retry": 8, "chunk_size": CHUNK}
    registry = RegistryOptions(**fields | {k: values.pop(k) for k in list(values) if k in RegistryOptions.__slots__})
    trees = trees if isinstance(trees, list) else [trees]
    return build([str(one) for one in trees], tags=names, push=True, registry=registry, sink=sink, **values)


def two_passes(trees, layout, **values):
    """Return the blobs, by digest, and the manifest that the same trees give on disk."""
    trees = trees if isinstance(trees, list) else [trees]
    result = build([str(one) for one in trees], tags=["x:1"], outputs=[f"oci:{layout}:1"], **values)
    blobs = {f"sha256:{file.name}": file.read_bytes() for file in (Path(layout) / "blobs/sha256").iterdir()}
    return blobs, str(result.digest)


def assert_stands(registry, repository, digest, blobs=None):
    """Hold what a registry has against hashlib, gzip and tarfile, and against another build's blobs."""
    _, data = registry.manifests[repository][digest]
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
    manifest = json.loads(data)
    have = registry.blobs[repository]
    config = json.loads(have[manifest["config"]["digest"]])
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        blob = have[layer["digest"]]
        assert f"sha256:{hashlib.sha256(blob).hexdigest()}" == layer["digest"]
        assert len(blob) == layer["size"]
        tar = gzip.decompress(blob) if layer["mediaType"].endswith("gzip") else blob
        assert f"sha256:{hashlib.sha256(tar).hexdigest()}" == diff_id
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            assert archive.getnames()
    if blobs is not None:
        assert {key: have[key] for key in have if key in blobs} == {key: blobs[key] for key in blobs if key != digest}
    return manifest


def patched(registry):
    """Return how many bytes of PATCH bodies were announced."""
    return sum(int(seen.headers["content-length"]) for seen in registry.requests("PATCH"))


# The same image as in two passes.


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("style", ["3.1", "2.8", "zot"])
def test_the_image_is_that_of_two_passes(tree, hub, tmp_path, style, compression):
    hub.style = style
    layer = LayerOptions(threads=2, compression=compression)
    blobs, digest = two_passes(tree, tmp_path / "two", layer=layer)
    seen = []
    result = push(tree, f"{hub.host}/me/app:1", layer=layer, sink=seen.append)
    assert str(result.digest) == digest
    assert result.names == (f"{hub.host}/me/app@{digest}",)
    assert_stands(hub, "me/app", digest, blobs)
    assert hub.manifests["me/app"]["1"] == hub.manifests["me/app"][digest]
    assert hub.sessions == {}
    total = sum(len(blob) for key, blob in blobs.items() if key != digest)
    assert seen[-1] == events.PushSummary(sent=total, skipped=0, mounted=0, resumed=0, repeated=0)


def test_nothing_is_stored(tree, hub, tmp_path, monkeypatch):
    """Neither a layout nor a temporary file ever holds a layer."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    sizes = []

    def look(event):
        if isinstance(event, events.LayerPacked | events.BlobDone):
            sizes.extend(file.stat().st_size for file in (tmp_path / "tmp").rglob("*") if file.is_file())

    push(tree, f"{hub.host}/me/app:1", sink=look)
    assert max(sizes, default=0) < 10_000
    assert list((tmp_path / "tmp").iterdir()) == []


def test_with_an_output_as_well(tree, hub, tmp_path):
    blobs, digest = two_passes(tree, tmp_path / "two")
    result = push(tree, f"{hub.host}/me/app:1", outputs=[f"oci:{tmp_path}/one:1", "type=registry"])
    assert str(result.digest) == digest
    assert_stands(hub, "me/app", digest, blobs)
    found = {f"sha256:{file.name}": file.read_bytes() for file in (tmp_path / "one/blobs/sha256").iterdir()}
    assert found == blobs


@pytest.mark.parametrize("upload", ["chunked", "monolithic"])
def test_with_an_output_as_well_it_is_read_from_there(tree, hub, other, tmp_path, monkeypatch, upload):
    """What a fault needs again is neither packed again nor stored a second time."""

    def never(*_, **__):
        raise AssertionError

    blobs, digest = two_passes(tree, tmp_path / "two")
    monkeypatch.setattr("fastoci.layer.stream.BlocksAhead", never)
    monkeypatch.setattr("fastoci.building.onepass.tempfile.TemporaryFile", never)
    for registry, style in ((hub, "2.8"), (other, "3.1")):
        registry.style = style
        registry.on("PATCH" if upload == "chunked" else "PUT", UPLOADS, reset_at(1000), skip=3, times=2)
        registry.on("PATCH" if upload == "chunked" else "PUT", UPLOADS, reset_at(1000))
    names = [f"{hub.host}/me/app:1", f"{other.host}/me/app:1"]
    push(tree, *names, outputs=[f"oci:{tmp_path}/one:1", "type=registry"], upload=upload)
    for registry in (hub, other):
        assert_stands(registry, "me/app", digest, blobs)
    found = {f"sha256:{file.name}": file.read_bytes() for file in (tmp_path / "one/blobs/sha256").iterdir()}
    assert found == blobs


def test_on_a_base_at_the_same_registry(tree, hub, tmp_path):
    """Its layers are mounted, and the new one is sent while it is packed."""
    below = make_tree(tmp_path / "below", seed=2)
    push(below, f"{hub.host}/me/base:1")
    sent, seen = patched(hub), []
    result = push(tree, f"{hub.host}/me/app:1", base=f"{hub.host}/me/base:1", sink=seen.append)
    manifest = assert_stands(hub, "me/app", str(result.digest))
    assert len(manifest["layers"]) == 2
    [summary] = [event for event in seen if isinstance(event, events.PushSummary)]
    assert summary.mounted == manifest["layers"][0]["size"]
    assert patched(hub) - sent == manifest["layers"][1]["size"] + manifest["config"]["size"] == summary.sent


def test_several_layers_names_repositories_and_registries(tree, hub, other, tmp_path):
    trees = [tree, make_tree(tmp_path / "second", seed=3), make_tree(tmp_path / "third", seed=4)]
    blobs, digest = two_passes(trees, tmp_path / "two")
    names = [f"{hub.host}/me/app:1", f"{hub.host}/me/app:2", f"{hub.host}/you/app:1", f"{other.host}/me/app:3"]
    seen = []
    result = push(trees, *names, jobs=2, sink=seen.append)
    assert str(result.digest) == digest
    for registry, repository in ((hub, "me/app"), (hub, "you/app"), (other, "me/app")):
        assert_stands(registry, repository, digest, blobs)
    total = sum(len(blob) for key, blob in blobs.items() if key != digest)
    [summary] = [event for event in seen if isinstance(event, events.PushSummary)]
    assert (summary.sent, summary.mounted) == (2 * total, total), "each registry is sent each blob once"
    assert patched(hub) == patched(other) == total


@pytest.mark.parametrize("jobs", [1, 4])
def test_more_layers_than_jobs(hub, tmp_path, jobs):
    trees = [make_tree(tmp_path / str(number), seed=number, size=150_000) for number in range(5)]
    blobs, digest = two_passes(trees, tmp_path / "two")
    assert str(push(trees, f"{hub.host}/me/app:1", jobs=jobs).digest) == digest
    assert_stands(hub, "me/app", digest, blobs)


def test_a_tree_named_twice(tree, hub, tmp_path):
    _, digest = two_passes([tree, tree], tmp_path / "two")
    assert str(push([tree, tree], f"{hub.host}/me/app:1").digest) == digest
    assert_stands(hub, "me/app", digest)


def test_an_archive_through_a_pipe(hub, tmp_path):
    data = make_tar({"a": noise(400_000)})
    result = build(
        ["-"], tags=[f"{hub.host}/me/app:1"], push=True, stdin=io.BytesIO(data), registry=RegistryOptions(retry=1)
    )
    manifest = assert_stands(hub, "me/app", str(result.digest))
    assert gzip.decompress(hub.blobs["me/app"][manifest["layers"][0]["digest"]]) == data


def spooled(monkeypatch, directory):
    """Have temporary files made in a directory of their own; return what was stored in each, when it is closed."""
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    sizes, real = [], tempfile.TemporaryFile

    @contextlib.contextmanager
    def make(**options):
        with real(**options) as file:
            yield file
            sizes.append(os.fstat(file.fileno()).st_size)

    monkeypatch.setattr("fastoci.building.onepass.tempfile.TemporaryFile", make)
    return sizes


@pytest.mark.parametrize("learnt", [False, True])
def test_a_registry_that_takes_blobs_as_a_whole(tree, hub, tmp_path, monkeypatch, learnt):
    """They are stored on their way, once it is known, and are the same."""
    blobs, digest = two_passes(tree, tmp_path / "two")
    sizes = spooled(monkeypatch, tmp_path / "tmp")
    if learnt:  # Google: one PATCH for each session, which the first upload finds out
        hub.on("PATCH", UPLOADS, answer(405), skip=1)
        push(make_tree(tmp_path / "first", seed=9), f"{hub.host}/me/first:1")
        assert sizes == []
    result = push(tree, f"{hub.host}/me/app:1", upload="auto" if learnt else "monolithic")
    assert str(result.digest) == digest
    manifest = assert_stands(hub, "me/app", digest, blobs)
    assert sizes == [manifest["layers"][0]["size"]]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_no_room_for_a_blob_as_a_whole(tree, hub, tmp_path, monkeypatch):
    _, digest = two_passes(tree, tmp_path / "two")

    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fastoci.building.onepass.tempfile.TemporaryFile", full)
    seen = []
    assert str(push(tree, f"{hub.host}/me/app:1", upload="monolithic", sink=seen.append).digest) == digest
    assert [event for event in seen if isinstance(event, events.Notice) and "packed twice" in event.message]


def test_permission_is_proven_before_anything_is_read(hub, tmp_path):
    hub.auth = "token"
    seen = []
    with pytest.raises(FastociError, match="not allowed to push"):
        push(make_tree(tmp_path / "rootfs"), f"{hub.host}/me/app:1", sink=seen.append, retry=1)
    assert not [event for event in seen if isinstance(event, events.LayerScanned | events.LayerProgress)]


# Lines that break.


@pytest.mark.parametrize("style", ["3.1", "2.8", "zot"])
@pytest.mark.parametrize("at", [0, 1, 65_535, 65_536, 300_001, 655_360])
def test_broken_at_any_byte_and_packed_again(tree, hub, tmp_path, style, at):
    """What is sent a second time is made a second time, and the image is the same."""
    hub.style = style
    blobs, digest = two_passes(tree, tmp_path / "two")
    for skip in (at // CHUNK, at // CHUNK + 3):
        hub.on("PATCH", UPLOADS, reset_at(at % CHUNK), skip=skip)
    seen = []
    assert str(push(tree, f"{hub.host}/me/app:1", sink=seen.append).digest) == digest
    assert_stands(hub, "me/app", digest, blobs)
    assert [event for event in seen if isinstance(event, events.Retry)]
    if style == "3.1":
        # `0-0` may mean none or one byte: a registry that says it may have to be asked, by a chunk, which it means.
        [summary] = [event for event in seen if isinstance(event, events.PushSummary)]
        assert summary.repeated <= (2 if at % CHUNK > 1 else 4) * CHUNK


@pytest.fixture(params=PROFILES)
def played(request, hub):
    """A registry of each kind, which wants tokens and takes no manifest whose blobs are missing."""
    hub.style = request.param
    hub.auth = "token"
    hub.checks_manifests = True
    hub.repositories = {"me/app"}
    return hub


@pytest.mark.parametrize("at", [(0, 0), (1, 50_000)])
def test_every_registry_over_a_line_that_breaks(tree, played, tmp_path, at):
    number, cut = at
    blobs, digest = two_passes(tree, tmp_path / "two")
    played.on("PATCH", UPLOADS.rstrip("s/"), reset_at(cut), skip=number)
    result = push(tree, f"{played.host}/me/app:1", credentials=(USER, PASSWORD))
    assert str(result.digest) == digest
    assert_stands(played, "me/app", digest, blobs)


def test_every_registry_after_a_kill(tree, played, tmp_path):
    blobs, digest = two_passes(tree, tmp_path / "two")
    with killed_from(5 * CHUNK if played.style != "google" else 0, growing=True):
        push(tree, f"{played.host}/me/app:1", credentials=(USER, PASSWORD))
    result = push(tree, f"{played.host}/me/app:1", credentials=(USER, PASSWORD))
    assert str(result.digest) == digest
    assert_stands(played, "me/app", digest, blobs)


def test_a_registry_that_is_gone_for_good(tree, hub, state):
    """Exit 4, nothing is tagged, and the next run goes on where this one stopped."""
    hub.on("PATCH", UPLOADS, answer(503), times=999, skip=4)
    with pytest.raises(RegistryError) as caught:
        push(tree, f"{hub.host}/me/app:1", retry=2)
    assert caught.value.exit_code == 4
    assert caught.value.what.startswith("upload of rootfs stopped at 256")
    assert caught.value.hint.startswith("run the same command again: 256")
    assert caught.value.hint.endswith("KiB stand already")
    assert hub.manifests.get("me/app", {}) == {}

    hub.rules.clear()
    before, seen = patched(hub), []
    result = push(tree, f"{hub.host}/me/app:1", sink=seen.append)
    manifest = assert_stands(hub, "me/app", str(result.digest))
    assert [event for event in seen if isinstance(event, events.Resumed)] == [events.Resumed("rootfs", 4 * CHUNK, None)]
    assert patched(hub) - before == manifest["layers"][0]["size"] - 4 * CHUNK + manifest["config"]["size"]
    assert list((state / "uploads").iterdir()) == []


# Killed, and run again.


@pytest.mark.parametrize("style", ["3.1", "2.8"])
def test_killed_and_run_again(tree, hub, style, tmp_path, state):
    hub.style = style
    blobs, digest = two_passes(tree, tmp_path / "two")
    with killed_from(5 * CHUNK, growing=True):
        push(tree, f"{hub.host}/me/app:1")
    before, seen = patched(hub), []
    assert str(push(tree, f"{hub.host}/me/app:1", sink=seen.append).digest) == digest
    manifest = assert_stands(hub, "me/app", digest, blobs)
    assert events.Resumed("rootfs", 5 * CHUNK, None) in seen
    assert patched(hub) - before == manifest["layers"][0]["size"] - 5 * CHUNK + manifest["config"]["size"]


@pytest.mark.parametrize(("changed", "goes_on"), [("bin/noise", False), ("zzz", True)])
def test_a_tree_that_changed_between_two_runs(tree, hub, tmp_path, changed, goes_on):
    """Only what changed in what was sent costs anything: the journal is compared with bytes, not with times."""
    with killed_from(5 * CHUNK, growing=True):
        push(tree, f"{hub.host}/me/app:1")
    with (tree / changed).open("ab") as file:
        file.write(b"more")
    blobs, digest = two_passes(tree, tmp_path / "two")
    seen = []
    assert str(push(tree, f"{hub.host}/me/app:1", sink=seen.append).digest) == digest
    assert_stands(hub, "me/app", digest, blobs)
    assert bool([event for event in seen if isinstance(event, events.Resumed)]) == goes_on
    assert hub.sessions == {}


def test_ctrl_c_while_packing_leaves_the_session_for_the_next_run(tree, hub, state):
    arrived = threading.Event()
    hub.on("PATCH", UPLOADS, lambda handler: (handler.dispatch(), arrived.set())[0])

    def interrupt(event):
        if isinstance(event, events.LayerPacked):
            assert arrived.wait(30)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push(tree, f"{hub.host}/me/app:1", sink=interrupt)
    assert hub.manifests.get("me/app", {}) == {}
    assert len(list((state / "uploads").glob("*.json"))) == 1
    seen = []
    result = push(tree, f"{hub.host}/me/app:1", sink=seen.append)
    assert_stands(hub, "me/app", str(result.digest))
    assert [event for event in seen if isinstance(event, events.Resumed)]


# Trees that change meanwhile.


def break_after_packing(hub, seen, change):
    """Hold the first chunk until all is packed, change the tree, and then break the line."""
    packed = threading.Event()

    def sink(event):
        seen.append(event)
        if isinstance(event, events.LayerPacked):
            packed.set()

    def act(handler):
        assert packed.wait(30)
        change()
        return reset_at(1)(handler)

    hub.on("PATCH", UPLOADS, act)
    return sink


@pytest.fixture
def larger(tmp_path):
    """A tree of more blocks than are made ahead."""
    return make_tree(tmp_path / "larger", size=6_000_000)


def test_a_tree_that_changes_before_it_is_packed_again(larger, hub, state):
    """The digest has been known for long when a part that has to be sent is no longer to be had."""
    tree = larger

    def change():
        with (tree / "bin/noise").open("r+b") as file:
            file.write(b"changed")

    seen = []
    sink = break_after_packing(hub, seen, change)
    with pytest.raises(TreeChangedError) as caught:
        push(tree, f"{hub.host}/me/app:1", sink=sink)
    assert caught.value.exit_code == 1
    assert "bin/noise changed" in caught.value.what
    assert caught.value.hint
    assert hub.manifests.get("me/app", {}) == {}
    assert hub.sessions == {}, "nobody will go on with this one"
    assert [path for path in (state / "uploads").iterdir() if path.suffix == ".json"] == []


def test_a_file_that_is_gone_before_it_is_packed_again(larger, hub):
    sink = break_after_packing(hub, [], (larger / "bin/noise").unlink)
    with pytest.raises(TreeError, match="bin/noise"):
        push(larger, f"{hub.host}/me/app:1", sink=sink)
    assert hub.manifests.get("me/app", {}) == {}


def test_a_tree_that_cannot_be_packed_closes_its_session(tree, hub, state):
    (tree / "etc/.wh.x").write_bytes(b"")
    with pytest.raises(TreeError, match="whiteout"):
        push(tree, f"{hub.host}/me/app:1")
    assert hub.sessions == {}
    assert hub.manifests.get("me/app", {}) == {}


# What stands already.


def test_an_unchanged_tree_is_not_read_again(tree, hub, settled):
    first = push(tree, f"{hub.host}/me/app:1")
    requests, seen = len(hub.seen), []
    assert push(tree, f"{hub.host}/me/app:2", sink=seen.append).digest == first.digest
    methods = [one.method for one in hub.seen[requests:] if "/blobs/" in one.target]
    assert "PATCH" not in methods
    assert not [event for event in seen if isinstance(event, events.LayerProgress | events.LayerPacked)]
    [layer] = [event for event in seen if isinstance(event, events.BlobDone) and event.title == "rootfs"]
    assert layer.how == "skipped"
    assert [event.sent for event in seen if isinstance(event, events.PushSummary)] == [0]
    assert_stands(hub, "me/app", str(first.digest))


def test_a_tree_that_was_written_just_now_is_read_again(tree, hub):
    """Its times may not tell of the next change; still it is not sent again."""
    first = push(tree, f"{hub.host}/me/app:1")
    seen = []
    assert push(tree, f"{hub.host}/me/app:2", sink=seen.append).digest == first.digest
    assert [event for event in seen if isinstance(event, events.LayerPacked)]
    [layer] = [event for event in seen if isinstance(event, events.BlobDone) and event.title == "rootfs"]
    assert layer.how == "skipped"


def test_what_is_known_is_used_only_where_the_registry_has_it(tree, hub, other, settled):
    first = push(tree, f"{hub.host}/me/app:1")
    seen = []
    push(tree, f"{other.host}/me/app:1", f"{hub.host}/me/app:2", sink=seen.append)
    assert_stands(other, "me/app", str(first.digest))
    assert [event for event in seen if isinstance(event, events.LayerPacked)]
    hub.blobs["me/app"].clear()
    push(tree, f"{hub.host}/me/app:3")
    assert_stands(hub, "me/app", str(first.digest))


def test_an_unchanged_tree_with_an_output_is_packed(tree, hub, settled, tmp_path):
    first = push(tree, f"{hub.host}/me/app:1")
    push(tree, f"{hub.host}/me/app:2", outputs=[f"oci:{tmp_path}/out:2", "type=registry"])
    manifest = assert_stands(hub, "me/app", str(first.digest))
    name = manifest["layers"][0]["digest"].replace(":", "/")
    assert (tmp_path / "out/blobs" / name).stat().st_size == manifest["layers"][0]["size"]


@pytest.mark.parametrize(
    "damage",
    [
        {"fingerprint": "other"},
        {"size": -1},
        {"size": True},
        {"digest": "sha256:no"},
        {"digest": None},
        {"diff_id": "x"},
        {"tar_size": 5},
        {"format": 9},
    ],
)
def test_what_is_remembered_wrongly_is_not_known(tree, hub, settled, state, damage):
    first = push(tree, f"{hub.host}/me/app:1")
    [path] = (state / "layers").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    seen = []
    assert push(tree, f"{hub.host}/me/app:2", sink=seen.append).digest == first.digest
    assert [event for event in seen if isinstance(event, events.LayerPacked)]
    assert_stands(hub, "me/app", str(first.digest))


def test_a_tree_that_is_packed_for_the_first_time_is_not_waited_for(monkeypatch):
    """Its fingerprint, which is known when the scan has ended, is not asked for."""
    planned = planned_layer(MemoryBlocks([b"x" * 512]))
    monkeypatch.setattr(planned, "fingerprint", lambda: pytest.fail("the scan was waited for"))
    assert PackedBefore(events.discard).find(planned) is None


class NoDirectories:
    def find(self, path):
        return None


def test_sending_begins_before_the_scan_has_ended(hub, monkeypatch):
    """The first chunk stands at the registry, and the plan has not come to its end."""
    blocks = MemoryBlocks([random.Random(n).randbytes(CHUNK) for n in range(6)], planned=3)
    planned = planned_layer(blocks)
    arrived = threading.Event()
    hub.on("PATCH", UPLOADS, lambda handler: (handler.dispatch(), arrived.set())[0])
    facts = []

    def complete():
        assert arrived.wait(30), "the first chunk waits for the end of the scan"
        facts.append(True)
        blocks.grow(6)

    monkeypatch.setattr(blocks, "facts", lambda: SourceFacts(1, 0, None, NoDirectories(), 0.0) if facts else None)
    thread = threading.Thread(target=complete)
    thread.start()
    options = RegistryOptions(retry=1, chunk_size=CHUNK)
    with LayerUploads([Reference.parse(f"{hub.host}/me/app:1")], options, lambda _: None, events.discard) as uploads:
        packed = uploads.pack(planned, None)
        uploads.finish()
    thread.join(30)
    assert facts == [True]
    assert hub.blobs["me/app"][str(packed.descriptor.digest)][:10] == b"\x1f\x8b\x08" + bytes(5) + b"\0\xff"


def test_a_blob_that_is_found_in_the_middle_is_not_sent_on(tree, hub, other):
    """Another registry's journal, another place: the digest is known when all is packed, and then HEAD says it."""
    first = push(tree, f"{other.host}/me/app:1")
    manifest = assert_stands(other, "me/app", str(first.digest))
    hub.put_blob("me/app", other.blobs["me/app"][manifest["layers"][0]["digest"]])
    seen = []
    sink = break_after_packing(hub, seen, lambda: None)
    push(tree, f"{hub.host}/me/app:1", sink=sink)
    [layer] = [event for event in seen if isinstance(event, events.BlobDone) and event.title == "rootfs"]
    assert layer.how == "skipped"
    [summary] = [event for event in seen if isinstance(event, events.PushSummary)]
    assert summary.skipped == layer.size
    assert summary.sent < layer.size // 2
    assert hub.sessions == {}


# What the machine refuses.


def test_a_state_directory_that_cannot_be_written(tree, hub, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FASTOCI_STATE_DIR", str(tmp_path / "file/state"))
    seen = []
    result = push(tree, f"{hub.host}/me/app:1", sink=seen.append)
    assert_stands(hub, "me/app", str(result.digest))
    [warning] = [event for event in seen if isinstance(event, events.Warned)]
    assert "if it is killed it starts over" in warning.message


def test_a_full_disk_under_the_state_directory(tree, hub, state, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastoci.registry.statedir.tempfile.mkstemp", full)
    seen = []
    result = push(tree, f"{hub.host}/me/app:1", sink=seen.append)
    assert_stands(hub, "me/app", str(result.digest))
    assert len([event for event in seen if isinstance(event, events.Warned)]) == 1
    assert [path for path in state.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("where", ["fastoci.layer.stream.BlobStream._keep", "fastoci.registry.chunks.Chunk.open"])
def test_memory_that_is_refused(tree, hub, where, monkeypatch):
    """On the packer's side and on the sender's: it is over at once, with what was wrong."""

    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(where, refuse)
    with pytest.raises(MemoryError):
        push(tree, f"{hub.host}/me/app:1")
    assert hub.manifests.get("me/app", {}) == {}


@pytest.mark.parametrize("refused", [0, 1])
def test_threads_that_are_refused(tree, hub, other, monkeypatch, refused):
    real, calls = Crew.start, []

    def start(crew, name, work):
        if name.startswith("fastoci-upload"):
            calls.append(name)
            if len(calls) > refused:
                raise FastociError("cannot start a thread")
        return real(crew, name, work)

    monkeypatch.setattr(Crew, "start", start)
    with pytest.raises(FastociError, match="cannot start a thread"):
        push(tree, f"{hub.host}/me/app:1", f"{other.host}/me/app:1")
    assert hub.manifests.get("me/app", {}) == other.manifests.get("me/app", {}) == {}


def test_one_of_two_registries_that_refuses(tree, hub, other):
    """What is wrong at one ends it all, and is said; the other's session stays for the next run."""
    other.on("PATCH", UPLOADS, error(403, "DENIED"), times=99, skip=2)
    with pytest.raises(RegistryError, match="not allowed to push"):
        push(tree, f"{hub.host}/me/app:1", f"{other.host}/me/app:1")
    assert hub.manifests.get("me/app", {}) == other.manifests.get("me/app", {}) == {}
    assert other.sessions == {}
    other.rules.clear()
    result = push(tree, f"{hub.host}/me/app:1", f"{other.host}/me/app:1")
    assert_stands(hub, "me/app", str(result.digest))
    assert_stands(other, "me/app", str(result.digest))
