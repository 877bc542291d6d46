from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
import tarfile
import threading

import pytest

from fastoci.errors import InvalidImageError, StoreError, UsageError
from fastoci.spec import mediatypes
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest
from fastoci.store.archive import ArchiveWriter
from fastoci.store.archive_output import FileOutput
from fastoci.store.archive_reader import Archive
from fastoci.store.tarformat import directory_header, file_header

NAMES = ["ghcr.io/me/base:1", "latest"]


def write(target, image, names=NAMES, tags=()):
    with ArchiveWriter(target) as archive:
        image.put(archive, names)
        archive.finish(tags)


def through_a_pipe(image):
    reading, writing = os.pipe()
    received = []

    def receive():
        with open(reading, "rb") as file:
            received.append(file.read())

    thread = threading.Thread(target=receive)
    thread.start()
    with open(writing, "wb") as file:
        write(file, image)
    thread.join()
    return received[0]


def contents(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


@pytest.mark.parametrize("size", [0, 1, 0o7777777, 8**11 - 1, 8**11, 9 << 30, 2**62])
def test_headers_are_tarfile_s(size):
    name = "blobs/sha256/" + "a" * 64
    header = file_header(name, size)
    assert len(header) == 512
    info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    assert (info.name, info.size, info.mode, info.uid, info.gid, info.mtime) == (name, size, 0o644, 0, 0, 0)
    assert info.isreg()
    info.size = min(size, 8**11 - 1)
    assert file_header(name, info.size) == info.tobuf(tarfile.USTAR_FORMAT)


def test_directory_headers_are_tarfile_s():
    info = tarfile.TarInfo("blobs")
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    assert directory_header("blobs/") == info.tobuf(tarfile.USTAR_FORMAT)


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="longer"):
        file_header("x" * 101, 0)


def test_the_tar(tmp_path, image):
    path = tmp_path / "x.tar"
    write(str(path), image, tags=["hello:3"])
    files = contents(path)
    layer, config, manifest = (
        f"blobs/sha256/{digest.hex}"
        for digest in (image.layer_descriptor.digest, Digest.of(image.config), image.descriptor.digest)
    )
    assert list(files) == ["oci-layout", layer, config, manifest, "index.json", "manifest.json"]
    assert (files[layer], files[config], files[manifest]) == (image.layer, image.config, image.manifest)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads(files["manifest.json"]) == [
        {"Config": config, "RepoTags": ["ghcr.io/me/base:1", "hello:3"], "Layers": [layer]}
    ]
    index = Index.from_bytes(files["index.json"])
    assert [entry.digest for entry in index.manifests] == [image.descriptor.digest] * 2
    assert os.listdir(tmp_path) == ["x.tar"]


def test_the_same_image_is_the_same_tar_wherever_it_goes(tmp_path, image):
    path = tmp_path / "x.tar"
    write(str(path), image)
    expected = path.read_bytes()
    assert len(expected) % 512 == 0
    assert expected.endswith(bytes(1024))
    with (tmp_path / "stdout").open("wb") as file:
        write(file, image)
    assert (tmp_path / "stdout").read_bytes() == expected
    with (tmp_path / "appended").open("ab") as file:
        file.write(b"before")
        write(file, image)
    assert (tmp_path / "appended").read_bytes() == b"before" + expected
    with (tmp_path / "amid").open("wb") as file:
        file.write(b"before")
        write(file, image)
        file.write(b"after")
    assert (tmp_path / "amid").read_bytes() == b"before" + expected + b"after"
    buffer = io.BytesIO()
    write(buffer, image)
    assert buffer.getvalue() == expected
    assert through_a_pipe(image) == expected


def test_a_fifo_is_written_to(tmp_path, image):
    os.mkfifo(tmp_path / "fifo")
    received = []
    thread = threading.Thread(target=lambda: received.append((tmp_path / "fifo").read_bytes()))
    thread.start()
    write(str(tmp_path / "fifo"), image)
    thread.join()
    write(str(tmp_path / "x.tar"), image)
    assert received == [(tmp_path / "x.tar").read_bytes()]


