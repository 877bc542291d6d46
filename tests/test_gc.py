"""Garbage: what goes, what stays, and that nobody who adds to the layout loses anything."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastoci.build import build
from fastoci.errors import ImageNotFoundError, InvalidImageError, StoreError, UsageError
from fastoci.events import LayerPacked
from fastoci.gc import collect_garbage
from fastoci.store.layout import Layout
from fastoci.validate import validate
from imagekit import MANIFEST, LayoutKit, make_tar, noise, sha256


def blobs(kit):
    return {f"sha256:{path.name}" for path in (kit.path / "blobs/sha256").iterdir()}


def gone(collected):
    return {str(digest) for digest, _ in collected.blobs}


def test_an_image_that_lost_its_name(kit):
    kept = kit.add(kit.multi("amd64", "arm64"), "1")
    before = blobs(kit)
    lost = kit.image(make_tar({"lost": noise(3000)}))
    rubbish = blobs(kit) - before
    assert lost["digest"] in rubbish
    looked = collect_garbage(f"oci:{kit}", dry_run=True)
    assert gone(looked) == rubbish
    assert blobs(kit) == before | rubbish
    size = sum(kit.file(digest).stat().st_size for digest in rubbish)
    collected = collect_garbage(str(kit))
    assert (gone(collected), collected.size) == (rubbish, size)
    assert blobs(kit) == before
    assert validate(f"oci:{kit}").is_valid
    assert kept["digest"] in blobs(kit)
    assert collect_garbage(f"oci:{kit}").blobs == ()


def test_what_two_images_share_stays_while_one_needs_it(kit):
    shared, own = make_tar({"shared": noise(3000)}), make_tar({"own": noise(100)})
    kit.add(kit.image(shared), "1")
    before = blobs(kit)
    kit.add(kit.image(shared, own), "2")
    del kit.entries[1]
    kit.write_index()
    collect_garbage(f"oci:{kit}")
    assert blobs(kit) == before


def test_artifacts_and_kinds_that_are_not_known_keep_what_they_name(kit):
    """A program that knows better than this one what a document needs must not find it gone."""
    needed = [kit.blob(noise(50, number), "text/x-needed") for number in range(4)]
    inner = kit.blob(json.dumps({"deep": [{"er": needed[0]}]}).encode(), "application/vnd.example.thing+json")
    kit.add(kit.blob(json.dumps({"blobs": [needed[1]], "subject": inner}).encode(), "application/vnd.example.v9"))
    config = kit.blob(b"{}", "application/vnd.oci.empty.v1+json")
    artifact = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [needed[2]]}
    kit.add(kit.document({**artifact, "subject": kit.image()}))
    before = blobs(kit) - {needed[3]["digest"]}
    assert gone(collect_garbage(f"oci:{kit}")) == {needed[3]["digest"]}
    assert blobs(kit) == before


def test_an_index_whose_members_are_elsewhere(kit):
    kit.add(kit.index(kit.image(), {"mediaType": MANIFEST, "digest": sha256(b"elsewhere"), "size": 9}), "1")
    before = blobs(kit)
    assert collect_garbage(f"oci:{kit}").blobs == ()
    assert blobs(kit) == before


@pytest.mark.parametrize("data", [b"no JSON", b"[]", b'{"digest": "x", "layers": 5}' * 2])
def test_nothing_goes_where_a_document_cannot_be_read(kit, data):
    image = kit.add(kit.image(), "1")
    kit.blob(b"rubbish", "x")
    kit.file(image["digest"]).write_bytes(data)
    before = blobs(kit)
    with pytest.raises(InvalidImageError) as caught:
        collect_garbage(f"oci:{kit}")
    assert "nothing was taken away" in caught.value.hint
    assert blobs(kit) == before


def test_what_killed_processes_left(kit):
    kit.add(kit.image(), "1")
    left = [".fastoci-1-00", "blobs/sha256/.fastoci-2-00"]
    part = f".fastoci-partial/{sha256(b'x').replace(':', '-')}"
    (kit.path / ".fastoci-partial").mkdir()
    for name in (*left, part):
        (kit.path / name).write_bytes(b"12345")
    (kit.path / "blobs/sha256/.other").touch()
    collected = collect_garbage(f"oci:{kit}")
    assert collected.files == tuple((name, 5) for name in left)
    assert not any((kit.path / name).exists() for name in left)
    assert (kit.path / part).exists()
    assert collect_garbage(f"oci:{kit}", partial=True).files == ((part, 5),)
    assert not (kit.path / part).exists()
    assert (kit.path / "blobs/sha256/.other").exists()


def test_who_adds_keeps_it_out_and_loses_nothing(kit, tmp_path):
    """A build that has packed its layers and has not named them yet."""
    kit.add(kit.image(), "1")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(noise(5000))
    refused = []

    def sink(event):
        if isinstance(event, LayerPacked):
            with pytest.raises(StoreError, match="another process adds to it") as caught:
                collect_garbage(f"oci:{kit}")
            refused.append(caught.value)
            assert gone(collect_garbage(f"oci:{kit}", dry_run=True)) == {event.digest}

    build([str(tree)], outputs=[f"oci:{kit}:2"], sink=sink)
    assert [error.hint for error in refused] == ["run it again when that has ended"]
    assert validate(f"oci:{kit}").is_valid
    assert collect_garbage(f"oci:{kit}").blobs == ()


def test_beside_builds_without_end(kit, tmp_path):
    """Builds and collections by turns that nobody plans: what a build has named is always whole."""
    kit.add(kit.image(), "1")
    trees = []
    for number in range(4):
        trees.append(tmp_path / f"tree{number}")
        trees[-1].mkdir()
        (trees[-1] / "file").write_bytes(noise(2000, number))
    ended = threading.Event()
    wrong = []

    def build_all():
        try:
            for _ in range(4):
                for tree in trees:
                    build([str(tree)], outputs=[f"oci:{kit}:{tree.name}"])
        except Exception as error:
            wrong.append(error)
        ended.set()

    thread = threading.Thread(target=build_all)
    thread.start()
    while not ended.is_set():
        # Refused while a build is at work.
        with contextlib.suppress(StoreError):
            collect_garbage(f"oci:{kit}")
    thread.join()
    assert not wrong
    assert validate(f"oci:{kit}").is_valid


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_images_any_names(tmp_path, data):
    """Against the plainest way to say it: what is reached from the index by Python's own json."""
    shutil.rmtree(tmp_path / "layout", ignore_errors=True)
    kit = LayoutKit(tmp_path / "layout")
    tars = [make_tar({f"f{number}": noise(40, number)}) for number in range(4)]
    made = []
    for _ in range(data.draw(st.integers(1, 4))):
        made.append(kit.image(*data.draw(st.lists(st.sampled_from(tars), min_size=1, max_size=3))))
        if data.draw(st.booleans()):
            made.append(kit.index(*data.draw(st.lists(st.sampled_from(made), min_size=1, max_size=3))))
    for image in data.draw(st.lists(st.sampled_from(made), max_size=2)):
        kit.add(image)
    needed, todo = set(), [entry["digest"] for entry in kit.entries]
    while todo:
        digest = todo.pop()
        needed.add(digest)
        document = json.loads(kit.file(digest).read_bytes())
        todo += [member["digest"] for member in document.get("manifests", [])]
        needed |= {blob["digest"] for blob in [document.get("config"), *document.get("layers", [])] if blob}
    every = blobs(kit)
    assert gone(collect_garbage(f"oci:{kit}")) == every - needed
    assert blobs(kit) == every & needed


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("oci:{kit}:1", UsageError),
        ("oci-archive:{tmp}/x.tar", UsageError),
        ("docker://localhost:1/a", UsageError),
        ("oci:{tmp}/nowhere", ImageNotFoundError),
    ],
)
def test_what_has_no_garbage(kit, tmp_path, name, error):
    kit.add(kit.image(), "1")
    kit.archive(tmp_path / "x.tar")
    with pytest.raises(error):
        collect_garbage(name.format(kit=kit, tmp=tmp_path))


def test_the_command_line(kit, fastoci):
    kit.add(kit.image(), "1")
    digest = kit.blob(b"x" * 2048, "x")["digest"]
    assert fastoci("gc", "-n", kit) == (0, f"{digest}\noci:{kit}: would remove 1 file, 2 KiB\n", "")
    code, out, _ = fastoci("gc", kit, "--json")
    assert (code, json.loads(out)["blobs"]) == (0, [{"digest": digest, "size": 2048}])
    assert fastoci("gc", f"oci:{kit}") == (0, f"oci:{kit}: removed nothing\n", "")
    holder = Layout.create(str(kit))
    code, out, err = fastoci("gc", kit)
    assert (code, out, err.splitlines()[-1]) == (1, "", "hint:  run it again when that has ended")
    holder.discard()
    assert fastoci("gc", kit)[0] == 0


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not on PATH: apt-get install umoci")
def test_umoci_finds_nothing_more(kit):
    kit.add(kit.image(), "1")
    kit.image(make_tar({"lost": noise(3000)}))
    collect_garbage(f"oci:{kit}")
    before = blobs(kit)
    subprocess.run(["umoci", "gc", "--layout", str(kit)], check=True, capture_output=True, env=os.environ)
    assert blobs(kit) == before
