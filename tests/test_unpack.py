"""`unpack` from every kind of place, whole or not at all; and its command."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from fastoci import unpack as module
from fastoci.errors import ImageNotFoundError, InvalidImageError, StoreError, UsageError
from fastoci.events import LayerUnpacked, LayerUnpacking, Warned
from fastoci.rootfs.owners import parse_mapping
from fastoci.spec.platform import Platform
from fastoci.unpack import Limits, Owners, unpack
from imagekit import GZIP, MANIFEST, TAR, ZSTD, LayoutKit, compress_zstd, make_tar, noise, push_by_hand, sha256
from oracles.nasty import is_root
from oracles.privileges import NOBODY, unprivileged

sys.path.append(str(Path(__file__).parent / "rootfs"))

from tarkit import END, entry, folder, symlink, whiteout

FILES = {"bin/hello": noise(3000), "etc/motd": b"welcome"}


@pytest.fixture
def public():
    """A directory that everybody is let into, which pytest's own are not."""
    # Not below TMPDIR, which may be somebody's own.
    path = tempfile.mkdtemp(dir="/var/tmp")
    os.chmod(path, 0o755)
    yield Path(path)
    shutil.rmtree(path)


def files(root):
    root = Path(root)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def beside(path):
    return sorted(os.listdir(path))


def test_from_a_layout_an_archive_and_a_registry(kit, hub, tmp_path):
    descriptor = kit.add(kit.image(), "v1")
    push_by_hand(kit, hub, "me/app", descriptor, "v1")
    kit.archive(tmp_path / "image.tar")
    for number, image in enumerate(
        [f"oci:{kit}:v1", str(kit), f"oci-archive:{tmp_path}/image.tar:v1", f"docker://{hub.host}/me/app:v1"]
    ):
        done = unpack(image, str(tmp_path / f"out{number}"))
        assert files(tmp_path / f"out{number}") == FILES
        assert (str(done.digest), done.layers, done.entries, done.left_out) == (descriptor["digest"], 2, 2, {})


def test_every_compression(kit, tmp_path):
    tar = make_tar(FILES)
    layers = [
        kit.blob(tar, TAR),
        kit.blob(b"".join(gzip.compress(tar[at : at + 999]) for at in range(0, len(tar), 999)), GZIP),
        kit.blob(compress_zstd(tar[:1000]) + compress_zstd(tar[1000:]), ZSTD),
    ]
    config = kit.blob(json.dumps(kit.config([tar] * 3)).encode(), "application/vnd.oci.image.config.v1+json")
    kit.add(kit.manifest(config, layers))
    assert unpack(str(kit), str(tmp_path / "out")).layers == 3
    assert files(tmp_path / "out") == FILES


def test_the_member_of_an_index_for_a_platform(kit, tmp_path):
    kit.add(kit.multi("amd64", "s390x"))
    unpack(str(kit), str(tmp_path / "out"), platform=Platform("linux", "s390x"))
    assert files(tmp_path / "out") == {"shared": noise(2000), "own": noise(500, "s390x")}
    with pytest.raises(ImageNotFoundError, match="no image for linux/riscv64"):
        unpack(str(kit), str(tmp_path / "none"), platform=Platform("linux", "riscv64"))
    assert not (tmp_path / "none").exists()


def test_an_image_for_another_platform_is_not_the_one_that_was_asked_for(kit, tmp_path):
    kit.add(kit.image())
    with pytest.raises(ImageNotFoundError, match="it is for linux/amd64"):
        unpack(str(kit), str(tmp_path / "out"), platform=Platform("linux", "arm64"))


