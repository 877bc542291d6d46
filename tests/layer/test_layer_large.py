"""What is large: a file over 8 GiB, which holds nothing, and in the long form a million entries."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import zlib

import pytest

from fastoci.events import LayerProgress
from fastoci.layer.options import LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.tree.policy import TreePolicy
from fastoci.tree.source import TreeSource
from oracles.longform import LONG
from oracles.tarreference import header
from oracles.unpackers import program, run

SIZE = 2**33 + 123
PIECE = bytes(1024 * 1024)


class Ends:
    """A sink that keeps the first and the last piece of a blob, and its digest."""

    def __init__(self):
        self.first = []
        self.last = b""
        self.committed = None

    def write(self, data):
        if len(self.first) < 3:
            self.first.append(bytes(data))
        self.last = bytes(data)

    def commit(self, digest):
        self.committed = digest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sparse_file_of_over_8_gib(tmp_path):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(SIZE)
        file.seek(2**32)
        file.write(b"data in the middle")
    status = os.stat(tmp_path / "huge")
    assert status.st_blocks * 512 < 1024 * 1024
    owner = (status.st_uid, status.st_gid)
    start = header(b"huge", "file", status.st_mode & 0o7777, *owner, SIZE, status.st_mtime_ns // 10**9)
    expected = {}

    def stream():
        """Hash what the stream must be."""
        digest = hashlib.sha256(start)
        for data in middle():
            digest.update(data)
        expected["diff_id"] = digest.hexdigest()

    def middle():
        done = 0
        text = b"data in the middle"
        end = SIZE + -SIZE % 512 + 1024
        while done < end:
            size = min(len(PIECE), end - done)
            yield text + PIECE[len(text) :] if done == 2**32 else PIECE[:size]
            done += size

    hasher = threading.Thread(target=stream)
    hasher.start()
    sink = Ends()
    events = []
    try:
        layer = pack_tree(TreeSource(str(tmp_path)), TreePolicy(), LayerOptions(threads=2), sink, events.append)
    finally:
        hasher.join()
    assert layer.tar_size == len(start) + SIZE + -SIZE % 512 + 1024
    assert layer.diff_id.hex == expected["diff_id"]
    assert sink.committed == layer.descriptor.digest
    # The gzip member: the tar's headers are a block of their own, and at the end stands the size modulo 2^32.
    assert zlib.decompress(sink.first[1] + b"\x03\x00", -15) == start
    assert sink.last[:2] == b"\x03\x00"
    assert sink.last[6:] == struct.pack("<I", layer.tar_size % 2**32)
    assert layer.descriptor.size < layer.tar_size // 100
    assert max(event.done for event in events if isinstance(event, LayerProgress)) == layer.tar_size


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not LONG, reason="FASTOCI_TESTS=long: it takes minutes to make a million files")
def test_a_million_entries(tmp_path):
    """GNU tar holds each of them against the tree: kind, mode, owner, time, content, and the number of them."""
    root = tmp_path / "tree"
    for number in range(1000):
        directory = root / f"{number % 10}" / f"{number}"
        directory.mkdir(parents=True)
        for name in range(999):
            path = directory / f"{name * 7919 % 1000:03}"
            if name % 10 == 9:
                os.link(directory / f"{(name - 1) * 7919 % 1000:03}", path)
            elif name % 10 == 7:
                path.symlink_to(f"{name}")
            else:
                with open(path, "wb") as file:
                    file.write(b"%d" % name * (name % 3))
    archive = tmp_path / "layer.tar"
    with open(archive, "wb") as file:

        class Sink:
            write = staticmethod(file.write)

            @staticmethod
            def commit(digest):
                file.flush()

        options = LayerOptions(threads=2, compression="none")
        layer = pack_tree(TreeSource(str(root)), TreePolicy(), options, Sink(), lambda event: None)
    assert layer.entries == 1000 * 999 + 1000 + 10
    tar = program("tar", "tar")
    assert run([tar, "--diff", f"--file={archive}", f"--directory={root}", "--numeric-owner"]) == ""
    assert run([tar, "--list", f"--file={archive}"]).count("\n") == layer.entries
