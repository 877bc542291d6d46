"""Trees that are not in the page cache, and the descriptors that a build needs: what is said ahead are hints alone."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys

import pytest

from fastoci._engine.ahead import ReadAhead
from fastoci._engine.plan import Plan
from fastoci._engine.renderer import Renderer
from fastoci.events import discard
from fastoci.layer.blocks import block_buffer
from fastoci.layer.options import BLOCK_SIZE, LayerOptions
from fastoci.layer.pack import pack_tree
from fastoci.tree.policy import TreePolicy
from fastoci.tree.scan import scan_tree
from fastoci.tree.source import TreeSource
from oracles.packing import MemorySink


@pytest.fixture
def tree(tmp_path):
    """More than a stretch's blocks of small files and a large one, not made in the order of their paths."""
    root = tmp_path / "tree"
    for number in range(30):
        (root / f"d{number:02}").mkdir(parents=True)
    for number in range(1500):
        (root / f"d{number * 7 % 30:02}" / f"f{number * 389 % 1500:04}").write_bytes(os.urandom(number * 3))
    (root / "d15" / "large").write_bytes(os.urandom(40 * BLOCK_SIZE))
    (root / "d29" / "empty").touch()
    return root


def files(root):
    return [os.path.join(directory, name) for directory, _, names in os.walk(root) for name in names]


def chill(root):
    """Drop the files from the page cache; returns whether that could be done and seen here."""
    os.sync()
    for path in files(root):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
    return not is_cached(root / "d15" / "large")


def is_cached(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return True
    finally:
        os.close(fd)


def digest(root, threads=2):
    return pack_tree(
        TreeSource(str(root)), TreePolicy(), LayerOptions(threads=threads), MemorySink(), discard
    ).descriptor.digest


def read_ahead(root, dest="/", first=0):
    """Render one block of a fresh plan, then let the rest be asked for; returns how many pieces were not cached.

    The block must hold data: nobody reads ahead before somebody has waited for the disk.
    """
    planned = Plan(scan_tree(TreeSource(str(root), dest), TreePolicy(), 2), block_size=BLOCK_SIZE)
    renderer = Renderer(planned)
    renderer.render(first, bytearray(BLOCK_SIZE))
    return ReadAhead(planned).run()


def test_what_is_not_cached_is_asked_for(tree):
    warm = digest(tree)
    if not chill(tree):
        pytest.skip("this file system cannot say what is in the page cache, or keeps it")
    asked = read_ahead(tree)
    # All but the few of the first block, which was rendered before.
    assert 0.8 * len(files(tree)) < asked < len(files(tree)) + 40
    for path in files(tree):
        with open(path, "rb") as file:
            file.read()
    assert chill(tree)
    assert digest(tree) == warm


def test_a_source_that_is_one_file_is_asked_for_too(tree):
    if not chill(tree):
        pytest.skip("this file system cannot say what is in the page cache, or keeps it")
    # The kernel reads ahead in one file by itself, but not as far as this.
    assert read_ahead(tree / "d15" / "large", "/large", first=1) > 10


def test_a_tree_in_the_page_cache_is_not_asked_for(tree):
    for path in files(tree):
        with open(path, "rb") as file:
            file.read()
    planned = Plan(scan_tree(TreeSource(str(tree)), TreePolicy(), 2), block_size=BLOCK_SIZE)
    renderer = Renderer(planned)
    buffer = block_buffer()
    for number in range(planned.block_count):
        renderer.render(number, buffer)
    assert ReadAhead(planned).run() == 0


def test_what_is_gone_is_left_to_those_who_read_it(tree):
    if not chill(tree):
        pytest.skip("this file system cannot say what is in the page cache, or keeps it")
    planned = Plan(scan_tree(TreeSource(str(tree)), TreePolicy(), 2), block_size=BLOCK_SIZE)
    Renderer(planned).render(0, bytearray(BLOCK_SIZE))
    (tree / "d20").rename(tree / "elsewhere")
    (tree / "d21" / "f0003").unlink(missing_ok=True)
    descriptors = os.listdir("/proc/self/fd")
    assert ReadAhead(planned).run() > 0
    assert os.listdir("/proc/self/fd") == descriptors


# Answers ENOSYS to io_setup(2), as an old kernel would, or a container that does not want it: a classic BPF program
# that compares the number of the call (seccomp(2), "Filters").
_WITHOUT_BATCHES = """
import ctypes, platform, struct, sys
NUMBER = {"x86_64": 206, "aarch64": 0}[platform.machine()]
program = b"".join(struct.pack("HBBI", *line) for line in [
    (0x20, 0, 0, 0), (0x15, 0, 1, NUMBER), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)])
buffer = ctypes.create_string_buffer(program)
class Filter(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ushort), ("program", ctypes.c_void_p)]
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0
assert prctl(22, 2, ctypes.byref(Filter(4, ctypes.addressof(buffer))), 0, 0) == 0
assert ctypes.CDLL(None, use_errno=True).syscall(NUMBER, 1, 0) == -1 and ctypes.get_errno() == 38
sys.path[:0] = sys.argv[2:]
from test_layer_cold import read_ahead
print(read_ahead(sys.argv[1]))
"""


def test_a_kernel_that_takes_no_batches_is_asked_one_by_one(tree):
    if not chill(tree):
        pytest.skip("this file system cannot say what is in the page cache, or keeps it")
    here = os.path.dirname(__file__)
    run = subprocess.run(
        [sys.executable, "-c", _WITHOUT_BATCHES, str(tree), here, os.path.dirname(here)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 0.8 * len(files(tree))


def test_few_descriptors_suffice_for_many_threads(tmp_path):
    for number in range(400):
        (tmp_path / f"{number % 20:02}" / f"{number}" / "deep").mkdir(parents=True)
        (tmp_path / f"{number % 20:02}" / f"{number}" / "deep" / "file").write_bytes(os.urandom(9000))
    expected = digest(tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
    try:
        assert digest(tmp_path, threads=16) == expected
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
