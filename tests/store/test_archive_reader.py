from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smallimage import make_image

from fastoci.errors import FastociError, ImageNotFoundError, InvalidImageError, StoreError
from fastoci.spec import mediatypes
from fastoci.spec.annotations import REF_NAME
from fastoci.spec.descriptor import Descriptor
from fastoci.spec.digest import Digest
from fastoci.spec.index import Index
from fastoci.spec.manifest import Manifest
from fastoci.store.archive import ArchiveWriter
from fastoci.store.archive_reader import Archive
from fastoci.store.layout import Layout

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def entry(name, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar(path, *entries, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def oci_entries(image, prefix=""):
    index = Index((image.descriptor.annotated(**{REF_NAME: "1"}),)).to_bytes()
    return [
        entry(f"{prefix}oci-layout", LAYOUT),
        entry(f"{prefix}index.json", index),
        *(
            entry(f"{prefix}blobs/sha256/{Digest.of(blob).hex}", blob)
            for blob in (image.layer, image.config, image.manifest)
        ),
    ]


def docker_entries(image, *, tags=("me/image:1",), layer=None, config=None):
    listed = [{"Config": "c.json", "RepoTags": list(tags), "Layers": ["l/layer.tar"]}]
    return [
        entry("c.json", image.config if config is None else config),
        entry("l/layer.tar", gzip.decompress(image.layer) if layer is None else layer),
        entry("manifest.json", json.dumps(listed).encode()),
    ]


@pytest.fixture
def written(tmp_path, image):
    path = str(tmp_path / "x.tar")
    with ArchiveWriter(path) as archive:
        image.put(archive, ["me/image:1"])
        archive.finish()
    return path


@pytest.fixture
def read():
    """Open archives that are closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda path: stack.enter_context(Archive.open(str(path)))


def test_what_was_written_is_read(written, image):
    with Archive.open(written) as archive:
        assert archive.path == written
        descriptor = archive.resolve("1")
        assert descriptor.digest == image.descriptor.digest
        assert archive.resolve("me/image:1") == archive.resolve(None) == archive.resolve(None, descriptor.digest)
        assert archive.read_blob(descriptor) == image.manifest
        manifest = Manifest.from_bytes(archive.read_blob(descriptor))
        assert archive.read_blob(manifest.config) == image.config
        with archive.open_blob(manifest.layers[0]) as stream:
            assert stream.seekable()
            assert stream.seek(0, os.SEEK_END) == len(image.layer)
            assert stream.seek(3) == 3
            assert stream.read(10) == image.layer[3:13]
            assert stream.seek(-1, os.SEEK_CUR) == 12
            assert stream.read() == image.layer[12:]
            assert stream.read() == b""
        assert archive.has_blob(descriptor.digest, descriptor.size)
        assert not archive.has_blob(descriptor.digest, 1)
        assert archive.blob_size(Digest.of(b"")) is None


def test_a_blob_outlives_the_archive(written, image):
    before = len(os.listdir("/proc/self/fd"))
    archive = Archive.open(written)
    stream = archive.open_blob(image.layer_descriptor)
    archive.close()
    archive.close()
    assert stream.read() == image.layer
    stream.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_not_there(written, image, read):
    archive = read(written)
    with pytest.raises(ImageNotFoundError, match=r"no image '2' .* what is there: 1"):
        archive.resolve("2")
    with pytest.raises(ImageNotFoundError, match="no image sha256"):
        archive.resolve(None, Digest.of(b""))
    with pytest.raises(ImageNotFoundError, match="no blob"):
        archive.open_blob(Descriptor.of("x", b""))
    with pytest.raises(InvalidImageError, match="its descriptor says 1"):
        archive.open_blob(Descriptor("x", image.descriptor.digest, 1))
    with pytest.raises(InvalidImageError, match="too large"):
        archive.read_blob(image.descriptor, limit=10)
    with pytest.raises(InvalidImageError, match="neither a manifest nor an index"):
        archive.resolve(None, Digest.of(image.config))


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_other_writers(tmp_path, image, prefix, form, read):
    archive = read(tar(tmp_path / "x.tar", *oci_entries(image, prefix), form=form))
    assert archive.read_blob(archive.resolve("1")) == image.manifest


def test_a_layout_packed_by_hand(tmp_path, image, run, read):
    image.put(Layout.create(str(tmp_path / "x")), ["1"])
    for program in ("tar", "bsdtar"):
        run(program, "-cf", tmp_path / "x.tar", "-C", tmp_path / "x", ".")
        archive = read(str(tmp_path / "x.tar"))
        assert archive.read_blob(archive.resolve("1")) == image.manifest


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(tmp_path, image, form, read):
    listed = [{"Config": "c" * 300, "RepoTags": None, "Layers": ["l" * 150 + "/é/layer.tar"]}]
    path = tar(
        tmp_path / "x.tar",
        entry("c" * 300, image.config),
        entry("l" * 150 + "/é/layer.tar", gzip.decompress(image.layer)),
        entry("manifest.json", json.dumps(listed).encode()),
        form=form,
    )
    archive = read(path)
    assert Manifest.from_bytes(archive.read_blob(archive.resolve(None))).config == Descriptor.of(
        mediatypes.OCI_CONFIG, image.config
    )


def test_pax_sizes_are_obeyed(tmp_path, image, read):
    entries = oci_entries(image)
    for info, data in entries:
        info.pax_headers = {"size": str(len(data)), "comment": "x" * 5000}
        info.size = len(data)
    archive = read(tar(tmp_path / "x.tar", *entries))
    assert archive.read_blob(archive.resolve("1")) == image.manifest


# Docker archives


def test_a_docker_archive(tmp_path, image, read):
    archive = read(tar(tmp_path / "x.tar", *docker_entries(image, tags=["me/image:1", "other", "x.io/y:2"])))
    descriptor = archive.resolve("me/image:1")
    assert descriptor == archive.resolve("1")
    assert {archive.resolve(tag).digest for tag in (None, "other", "latest", "x.io/y:2")} == {descriptor.digest}
    manifest = Manifest.from_bytes(archive.read_blob(descriptor), descriptor.media_type)
    assert archive.read_blob(manifest.config) == image.config
    layer = gzip.decompress(image.layer)
    assert manifest.layers == (Descriptor.of(mediatypes.OCI_LAYER_TAR, layer),)
    assert archive.read_blob(manifest.layers[0]) == layer


def test_a_docker_archive_with_compressed_layers(tmp_path, image, read):
    archive = read(tar(tmp_path / "x.tar", *docker_entries(image, tags=(), layer=image.layer)))
    manifest = Manifest.from_bytes(archive.read_blob(archive.resolve(None)))
    assert manifest.layers == (Descriptor.of(mediatypes.OCI_LAYER_GZIP, image.layer),)
    assert archive.read_blob(manifest.layers[0]) == image.layer


def test_what_skopeo_writes_for_docker(tmp_path, written, image, run, read):
    run("skopeo", "copy", f"oci-archive:{written}:1", f"docker-archive:{tmp_path}/d.tar:me/copied:2")
    archive = read(str(tmp_path / "d.tar"))
    manifest = Manifest.from_bytes(archive.read_blob(archive.resolve("me/copied:2")))
    assert archive.read_blob(manifest.config) == image.config
    assert archive.read_blob(manifest.layers[0]) == gzip.decompress(image.layer)
    run("skopeo", "copy", f"oci-archive:{written}:1", f"oci-archive:{tmp_path}/o.tar:3")
    archive = read(str(tmp_path / "o.tar"))
    assert archive.read_blob(archive.resolve("3")) == image.manifest


def test_a_layer_that_links_to_another(tmp_path, image, read):
    """As dockers before 25 save a layer that comes twice."""
    config, layer, listed = docker_entries(image)
    moved = entry("first/layer.tar", layer[1])
    link = entry("l/layer.tar", type=tarfile.SYMTYPE, linkname="../first/layer.tar")
    archive = read(tar(tmp_path / "x.tar", config, moved, link, listed))
    manifest = Manifest.from_bytes(archive.read_blob(archive.resolve(None)))
    assert archive.read_blob(manifest.layers[0]) == layer[1]


def test_hard_links_of_a_layout_packed_by_hand(tmp_path, image, run, read):
    layout = tmp_path / "x"
    image.put(Layout.create(str(layout)), ["1"])
    os.link(layout / "blobs" / "sha256" / image.descriptor.digest.hex, layout / "a-copy")
    run("tar", "-cf", tmp_path / "x.tar", "-C", layout, "a-copy", "blobs", "index.json", "oci-layout")
    archive = read(str(tmp_path / "x.tar"))
    assert archive.read_blob(archive.resolve("1")) == image.manifest


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        (b"", "not valid JSON"),
        (b"{}", "not a list"),
        (b'[],"x":[]', "not a list"),
        (b"[1]", r"manifest\.json\[0\] is not an object"),
        (b"[{}]", "Config is missing"),
        (b'[{"Config":"nope"}]', "'nope' is not in it"),
        (b'[{"Config":"manifest.json"}]', "not a JSON object"),
        (b'[{"Config":"c.json","Layers":["nope"]}]', "'nope', which is not there"),
        (b'[{"Config":"c.json","Layers":["../../etc/passwd"]}]', "which is not there"),
        (b'[{"Config":"c.json"}]', "Layers has 0 entries, and the config 1 diff_ids"),
        (b'[{"Config":"c.json","Layers":"l/layer.tar"}]', "Layers is not an array"),
        (b'[{"Config":"c.json","Layers":["l/layer.tar"],"RepoTags":["A b"]}]', "RepoTags is not valid"),
    ],
)
def test_docker_lists_that_are_not_valid(tmp_path, image, listed, why):
    config, layer, _ = docker_entries(image)
    with pytest.raises(InvalidImageError, match=why):
        Archive.open(tar(tmp_path / "x.tar", config, layer, entry("manifest.json", listed)))


# Hostile, damaged, and something else altogether


def test_compressed_archives(tmp_path, written):
    for name, data in (
        ("gzip", gzip.compress(b"x")),
        ("zstd", b"\x28\xb5\x2f\xfd123"),
        ("bzip2", b"BZh9123"),
        ("xz", b"\xfd7zXZ\0"),
    ):
        path = tmp_path / f"x.tar.{name}"
        path.write_bytes(data)
        with pytest.raises(StoreError, match=f"{name} file") as caught:
            Archive.open(str(path))
        assert "decompress" in caught.value.hint


def test_what_is_no_archive(tmp_path):
    (tmp_path / "text").write_text("x" * 5000)
    (tmp_path / "short").write_text("x")
    (tmp_path / "empty").write_text("")
    (tmp_path / "zeros").write_bytes(bytes(10240))
    for name in ("text", "short", "empty", "zeros"):
        with pytest.raises(StoreError, match="not an archive of images: it is no tar") as caught:
            Archive.open(str(tmp_path / name))
        assert caught.value.hint
    with pytest.raises(StoreError, match="directory"):
        Archive.open(str(tmp_path))
    with pytest.raises(ImageNotFoundError):
        Archive.open(str(tmp_path / "missing"))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StoreError, match="not a regular file"):
        Archive.open(str(tmp_path / "fifo"))
    with pytest.raises(StoreError, match=r"neither index\.json nor manifest\.json"):
        Archive.open(tar(tmp_path / "x.tar", entry("etc/passwd", b"x")))
    with pytest.raises(StoreError, match=r"neither index\.json nor manifest\.json"):
        Archive.open(tar(tmp_path / "y.tar", entry("index.json", b"{}")))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "blobs/..", "./../x"])
def test_members_outside(tmp_path, image, name):
    with pytest.raises(InvalidImageError, match="is outside of it"):
        Archive.open(tar(tmp_path / "x.tar", *oci_entries(image), entry(name, b"x")))


def test_members_that_come_twice(tmp_path, image):
    entries = oci_entries(image)
    with pytest.raises(InvalidImageError, match="twice"):
        Archive.open(tar(tmp_path / "x.tar", *entries, entries[1]))
    with pytest.raises(InvalidImageError, match="twice"):
        Archive.open(
            tar(tmp_path / "y.tar", *entries, entry("./blobs//index.json", b""), entry("blobs/index.json", b""))
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.SYMTYPE, "linkname": "../../../../etc/passwd"},
        {"type": tarfile.SYMTYPE, "linkname": "index.json"},
        {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "../etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "index.json"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
        {"type": tarfile.FIFOTYPE},
    ],
)
def test_an_index_that_is_no_file(tmp_path, image, fields):
    layout, _, *blobs = oci_entries(image)
    path = tar(tmp_path / "x.tar", layout, entry("index.json", **fields), *blobs)
    with pytest.raises(InvalidImageError, match=r"index\.json"):
        Archive.open(path)


def test_a_blob_that_is_a_link(tmp_path, image, read):
    link = entry(f"blobs/sha256/{'a' * 64}", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    archive = read(tar(tmp_path / "x.tar", *oci_entries(image), link))
    with pytest.raises(InvalidImageError, match="not a file"):
        archive.has_blob(Digest("sha256", "a" * 64))


def test_other_members_do_not_matter(tmp_path, image, read):
    strange = [
        entry("dev/null", type=tarfile.CHRTYPE),
        entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("repositories", b"{}"),
        entry("blobs", type=tarfile.DIRTYPE),
        entry("blobs/", type=tarfile.DIRTYPE),
        entry(".", type=tarfile.DIRTYPE),
    ]
    archive = read(tar(tmp_path / "x.tar", *strange, *oci_entries(image)))
    assert archive.read_blob(archive.resolve("1")) == image.manifest


@pytest.mark.parametrize("keep", [600, 1500, 2100, 0.5, -1500, -2500])
def test_truncated(tmp_path, written, keep):
    data = Path(written).read_bytes()
    path = tmp_path / "cut.tar"
    path.write_bytes(data[: int(len(data) * keep) if keep == 0.5 else keep])
    with pytest.raises((InvalidImageError, StoreError)):
        Archive.open(str(path)).read_blob(make_image().descriptor)


def patched(info, **fields):
    """Return a header with other bytes in some fields, and the checksum right again."""
    places = {"size": 124, "name": 0, "kind": 156}
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT)[:512])
    for field, value in fields.items():
        header[places[field] : places[field] + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (patched(tarfile.TarInfo("x"), size=b"77777777777\0"), "truncated"),
        (patched(tarfile.TarInfo("x"), size=b"\x80" + b"\xff" * 11), "a number that is none"),
        (patched(tarfile.TarInfo("x"), size=b"\xff" * 12), "a number that is none"),
        (patched(tarfile.TarInfo("x"), size=b"00000000009\0"), "a number that is none"),
        (patched(tarfile.TarInfo("x"), size=b"-0000000001\0"), "a number that is none"),
        (patched(tarfile.TarInfo("x"), kind=b"x", size=b"77777777777\0"), "truncated"),
        (
            patched(tarfile.TarInfo("x"), kind=b"L", size=b"00010000000\0") + bytes(3 << 20),
            "a header has 2,097,152 bytes",
        ),
        (patched(tarfile.TarInfo("x"), kind=b"x", size=b"00000000010\0") + b"garbage!".ljust(512, b"\0"), "PAX header"),
        (
            patched(tarfile.TarInfo("x"), kind=b"x", size=b"00000000010\0") + b"99 a=bc\n".ljust(512, b"\0"),
            "PAX header",
        ),
        (
            patched(tarfile.TarInfo("x"), kind=b"x", size=b"00000000010\0") + b"0 a=bcd\n".ljust(512, b"\0"),
            "PAX header",
        ),
        (
            patched(tarfile.TarInfo("x"), kind=b"x", size=b"00000000006\0")
            + b"6 a=b\n".ljust(512, b"\0")
            + b"other"
            + entry("x")[0].tobuf(tarfile.USTAR_FORMAT)[5:],
            "checksum",
        ),
    ],
)
def test_headers_that_are_not_valid(tmp_path, image, start, why):
    good = tmp_path / "good.tar"
    tar(good, *oci_entries(image))
    first = entry("first")[0].tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "x.tar").write_bytes(first + start + good.read_bytes()[:1024])
    with pytest.raises(InvalidImageError, match=why):
        Archive.open(str(tmp_path / "x.tar"))


@pytest.mark.parametrize("size", ["-1", "x", "1e3", "9" * 30, "", "²"])
def test_pax_sizes_that_are_none(tmp_path, image, size):
    info, data = entry("x", b"")
    info.pax_headers = {"size": size}
    with pytest.raises(InvalidImageError):
        Archive.open(tar(tmp_path / "x.tar", entry("first", b""), (info, data), *oci_entries(image)))


def test_sparse_files_are_not_understood(tmp_path, image):
    info, data = entry("x", b"")
    info.pax_headers = {"GNU.sparse.major": "1"}
    with pytest.raises(InvalidImageError, match="sparse"):
        Archive.open(tar(tmp_path / "x.tar", entry("first", b""), (info, data), *oci_entries(image)))


def test_endless_members(tmp_path):
    header = entry("x")[0].tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "x.tar").write_bytes(header * 200)
    with pytest.raises(InvalidImageError, match="twice"):
        Archive.open(str(tmp_path / "x.tar"))
    directories = entry("x", type=tarfile.DIRTYPE)[0].tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "x.tar").write_bytes(directories * 100_001)
    with pytest.raises(InvalidImageError, match="more than 100,000 members"):
        Archive.open(str(tmp_path / "x.tar"))


def test_an_archive_that_shrinks_while_it_is_read(written, image, read):
    archive = read(written)
    os.truncate(written, 2000)
    with pytest.raises(InvalidImageError):
        archive.read_blob(image.descriptor)


SAMPLE = make_image()


def sample_tar(docker):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in docker_entries(SAMPLE) if docker else oci_entries(SAMPLE):
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue().rstrip(b"\0") + bytes(1024)


@settings(max_examples=300)
@given(
    st.sampled_from([sample_tar(docker=False), sample_tar(docker=True)]),
    st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=12)), max_size=4),
    st.none() | st.integers(0, 6000),
    st.booleans(),
)
def test_damage_is_noticed_or_harmless(tmp_path_factory, data, patches, length, mended):
    damaged = bytearray(data)
    for position, patch in patches:
        damaged[position : position + len(patch)] = patch
    if mended:
        # Checksums that are right, so that what lies behind them is reached.
        for start in range(0, len(damaged) - 511, 512):
            if damaged[start + 257 : start + 262] == b"ustar":
                damaged[start + 148 : start + 156] = b" " * 8
                damaged[start + 148 : start + 156] = b"%06o\0 " % sum(damaged[start : start + 512])
    path = tmp_path_factory.mktemp("damaged") / "x.tar"
    path.write_bytes(damaged[:length])
    try:
        with Archive.open(str(path)) as archive:
            descriptor = archive.resolve(None)
            manifest = Manifest.from_bytes(archive.read_blob(descriptor), descriptor.media_type)
            for blob in (manifest.config, *manifest.layers):
                assert len(archive.read_blob(blob)) == blob.size
    except FastociError as error:
        assert str(error)  # noqa: PT017 - whichever it is
