"""What the kernel refuses a layout: an error with a hint, and nothing half-written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from smallimage import BLOB, DIGEST, tree

from fastoci.errors import StoreError, reason
from fastoci.spec.index import Index
from fastoci.store.layout import Layout


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_the_kernel_s_refusals_have_a_hint(tmp_path, monkeypatch, number, image):
    layout = Layout.create(str(tmp_path))

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StoreError, match=reason(number)) as caught, layout.blob_writer() as writer:
        writer.write(BLOB)
    assert caught.value.hint
    assert caught.value.errno == number
    assert str(tmp_path) in caught.value.what
    with pytest.raises(StoreError):
        layout.put_manifest(image.descriptor, ["1"])
    monkeypatch.undo()
    assert layout.index() == Index()
    assert tree(tmp_path) == ["blobs", "blobs/sha256", "index.json", "oci-layout"]


def test_a_path_through_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in ("file", "file/x"):
        with pytest.raises(StoreError) as caught:
            Layout.create(str(tmp_path / path))
        assert caught.value.hint


FORBIDDEN = """
import os, sys
from fastoci.errors import StoreError
from fastoci.store.layout import Layout
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere
try:
    Layout.create(sys.argv[1] + "/x")
except StoreError as error:
    print(error, "|", error.hint)
"""


def test_a_directory_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    done = subprocess.run([sys.executable, "-c", FORBIDDEN, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "permission denied" in done.stdout
    assert "ls -ld" in done.stdout


LIMITED = """
import resource, sys
from fastoci.errors import StoreError
from fastoci.store.layout import Layout
layout = Layout.create(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with layout.blob_writer() as writer:
        while True:
            writer.write(b"x" * 70_000)
except StoreError as error:
    print(error, "|", error.hint)
"""


def test_a_file_that_may_not_grow(tmp_path):
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "file too large" in done.stdout
    assert "ulimit -f" in done.stdout
    assert tree(tmp_path / "blobs") == ["sha256"]


def test_a_disk_that_is_really_full(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("left out: to mount a file system of 256 KiB needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "fastoci-test", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("left out: mounting is not allowed here")
    try:
        layout = Layout.create(str(tmp_path / "x"))
        with pytest.raises(StoreError, match="no space left") as caught, layout.blob_writer() as writer:
            writer.write(bytes(1_000_000))
        assert "make room" in caught.value.hint
        layout.put_blob(BLOB, "x")
        assert tree(tmp_path / "x" / "blobs") == ["sha256", f"sha256/{DIGEST.hex}"]
        del layout
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
