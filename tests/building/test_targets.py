"""Copies of layers from where they are to where they go."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from fastoci.building.targets import ArchiveTarget, LayoutTarget, copy_layers
from fastoci.errors import InvalidImageError
from fastoci.spec.descriptor import Descriptor

SIZES = [0, 1, 511, 512, 513, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20]


def source_of(*blobs):
    """Return descriptors, and something that gives the blobs they describe."""
    held = {Descriptor.of("application/x", blob).digest: blob for blob in blobs}
    source = SimpleNamespace(open_verified=lambda descriptor: io.BytesIO(held[descriptor.digest]))
    return [Descriptor.of("application/x", blob) for blob in blobs], source


class Pipe(io.RawIOBase):
    """A stream that cannot seek, and takes what it is given in pieces."""

    def __init__(self):
        self.data = b""

    def writable(self):
        return True

    def write(self, data):
        self.data += bytes(data[:1000001])
        return min(len(data), 1000001)


@pytest.mark.parametrize("kind", ["layout", "file", "pipe"])
def test_blobs_arrive_whole(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("TMPDIR", "/nonexistent")  # a copy of known size needs no temporary file
    blobs = [os.urandom(size) for size in SIZES]
    descriptors, source = source_of(*blobs)
    pipe = Pipe()
    with ExitStack() as stack:
        if kind == "layout":
            target = LayoutTarget(str(tmp_path / "out"), stack)
        else:
            target = ArchiveTarget(pipe if kind == "pipe" else str(tmp_path / "out.tar"), stack)
        # One layer twice is one blob.
        copy_layers(source, target, [*descriptors, descriptors[3]])
        if kind == "layout":
            found = {path.name: path.read_bytes() for path in (tmp_path / "out/blobs/sha256").iterdir()}
        else:
            target._writer.finish()
    if kind != "layout":
        data = pipe.data if kind == "pipe" else (tmp_path / "out.tar").read_bytes()
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
        found = {name.removeprefix("blobs/sha256/"): data for name, data in files.items() if "blobs/" in name}
    assert found == {hashlib.sha256(blob).hexdigest(): blob for blob in blobs}


@pytest.mark.parametrize("given", [b"", b"short", b"longer than it should be"])
def test_a_blob_of_another_size_is_no_archive(tmp_path, given):
    (descriptor,), _ = source_of(b"as it should")
    source = SimpleNamespace(open_verified=lambda descriptor: io.BytesIO(given))
    with pytest.raises(InvalidImageError, match="has not the size"), ExitStack() as stack:
        copy_layers(source, ArchiveTarget(str(tmp_path / "out.tar"), stack), [descriptor])
    assert os.listdir(tmp_path) == []