def test_events_tell_how_it_goes_on(kit, tmp_path):
    kit.add(kit.image())
    events = []
    unpack(str(kit), str(tmp_path / "out"), sink=events.append)
    done = [event for event in events if isinstance(event, LayerUnpacked)]
    assert [(event.entries, event.layer) for event in done] == [(1, event.digest[7:15]) for event in done]
    assert len([event for event in events if isinstance(event, LayerUnpacking) and event.done == 0]) == 2


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize(
    ("damage", "error", "told"),
    [
        ("bytes", InvalidImageError, "is not what it should be"),
        ("diff_id", InvalidImageError, "has the diff_id"),
        ("gzip", InvalidImageError, "gzip stream is broken"),
        ("tar", InvalidImageError, "middle of an entry"),
        ("escape", InvalidImageError, "leads above the root"),
        ("missing", ImageNotFoundError, "no blob"),
    ],
)
def test_what_fails_leaves_nothing(damage, error, told, present, kit, tmp_path):
    tars = [make_tar({f"f{number}": noise(50_000, number) for number in range(20)}), make_tar(FILES)]
    blobs = [gzip.compress(tar, 1, mtime=0) for tar in tars]
    config = kit.config(tars)
    if damage == "tar":
        blobs[1] = gzip.compress(tars[1][:1000])
        config["rootfs"]["diff_ids"][1] = sha256(tars[1][:1000])
    elif damage == "escape":
        blobs[1] = gzip.compress(entry("../f") + END)
    elif damage == "gzip":
        blobs[1] = blobs[1][:-9]
    elif damage == "diff_id":
        config["rootfs"]["diff_ids"][1] = sha256(b"other")
    layers = [kit.blob(blob, GZIP) for blob in blobs]
    if damage == "bytes":
        data = bytearray(blobs[1])
        data[8] ^= 1  # of the gzip header, which nobody misses
        kit.file(layers[1]["digest"]).write_bytes(data)
    elif damage == "missing":
        kit.file(layers[1]["digest"]).unlink()
    described = kit.blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    kit.add(kit.manifest(described, layers))
    place = tmp_path / "place"
    place.mkdir()
    if present:
        (place / "out").mkdir()
    threads = threading.active_count()
    with pytest.raises(error, match=told):
        unpack(str(kit), str(place / "out"))
    assert beside(place) == (["out"] if present else [])
    assert not present or beside(place / "out") == []
    assert threading.active_count() == threads


def test_an_interruption_leaves_nothing(kit, tmp_path, monkeypatch):
    kit.add(kit.image())

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastoci.rootfs.changeset.write_data", interrupt)
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(KeyboardInterrupt):
        unpack(str(kit), str(place / "out"))
    assert beside(place) == []


def test_a_full_disk_is_said_with_the_file(kit, tmp_path, monkeypatch):
    kit.add(kit.image())

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastoci.rootfs.changeset.write_data", full)
    with pytest.raises(StoreError) as caught:
        unpack(str(kit), str(tmp_path / "out"))
    assert caught.value.path == f"{tmp_path}/out/bin/hello"
    assert caught.value.cause == "no space left on device"
    assert "make room" in str(caught.value.hint)


def test_a_directory_that_is_not_empty_is_refused_and_may_be_merged_into(kit, tmp_path):
    layer = entry("new", data=b"new") + whiteout("old") + entry("same", data=b"image") + END
    kit.add(kit.image(layer, media_type=TAR))
    out = tmp_path / "out"
    out.mkdir()
    for name in ("old", "same", "stays"):
        (out / name).write_text("mine")
    with pytest.raises(StoreError, match="is not empty") as caught:
        unpack(str(kit), str(out))
    assert "--merge" in str(caught.value.hint)
    assert files(out) == dict.fromkeys(("old", "same", "stays"), b"mine")
    unpack(str(kit), str(out), merge=True)
    assert files(out) == {"new": b"new", "same": b"image", "stays": b"mine"}


def test_a_merge_that_fails_says_what_it_left(kit, tmp_path):
    kit.add(kit.image(entry("new", data=b"new") + entry("../f") + END, media_type=TAR))
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    events = []
    with pytest.raises(InvalidImageError):
        unpack(str(kit), str(out), merge=True, sink=events.append)
    assert [event.message for event in events if isinstance(event, Warned)] == [
        f"{out} holds what was unpacked before it failed"
    ]
    assert beside(out) == ["mine", "new"]


