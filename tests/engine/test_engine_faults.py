"""What is read is what was planned: a file that is not what was scanned is a fault that names it."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import stat

import pytest

from fastoci._engine import EngineFault
from fastoci._engine.renderer import Renderer
from oracles.mounts import tmpfs
from oracles.nasty import BLOCK, is_root
from oracles.packing import plan, render, render_all, scan
from oracles.privileges import unprivileged


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_bytes(b"data" * 500)
    (root / "other").write_bytes(b"other" * 400)
    return root


def fault_of(planned):
    with pytest.raises(EngineFault) as caught:
        render_all(planned)
    return caught.value


def grow(path):
    with open(path, "ab") as file:
        file.write(b"more")


def shrink(path):
    os.truncate(path, 1999)


def rewrite_and_hide(path):
    """Write other data of the same size, and put the modification time back: the change time tells."""
    status = os.stat(path)
    path.write_bytes(b"DATA" * 500)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_a_twin(path):
    shutil.copy2(path, path.with_name("twin"))
    os.rename(path.with_name("twin"), path)


def replace_by_a_symlink(path):
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replace_by_a_fifo(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_a_directory(path):
    path.unlink()
    path.mkdir()


def replace_by_a_socket(path):
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def replace_by_a_device(path):
    path.unlink()
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))


def replace_the_directory_by_a_symlink(path):
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to("moved")


def replace_the_directory_by_a_copy(path):
    shutil.copytree(path.parent, path.parent.with_name("copy"))
    shutil.rmtree(path.parent)
    path.parent.with_name("copy").rename(path.parent)


def replace_the_directory_by_a_file(path):
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"")


CHANGED = [
    (grow, 2004),
    (shrink, 1999),
    (lambda path: os.utime(path, (1, 1)), 2000),
    (lambda path: os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 1)), 2000),
    (lambda path: path.chmod(0o600), 2000),
    (rewrite_and_hide, 2000),
]
REPLACED = [
    replace_by_a_twin,
    replace_by_a_symlink,
    replace_by_a_fifo,
    replace_by_a_directory,
    replace_by_a_socket,
    replace_the_directory_by_a_symlink,
    replace_the_directory_by_a_copy,
    replace_the_directory_by_a_file,
]


@pytest.mark.parametrize(("change", "size"), CHANGED)
def test_a_file_that_changed(tree, change, size):
    planned = plan(tree)
    change(tree / "sub" / "file")
    fault = fault_of(planned)
    assert (fault.kind, fault.path, fault.error) == ("changed", b"sub/file", 0)
    assert (fault.expected, fault.found) == (2000, size)


@pytest.mark.parametrize("replace", REPLACED)
def test_a_file_that_was_replaced(tree, replace):
    planned = plan(tree)
    replace(tree / "sub" / "file")
    fault = fault_of(planned)
    assert (fault.kind, fault.path) == ("changed", b"sub/file")
    assert fault.error != 0
    assert fault.found != -1


@pytest.mark.skipif(not is_root(), reason="only root can make devices")
def test_a_file_that_became_a_device(tree):
    planned = plan(tree)
    replace_by_a_device(tree / "sub" / "file")
    assert fault_of(planned).path == b"sub/file"


@pytest.mark.parametrize("gone", ["sub/file", "sub"])
def test_a_file_that_vanished(tree, gone):
    planned = plan(tree)
    path = tree / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    fault = fault_of(planned)
    assert (fault.kind, fault.path, fault.found) == ("changed", b"sub/file", -1)


def test_a_change_between_the_blocks_of_one_file(tmp_path):
    (tmp_path / "large").write_bytes(b"0123456789abcdef" * (BLOCK // 4))
    planned = plan(tmp_path)
    renderer = Renderer(planned)
    assert render(planned, 1, renderer) == b"0123456789abcdef" * (BLOCK // 16)
    shrink(tmp_path / "large")
    with pytest.raises(EngineFault) as caught:
        render(planned, 2, renderer)
    assert (caught.value.path, caught.value.found) == (b"large", 1999)
    # The renderer is none the worse for it: other blocks, and the next fault.
    assert render(planned, planned.block_count - 1, renderer)[-1024:] == bytes(1024)
    with pytest.raises(EngineFault, match="changed"):
        render(planned, 3, renderer)


def test_a_sparse_file_that_was_filled(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(3 * BLOCK)
    planned = plan(tmp_path)
    with open(tmp_path / "sparse", "r+b") as file:
        file.write(b"x")
    assert fault_of(planned).kind == "changed"


def test_empty_files_and_what_has_no_data_are_not_opened(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").chmod(0)
    planned = plan(tmp_path)
    with unprivileged():
        assert len(render(planned, 0)) == 2 * 512 + 1024


class TestUnreadable:
    """What the kernel denies is a fault that names it."""

    @pytest.fixture
    def open_tree(self, tree):
        for path in (tree, *tree.rglob("*")):
            os.chmod(path, 0o755)
        return tree

    def test_a_file(self, open_tree):
        (open_tree / "sub" / "file").chmod(0)
        planned = plan(open_tree)
        with unprivileged():
            fault = fault_of(planned)
        assert (fault.kind, fault.path, os.strerror(fault.error)) == ("open", b"sub/file", "Permission denied")

    @pytest.mark.parametrize("way", [0, 1, 2])
    def test_a_directory(self, open_tree, way):
        (open_tree / "sub").chmod(0)
        fd = os.open(open_tree, os.O_RDONLY)
        try:
            with unprivileged(), pytest.raises(EngineFault) as caught:
                scan(f"/proc/self/fd/{fd}", way=way)
        finally:
            os.close(fd)
        fault = caught.value
        assert (fault.kind, fault.path, os.strerror(fault.error)) == ("open directory", b"sub", "Permission denied")

    def test_a_directory_that_may_be_listed_but_not_searched(self, open_tree):
        (open_tree / "sub").chmod(0o444)
        fd = os.open(open_tree, os.O_RDONLY)
        try:
            with unprivileged(), pytest.raises(EngineFault) as caught:
                scan(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        assert (caught.value.kind, caught.value.path) == ("stat", b"sub/file")


@pytest.mark.skipif(not is_root(), reason="only root may mount")
@pytest.mark.parametrize("sizes", [(2**63 - 1,), (2**62, 2**62), (2**63 - 512, 0), (1, 2**63 - 2048 - 4096)])
def test_a_layer_of_8_eib(tmp_path, sizes):
    """Where a tar stream is, is said in 63 bits: what does not fit is no layer, and does not wrap around."""
    with tmpfs(tmp_path):
        for number, size in enumerate(sizes):
            (tmp_path / f"{number}").touch()
            os.truncate(tmp_path / f"{number}", size)
        with pytest.raises(EngineFault) as caught:
            plan(tmp_path)
    fault = caught.value
    last = max(number for number, size in enumerate(sizes) if size)
    assert (fault.kind, fault.path, fault.found) == ("size", b"%d" % last, sizes[last])
    assert 2**62 - 2**20 < fault.expected < fault.found


@pytest.mark.skipif(not is_root(), reason="only root may mount")
def test_a_layer_of_nearly_8_eib(tmp_path):
    size = 2**63 - 2**14
    with tmpfs(tmp_path):
        (tmp_path / "hole").touch()
        os.truncate(tmp_path / "hole", size)
        (tmp_path / "z").touch()
        planned = plan(tmp_path)
        assert planned.tar_size == 3 * 512 + size + 512 + 1024
        renderer = Renderer(planned)
        assert render(planned, planned.block_count - 2, renderer) == bytes(BLOCK - 2**14)
        renderer.close()
        planned.table.close()


def test_a_fault_survives_pickling():
    fault = pickle.loads(pickle.dumps(EngineFault("changed", b"p\xff", 2, 3, -1)))
    assert (fault.kind, fault.path, fault.error, fault.expected, fault.found) == ("changed", b"p\xff", 2, 3, -1)