def test_dev_null_takes_it(image):
    write(os.devnull, image)


@pytest.mark.parametrize("end", [None, KeyboardInterrupt])
def test_left_unfinished_it_leaves_nothing(tmp_path, image, temp_files, end):
    (tmp_path / "old.tar").write_bytes(b"old")
    for name in ("new.tar", "old.tar"):
        with contextlib.suppress(KeyboardInterrupt), ArchiveWriter(str(tmp_path / name)) as archive:
            image.put(archive, ["1"])
            writer = archive.blob_writer()
            writer.write(b"x")
            second = archive.blob_writer()
            second.write(b"y")
            if end is not None:
                raise end
        writer.close()
        second.close()
    assert os.listdir(tmp_path) == ["old.tar"]
    assert (tmp_path / "old.tar").read_bytes() == b"old"


def test_left_unfinished_a_redirected_stdout_is_empty_again(tmp_path, image):
    with (tmp_path / "stdout").open("wb") as file:
        file.write(b"before")
        with ArchiveWriter(file) as archive:
            image.put(archive, ["1"])
    assert (tmp_path / "stdout").read_bytes() == b"before"


def test_what_stands_there_is_replaced(tmp_path, image, temp_files):
    (tmp_path / "real.tar").write_bytes(b"old")
    (tmp_path / "link.tar").symlink_to("real.tar")
    write(str(tmp_path / "link.tar"), image)
    assert (tmp_path / "link.tar").is_symlink()
    with Archive.open(str(tmp_path / "real.tar")) as archive:
        assert archive.resolve(None).digest == image.descriptor.digest
    assert sorted(os.listdir(tmp_path)) == ["link.tar", "real.tar"]


def test_blobs_written_at_once_stand_one_after_the_other(tmp_path):
    blobs = [bytes([65 + number]) * (1000 * number + 1) for number in range(5)]
    with ArchiveWriter(str(tmp_path / "x.tar")) as archive:
        writers = [archive.blob_writer() for _ in blobs]
        for writer, blob in zip(writers, blobs, strict=True):
            writer.write(blob[:500])
        for writer, blob in zip(writers, blobs, strict=True):
            writer.write(blob[500:])
            assert writer.size == len(blob)
        for number in (3, 1):
            writers[number].commit(Digest.of(blobs[number]))
        archive.put_blob(b"small", "x")
        assert archive.has_blob(Digest.of(blobs[3]), len(blobs[3]))
        assert not archive.has_blob(Digest.of(blobs[0]))
        writers[0].commit(Digest.of(blobs[0]))
        writers[2].close()
        writers[4].commit(Digest.of(blobs[4]))
        for writer in writers:
            writer.close()
        archive.finish()
    found = list(contents(tmp_path / "x.tar").values())[1:-2]
    assert found == [blobs[0], blobs[3], blobs[1], b"small", blobs[4]]


def test_a_blob_given_up_in_its_place_leaves_no_gap(tmp_path, image):
    write(str(tmp_path / "expected.tar"), image)
    with ArchiveWriter(str(tmp_path / "x.tar")) as archive:
        with archive.blob_writer() as writer:
            writer.write(bytes(100_000))
        image.put(archive, NAMES)
        archive.finish()
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "expected.tar").read_bytes()


@pytest.mark.parametrize("target", ["file", "stream"])
def test_a_blob_that_comes_twice_is_written_once(tmp_path, image, target):
    write(str(tmp_path / "expected.tar"), image)
    buffer = io.BytesIO()
    with ArchiveWriter(str(tmp_path / "x.tar") if target == "file" else buffer) as archive:
        image.put(archive, NAMES)
        image.put(archive, NAMES)
        archive.finish()
    data = (tmp_path / "x.tar").read_bytes() if target == "file" else buffer.getvalue()
    assert data == (tmp_path / "expected.tar").read_bytes()