def test_a_place_that_is_no_directory(kit, tmp_path):
    kit.add(kit.image())
    (tmp_path / "file").touch()
    for path, cause in [("file", "not a directory"), ("file/x", "not a directory"), ("a/b", "no such file")]:
        with pytest.raises(StoreError) as caught:
            unpack(str(kit), str(tmp_path / path))
        assert cause in str(caught.value.cause)


def test_a_new_directory_is_what_docker_makes_of_a_root_that_nothing_describes(kit, tmp_path):
    kit.add(kit.image())
    unpack(str(kit), str(tmp_path / "out/"))
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755


def test_an_artifact_has_no_root_filesystem(kit, tmp_path):
    config = kit.blob(b"{}", "application/vnd.oci.empty.v1+json")
    kit.add(kit.manifest(config, [kit.blob(b"data", "text/plain")], artifactType="text/x"))
    with pytest.raises(InvalidImageError, match="artifact: text/x"):
        unpack(str(kit), str(tmp_path / "out"))


def test_a_layer_that_is_no_tar(kit, tmp_path):
    tar = make_tar({})
    config = kit.blob(json.dumps(kit.config([tar])).encode(), "application/vnd.oci.image.config.v1+json")
    kit.add(kit.manifest(config, [kit.blob(tar, "application/vnd.example")]))
    with pytest.raises(InvalidImageError, match="which is no tar"):
        unpack(str(kit), str(tmp_path / "out"))


def test_config_and_manifest_that_do_not_belong_together(kit, tmp_path):
    tar = make_tar({})
    config = kit.blob(json.dumps(kit.config([])).encode(), "application/vnd.oci.image.config.v1+json")
    kit.add(kit.document({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [kit.blob(tar, TAR)]}))
    with pytest.raises(InvalidImageError, match="0 diff_ids, 1 layers"):
        unpack(str(kit), str(tmp_path / "out"))


def test_limits(kit, tmp_path, monkeypatch):
    kit.add(kit.image(make_tar({"zeros": bytes(3 << 20)})))
    with pytest.raises(InvalidImageError, match="too large"):
        unpack(str(kit), str(tmp_path / "out"), limits=Limits(size=3 << 20))
    monkeypatch.setattr("fastoci.rootfs.limits._GRACE", 1 << 20)
    with pytest.raises(InvalidImageError, match="more than 10 for one"):
        unpack(str(kit), str(tmp_path / "out"), limits=Limits(ratio=10))
    unpack(str(kit), str(tmp_path / "out"), limits=Limits(ratio=2000))


@pytest.mark.skipif(not is_root(), reason="only root gives files away")
def test_owners_are_mapped(kit, tmp_path):
    layer = entry("a", uid=0, gid=0) + entry("b", uid=1000, gid=1001) + folder("d", uid=1005, gid=0)
    kit.add(kit.image(layer + symlink("l", "a", uid=1000, gid=0) + END, media_type=TAR))
    owners = Owners(uids=[(0, 5000, 1), (1000, 6000, 10)], gids=[(0, 7000, 65536)])
    unpack(str(kit), str(tmp_path / "out"), owners=owners)
    found = {path.name: (path.lstat().st_uid, path.lstat().st_gid) for path in (tmp_path / "out").iterdir()}
    assert found == {"a": (5000, 7000), "b": (6000, 8001), "d": (6005, 7000), "l": (6000, 7000)}
    with pytest.raises(InvalidImageError, match="the uid 1000 is in no --uid-map"):
        unpack(str(kit), str(tmp_path / "other"), owners=Owners(uids=[(0, 5000, 1000)]))


