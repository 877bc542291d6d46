"""Layouts: what is made, what is added, what is read, and what is none."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smallimage import BLOB, DIGEST, tree

from fastoci.errors import FastociError, ImageNotFoundError, InvalidImageError, StoreError, UsageError
from fastoci.spec import mediatypes
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.index import Index
from fastoci.store.layout import Layout


def test_create_makes_what_the_specification_asks_for(tmp_path):
    path = tmp_path / "a" / "b" / "x.oci"
    layout = Layout.create(str(path))
    assert tree(path) == ["blobs", "blobs/sha256", "index.json", "oci-layout"]
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((path / "index.json").read_bytes()) == {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": [],
    }
    assert layout.path == str(path)
    assert layout.index() == Index()


def test_create_takes_an_empty_directory_and_a_layout(tmp_path, image, other_image):
    image.put(Layout.create(str(tmp_path)), ["1"])
    layout = Layout.create(str(tmp_path))
    other_image.put(layout, ["2"])
    assert layout.resolve("1").digest == image.descriptor.digest
    assert layout.resolve("2").digest == other_image.descriptor.digest


def test_a_path_is_not_looked_up_again(tmp_path, monkeypatch, image):
    monkeypatch.chdir(tmp_path)
    layout = Layout.create("x.oci")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    image.put(layout, ["1"])
    assert Layout.open("../x.oci").resolve("1").digest == image.descriptor.digest


def test_other_things_are_not_written_into(tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(StoreError, match="not an OCI layout") as caught:
        Layout.create(str(tmp_path))
    assert "precious" in caught.value.cause
    assert caught.value.hint
    assert tree(tmp_path) == ["precious"]


def test_open_says_what_is_wrong(tmp_path):
    with pytest.raises(ImageNotFoundError, match="no such file"):
        Layout.open(str(tmp_path / "missing"))
    with pytest.raises(StoreError, match="not an OCI layout") as caught:
        Layout.open(str(tmp_path))
    assert caught.value.hint
    file = tmp_path / "x.tar"
    file.write_bytes(b"")
    with pytest.raises(StoreError, match="not an OCI layout") as caught:
        Layout.open(str(file))
    assert caught.value.hint == f"an archive is oci-archive:{file}"
    with pytest.raises(StoreError):
        Layout.open(str(file / "x"))
    assert not isinstance(caught.value, ImageNotFoundError)


@pytest.mark.parametrize(
    ("marker", "error"),
    [
        (b'{"imageLayoutVersion":"2.0.0"}', StoreError),
        (b'{"imageLayoutVersion":1}', StoreError),
        (b"{}", StoreError),
        (b"", InvalidImageError),
        (b"x" * 100_000, StoreError),
    ],
)
def test_versions_that_are_not_known(tmp_path, marker, error):
    Layout.create(str(tmp_path))
    (tmp_path / "oci-layout").write_bytes(marker)
    with pytest.raises(error):
        Layout.open(str(tmp_path))


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"schemaVersion":2,"manifests":[{}]}', b'{"schemaVersion":2}'])
def test_an_index_that_is_none(tmp_path, index, image):
    layout = Layout.create(str(tmp_path))
    (tmp_path / "index.json").write_bytes(index)
    with pytest.raises(InvalidImageError, match=r"index\.json"):
        layout.resolve("1")
    with pytest.raises(InvalidImageError, match=r"index\.json"):
        image.put(layout, ["1"])
    assert (tmp_path / "index.json").read_bytes() == index


def test_missing_parts(tmp_path):
    Layout.create(str(tmp_path))
    (tmp_path / "index.json").unlink()
    with pytest.raises(ImageNotFoundError, match=r"index\.json"):
        Layout.open(str(tmp_path)).index()
    (tmp_path / "blobs" / "sha256").rmdir()
    (tmp_path / "blobs").rmdir()
    layout = Layout.open(str(tmp_path))
    assert not layout.has_blob(DIGEST)
    Layout.create(str(tmp_path)).put_blob(BLOB, "x")
    assert layout.has_blob(DIGEST)
    assert layout.index() == Index()


def test_a_blob_is_what_was_written(tmp_path, temp_files):
    layout = Layout.create(str(tmp_path))
    with layout.blob_writer() as writer:
        for byte in BLOB:
            writer.write(bytes([byte]))
        assert writer.size == len(BLOB)
        assert not layout.has_blob(DIGEST)
        writer.commit(DIGEST)
    descriptor = Descriptor("x", DIGEST, len(BLOB))
    assert layout.put_blob(BLOB, "x") == descriptor
    assert layout.read_blob(descriptor) == BLOB
    assert layout.blob_path(DIGEST).read_bytes() == BLOB
    assert layout.has_blob(DIGEST, len(BLOB))
    assert not layout.has_blob(DIGEST, 1)
    assert layout.blob_size(DIGEST) == len(BLOB)
    assert layout.blob_size(Digest.of(b"")) is None
    with layout.open_blob(descriptor) as stream:
        assert stream.seek(5) == 5
        assert stream.read() == BLOB[5:]
    assert tree(tmp_path / "blobs") == ["sha256", f"sha256/{DIGEST.hex}"]


def test_other_algorithms_have_directories_of_their_own(tmp_path):
    layout = Layout.create(str(tmp_path))
    digest = Digest("sha512", hashlib.sha512(BLOB).hexdigest())
    with layout.blob_writer() as writer:
        writer.write(BLOB)
        writer.commit(digest)
    assert layout.read_blob(Descriptor("x", digest, len(BLOB))) == BLOB


def test_what_is_written_can_be_read_meanwhile_and_afterwards(tmp_path):
    layout = Layout.create(str(tmp_path / "x"))
    data = b"bytes" * 1000
    with layout.blob_writer() as writer:
        file = writer.open_written()
        assert file is not None
        writer.write(data[:3000])
        assert os.pread(file.fd, 9999, 0) == data[:3000]
        writer.write(data[3000:])
        writer.commit(Digest.of(data))
    with file:
        assert os.pread(file.fd, 9999, 0) == data


def test_a_writer_that_is_left_leaves_nothing(tmp_path, temp_files):
    layout = Layout.create(str(tmp_path))
    with layout.blob_writer() as writer:
        writer.write(BLOB)
    with contextlib.suppress(KeyboardInterrupt), layout.blob_writer() as writer:
        writer.write(BLOB)
        raise KeyboardInterrupt
    assert tree(tmp_path / "blobs") == ["sha256"]


def test_a_blob_that_stands_is_kept_and_one_of_another_size_replaced(tmp_path, temp_files):
    layout = Layout.create(str(tmp_path))
    layout.put_blob(BLOB, "x")
    before = layout.blob_path(DIGEST).stat()
    layout.put_blob(BLOB, "x")
    assert layout.blob_path(DIGEST).stat().st_ino == before.st_ino
    layout.blob_path(DIGEST).write_bytes(b"torn")
    layout.put_blob(BLOB, "x")
    assert layout.blob_path(DIGEST).read_bytes() == BLOB
    layout.blob_path(DIGEST).unlink()
    layout.blob_path(DIGEST).symlink_to("/nonexistent")
    layout.put_blob(BLOB, "x")
    assert layout.blob_path(DIGEST).read_bytes() == BLOB


def test_blobs_that_are_not_what_they_should_be(tmp_path):
    layout = Layout.create(str(tmp_path))
    descriptor = layout.put_blob(BLOB, "x")
    layout.blob_path(DIGEST).write_bytes(BLOB.upper())
    with pytest.raises(InvalidImageError, match="another digest") as caught:
        layout.read_blob(descriptor)
    assert caught.value.digest == str(DIGEST)
    layout.blob_path(DIGEST).write_bytes(BLOB + b"x")
    with pytest.raises(InvalidImageError, match="11 bytes, and its descriptor says 10"):
        layout.open_blob(descriptor)
    layout.blob_path(DIGEST).write_bytes(BLOB)
    with pytest.raises(InvalidImageError, match="too large"):
        layout.read_blob(descriptor, limit=9)
    layout.blob_path(DIGEST).unlink()
    with pytest.raises(ImageNotFoundError, match="there is no blob"):
        layout.read_blob(descriptor)
    layout.blob_path(DIGEST).mkdir()
    with pytest.raises(StoreError):
        layout.open_blob(descriptor)
    assert not layout.has_blob(DIGEST)
    layout.blob_path(DIGEST).rmdir()
    os.mkfifo(layout.blob_path(DIGEST))
    with pytest.raises(StoreError, match="not a regular file"):
        layout.open_blob(descriptor)


def test_a_fifo_for_an_index_is_not_waited_for(tmp_path):
    layout = Layout.create(str(tmp_path))
    (tmp_path / "index.json").unlink()
    os.mkfifo(tmp_path / "index.json")
    with pytest.raises(StoreError, match="not a regular file"):
        layout.index()


def test_resolve(tmp_path, image, other_image):
    layout = Layout.create(str(tmp_path))
    with pytest.raises(ImageNotFoundError, match="there is no image in"):
        layout.resolve(None)
    image.put(layout, ["ghcr.io/me/base:1", "1.0"])
    digest = image.descriptor.digest
    for tag in (None, "1", "1.0", "ghcr.io/me/base:1"):
        assert layout.resolve(tag).digest == digest
    assert layout.resolve("1.0", digest).annotation("org.opencontainers.image.ref.name") == "1.0"
    other_image.put(layout, ["2"])
    assert layout.resolve("1", other_image.descriptor.digest).digest == other_image.descriptor.digest
    with pytest.raises(ImageNotFoundError, match="several images") as caught:
        layout.resolve(None)
    assert caught.value.cause == "what is there: 1, 1.0, 2"
    with pytest.raises(ImageNotFoundError, match=r"no image '3'.*what is there: 1, 1\.0, 2"):
        layout.resolve("3")
    with pytest.raises(ImageNotFoundError, match="no image sha256"):
        layout.resolve("1", DIGEST)


def test_resolve_finds_what_only_an_index_within_names(tmp_path, image):
    layout = Layout.create(str(tmp_path))
    image.put(layout)
    within = layout.put_blob(Index((image.descriptor,)).to_bytes(), mediatypes.OCI_INDEX)
    layout.put_manifest(within, ["multi"])
    unnamed = layout.put_blob(b'{"schemaVersion":2,"manifests":[]}', mediatypes.OCI_INDEX)
    assert layout.resolve("multi") == within.annotated(**{"org.opencontainers.image.ref.name": "multi"})
    assert layout.resolve(None, image.descriptor.digest) == image.descriptor
    assert layout.resolve(None, unnamed.digest) == unnamed
    with pytest.raises(InvalidImageError, match="neither a manifest nor an index"):
        layout.resolve(None, Digest.of(image.config))


def test_index_json_is_replaced_and_keeps_what_it_does_not_know(tmp_path, image):
    layout = Layout.create(str(tmp_path))
    foreign = {"mediaType": "application/x", "digest": str(DIGEST), "size": 3, "newer": [1], "annotations": {"a": "b"}}
    (tmp_path / "index.json").write_bytes(
        json.dumps({"schemaVersion": 2, "manifests": [foreign], "x": {"y": 1}}).encode()
    )
    before = (tmp_path / "index.json").stat().st_ino
    held = (tmp_path / "index.json").open("rb")
    image.put(layout, ["1"])
    written = json.loads((tmp_path / "index.json").read_bytes())
    assert written["manifests"][0] == foreign
    assert written["x"] == {"y": 1}
    assert (tmp_path / "index.json").stat().st_ino != before
    assert json.loads(held.read())["manifests"] == [foreign]
    held.close()


def test_bad_names_change_nothing(tmp_path, image):
    layout = Layout.create(str(tmp_path))
    image.put(layout, ["1"])
    before = (tmp_path / "index.json").read_bytes()
    for name in ("", "-x", "me/X", f"x@{DIGEST}"):
        with pytest.raises(UsageError):
            layout.put_manifest(image.descriptor, [name])
    assert (tmp_path / "index.json").read_bytes() == before


def test_no_descriptor_is_left_open(tmp_path, image):
    before = os.listdir("/proc/self/fd")
    layout = Layout.create(str(tmp_path))
    image.put(layout, ["1"])
    layout.read_blob(layout.resolve("1"))
    del layout
    assert os.listdir("/proc/self/fd") == before


# Hostile documents


@settings(max_examples=50)
@given(
    st.binary(max_size=200)
    | st.builds(
        lambda entries: json.dumps({"schemaVersion": 2, "manifests": entries}).encode(),
        st.lists(
            st.dictionaries(st.sampled_from(["mediaType", "digest", "size"]), st.text(max_size=5) | st.integers()),
            max_size=3,
        ),
    )
)
def test_any_index_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("layout")
    layout = Layout.create(str(path))
    (path / "index.json").write_bytes(data)
    try:
        layout.resolve(None)
    except FastociError as error:
        assert error.what  # noqa: PT017 - any of them, with any text


# Judged by others


def test_skopeo_and_umoci_take_it(tmp_path, image, other_image, run):
    path = tmp_path / "x.oci"
    layout = Layout.create(str(path))
    image.put(layout, ["ghcr.io/me/base:1", "docker.io/me/base:1", "newest"])
    other_image.put(layout, ["2"])
    for tag, expected in (("1", image), ("newest", image), ("2", other_image)):
        assert run("skopeo", "inspect", "--raw", f"oci:{path}:{tag}") == expected.manifest
        assert run("skopeo", "inspect", "--raw", "--config", f"oci:{path}:{tag}") == expected.config
    assert sorted(run("umoci", "ls", "--layout", path).split()) == [b"1", b"2", b"newest"]
    run("umoci", "stat", "--image", f"{path}:1")


def test_what_skopeo_and_umoci_write_is_read(tmp_path, image, run):
    image.put(Layout.create(str(tmp_path / "x")), ["1"])
    run("skopeo", "copy", f"oci:{tmp_path}/x:1", f"oci:{tmp_path}/y:me/base:2")
    copied = Layout.open(str(tmp_path / "y"))
    assert copied.resolve("me/base:2").digest == image.descriptor.digest
    run("umoci", "init", "--layout", tmp_path / "z")
    run("umoci", "new", "--image", f"{tmp_path}/z:new")
    layout = Layout.create(str(tmp_path / "z"))
    assert layout.read_blob(layout.resolve("new"))
    image.put(layout, ["mine"])
    assert sorted(run("umoci", "ls", "--layout", tmp_path / "z").split()) == [b"mine", b"new"]


def test_modes_are_ordinary(tmp_path, image):
    before = os.umask(0o022)
    try:
        image.put(Layout.create(str(tmp_path / "x")), ["1"])
    finally:
        os.umask(before)
    for found in (tmp_path / "x").rglob("*"):
        assert stat.S_IMODE(found.stat().st_mode) == (0o755 if found.is_dir() else 0o644)