def test_writers_are_used_once(tmp_path):
    for target in (str(tmp_path / "x.tar"), io.BytesIO()):
        with ArchiveWriter(target) as archive:
            with archive.blob_writer() as writer:
                writer.commit(Digest.of(b""))
                with pytest.raises(ValueError, match="closed"):
                    writer.write(b"x")
                with pytest.raises(ValueError, match="closed"):
                    writer.commit(Digest.of(b""))
            with archive.blob_writer(), contextlib.suppress(StoreError):
                if isinstance(target, str):
                    with pytest.raises(RuntimeError, match="still being written"):
                        archive.finish()


def test_other_digests_have_no_place(tmp_path):
    digest = Digest("sha512", "a" * 128)
    for target in (str(tmp_path / "x.tar"), io.BytesIO()):
        with (
            ArchiveWriter(target) as archive,
            archive.blob_writer() as writer,
            pytest.raises(StoreError, match="sha512"),
        ):
            writer.commit(digest)


def test_what_a_manifest_names_must_be_there(tmp_path, image):
    def finish(names, *blobs):
        with ArchiveWriter(str(tmp_path / "x.tar")) as archive:
            for blob in blobs:
                archive.put_blob(blob, "x")
            archive.put_manifest(image.descriptor, names)
            archive.finish()

    with pytest.raises(InvalidImageError, match="was not put"):
        finish([])
    with pytest.raises(InvalidImageError, match=str(Digest.of(image.config))):
        finish([], image.manifest)
    with pytest.raises(InvalidImageError, match=str(image.layer_descriptor.digest)):
        finish([], image.manifest, image.config)
    with pytest.raises(UsageError):
        finish(["-x"], image.manifest, image.config, image.layer)
    assert os.listdir(tmp_path) == []


def test_indexes_and_artifacts_are_not_docker_s(tmp_path, image):
    path = tmp_path / "x.tar"
    with ArchiveWriter(str(path)) as archive:
        image.put(archive)
        empty = archive.put_blob(b"{}", mediatypes.OCI_EMPTY)
        artifact = archive.put_blob(Manifest(empty, (empty,)).to_bytes(), mediatypes.OCI_MANIFEST)
        archive.put_manifest(artifact, ["artifact"])
        index = archive.put_blob(Index((image.descriptor,)).to_bytes(), mediatypes.OCI_INDEX)
        archive.put_manifest(index, ["me/multi:1"])
        archive.finish()
    files = contents(path)
    assert [entry["RepoTags"] for entry in json.loads(files["manifest.json"])] == [[]]
    assert len(Index.from_bytes(files["index.json"]).manifests) == 3


def test_several_images(tmp_path, image, other_image):
    path = tmp_path / "x.tar"
    with ArchiveWriter(str(path)) as archive:
        image.put(archive, ["a:1"])
        other_image.put(archive, ["b:2"])
        archive.finish(["c:3"])
    assert [entry["RepoTags"] for entry in json.loads(contents(path)["manifest.json"])] == [["a:1"], ["b:2", "c:3"]]


# Faults