@pytest.mark.skipif(not is_root(), reason="root becomes somebody else here, and comes back")
def test_without_root_everything_is_the_callers(public):
    kit = LayoutKit(public / "layout")
    layer = (
        folder("closed", 0o000, uid=0, gid=0)
        + entry("closed/f", data=b"x", uid=5, gid=5, mode=0o400)
        + entry("dev", b"3", device=(1, 3))
        + symlink("l", "f", uid=7, gid=7)
        + entry("suid", mode=0o4755, uid=0, pax={b"SCHILY.xattr.user.a": b"b"})
        + END
    )
    kit.add(kit.image(layer, entry("closed/g") + END, media_type=TAR))
    place = public / "place"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    events = []
    with unprivileged():
        done = unpack(str(kit), str(place / "out"), sink=events.append)
        # What failed is cleaned away, closed directories or not.
        with pytest.raises(InvalidImageError):
            unpack(str(kit), str(place / "again"), limits=Limits(entries=6))
    assert beside(place) == ["out"]
    assert beside(place / "out/closed") == ["f", "g"]
    assert stat.S_IMODE((place / "out/closed").stat().st_mode) == 0
    assert {path.lstat().st_uid for path in (place / "out").rglob("*")} == {NOBODY}
    assert os.getxattr(place / "out/suid", "user.a") == b"b"
    assert done.left_out == {"devices, which only root may make": 1}
    assert any(isinstance(event, Warned) and "1 devices" in event.message for event in events)


@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_threads_make_files_as_are_asked_for(threads, kit, tmp_path):
    kit.add(kit.image())
    running = []

    def listen(event):
        if isinstance(event, LayerUnpacked):
            running.append(sum(thread.name.startswith("fastoci-write-") for thread in threading.enumerate()))

    unpack(str(kit), str(tmp_path / "out"), threads=threads, sink=listen)
    assert running == [threads, threads]
    assert files(tmp_path / "out") == FILES


@pytest.mark.parametrize("text", ["", "1", "1:2:0", "a:b", "1:2:3:4", "-1:2:3", "1:4294967295:1", "0:0:4294967296"])
def test_mappings_that_are_none(text):
    with pytest.raises(UsageError, match="--uid-map"):
        parse_mapping(text, "--uid-map")


def test_no_decompressor_for_zstd(kit, tmp_path, monkeypatch):
    tar = make_tar({})
    config = kit.blob(json.dumps(kit.config([tar])).encode(), "application/vnd.oci.image.config.v1+json")
    kit.add(kit.manifest(config, [kit.blob(b"x", ZSTD)]))
    monkeypatch.setattr(module, "zstd_reader", lambda: None)
    with pytest.raises(Exception, match="nothing here inflates zstd"):
        unpack(str(kit), str(tmp_path / "out"))


def test_the_command(fastoci, kit, tmp_path):
    kit.add(kit.image(), "v1")
    out = tmp_path / "out"
    code, said, _ = fastoci("unpack", "-T", "3", f"oci:{kit}:v1", out)
    assert (code, said) == (0, f"{out}\n")
    assert files(out) == FILES
    code, said, told = fastoci("unpack", f"oci:{kit}:v1", out)
    assert (code, said) == (1, "")
    assert "is not empty" in told
    code, said, _ = fastoci("unpack", "--json", "--merge", "--no-same-owner", f"oci:{kit}:v1", out)
    document = json.loads(said)
    assert (code, document["entries"], document["leftOut"]) == (0, 2, {})
    code, _, told = fastoci("unpack", "--max-size", "1k", f"oci:{kit}:v1", tmp_path / "small")
    assert (code, "--max-size" in told) == (3, True)
    code, _, told = fastoci("unpack", "--no-same-owner", "--uid-map", "0:1", f"oci:{kit}:v1", tmp_path / "small")
    assert (code, "exclude each other" in told) == (2, True)
    code, _, told = fastoci("unpack", "--threads", "0", f"oci:{kit}:v1", tmp_path / "small")
    assert (code, "--threads" in told) == (2, True)