def test_where_an_archive_cannot_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for target, why in (
        (tmp_path, "is a directory"),
        (tmp_path / "file" / "x.tar", "not a directory"),
        (tmp_path / "missing" / "x.tar", "no such file"),
        (tmp_path / ("x" * 300), "name too long"),
    ):
        with pytest.raises(StoreError, match=why):
            ArchiveWriter(str(target))
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk(tmp_path, monkeypatch, image):
    real_write = os.write
    left = [20_000]

    def write_some(fd, data):
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real_write(fd, data[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", write_some)
    with (
        pytest.raises(StoreError, match="no space left") as caught,
        ArchiveWriter(str(tmp_path / "x.tar")) as archive,
        archive.blob_writer() as writer,
    ):
        writer.write(bytes(30_000))
    assert "make room" in caught.value.hint
    assert os.listdir(tmp_path) == []


def test_dev_full_is_full(image):
    with pytest.raises(StoreError, match="cannot write to /dev/full: no space left"):
        write("/dev/full", image)


def test_a_reader_that_goes(image):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as file, pytest.raises(StoreError, match="broken pipe"):
        write(file, image)


def test_spooled_blobs_go_where_there_is_room(tmp_path, monkeypatch, image):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with pytest.raises(StoreError, match=r"cannot write a temporary file in .*missing"):
        through_a_stream(image)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    through_a_stream(image)
    assert os.listdir(tmp_path) == []


def through_a_stream(image):
    write(io.BytesIO(), image)


def test_stdout_is_called_so():
    script = (
        "import sys\nfrom fastoci.store.archive import ArchiveWriter\n"
        "with ArchiveWriter(sys.stdout.buffer) as a:\n    sys.stderr.write(a.path)\n    a.finish()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stderr == b"stdout"
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        assert "index.json" in tar.getnames()


# Beyond eight gibibytes


def test_a_blob_over_8_gib(tmp_path, run, monkeypatch):
    """Its bytes are a hole: the disk holds some kilobytes of it."""
    path = tmp_path / "x.tar"
    size = (9 << 30) + 5
    digest = Digest("sha256", "a" * 64)

    def append(output, data):
        if bytes(data) != b"a hole":
            return real_append(output, data)
        output._truncate(output.position + size)
        return size

    real_append = FileOutput._append
    monkeypatch.setattr(FileOutput, "_append", append)
    with ArchiveWriter(str(path)) as archive:
        with archive.blob_writer() as writer:
            writer.write(b"a hole")
            assert writer.size == size
            writer.commit(digest)
        archive.finish()
    assert path.stat().st_blocks * 512 < 1 << 20
    name = f"blobs/sha256/{digest.hex}"
    with tarfile.open(path) as tar:
        assert tar.getmember(name).size == size
        assert "manifest.json" in tar.getnames()
    with Archive.open(str(path)) as reader:
        assert reader.has_blob(digest, size)
    assert f" {size} ".encode() in run("tar", "-tvf", path, name)
    assert f" {size} ".encode() in run("bsdtar", "-tvf", path, name)


# Judged by others


@pytest.mark.parametrize("program", ["tar", "bsdtar"])
def test_tars_extract_it(tmp_path, image, run, program):
    write(str(tmp_path / "x.tar"), image)
    (tmp_path / "out").mkdir()
    run(program, "-xf", tmp_path / "x.tar", "-C", tmp_path / "out")
    assert (tmp_path / "out" / "blobs" / "sha256" / image.descriptor.digest.hex).read_bytes() == image.manifest
    listed = run(program, "-tf", tmp_path / "x.tar").split()
    assert listed[:3] == [b"oci-layout", b"blobs/", b"blobs/sha256/"]
    assert len(listed) == 8


def test_skopeo_reads_both_sides(tmp_path, image, run):
    path = tmp_path / "x.tar"
    write(str(path), image, tags=["hello:3"])
    for tag in ("1", "latest"):
        assert run("skopeo", "inspect", "--raw", f"oci-archive:{path}:{tag}") == image.manifest
    for name in (
        f"docker-archive:{path}",
        f"docker-archive:{path}:hello:3",
        f"docker-archive:{path}:ghcr.io/me/base:1",
    ):
        assert run("skopeo", "inspect", "--raw", "--config", name) == image.config
    run("skopeo", "copy", f"docker-archive:{path}", f"oci:{tmp_path}/copied:1")
    run("skopeo", "copy", f"oci-archive:{path}:1", f"oci:{tmp_path}/same:1")
    assert (tmp_path / "same" / "blobs" / "sha256" / image.descriptor.digest.hex).read_bytes() == image.manifest


def test_a_layer_descriptor_is_not_a_manifest(tmp_path):
    with ArchiveWriter(str(tmp_path / "x.tar")) as archive:
        archive.put_manifest(Descriptor.of("application/x", b"x"), [])
        with pytest.raises(InvalidImageError):
            archive.finish()
