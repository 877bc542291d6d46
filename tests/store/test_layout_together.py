"""Several who write into one layout at once: all succeed, and who gives up takes nothing away from the others."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os

from smallimage import BLOB, DIGEST, make_image, tree

from fastoci.spec.descriptor import Descriptor
from fastoci.spec.index import Index
from fastoci.store.layout import Layout


def add_images(path, first, count, barrier):
    barrier.wait()
    layout = Layout.create(path)
    for number in range(first, first + count):
        make_image(b"%d" % number).put(layout, [f"v{number}", "last"])


def add_and_give_up(path, barrier):
    barrier.wait()
    for number in range(20):
        layout = Layout.create(path)
        layout.put_blob(b"%d" % number, "x")
        layout.discard()


def run_at_once(target, argument_lists):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(argument_lists))
    processes = [
        context.Process(target=target, args=(*arguments, barrier), daemon=True) for arguments in argument_lists
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_all_who_add_at_once_succeed(tmp_path, new_image):
    path = tmp_path / "x.oci"
    run_at_once(add_images, [(str(path), 100 * number, 10) for number in range(4)])
    layout = Layout.open(str(path))
    for number in (100 * process + step for process in range(4) for step in range(10)):
        descriptor = layout.resolve(f"v{number}")
        assert descriptor.digest == new_image(b"%d" % number).descriptor.digest
        assert layout.read_blob(descriptor)
    assert layout.resolve("last")
    assert len(layout.index().manifests) == 41
    assert sorted(os.listdir(path)) == ["blobs", "index.json", "oci-layout"]
    assert os.listdir(path / "blobs") == ["sha256"]
    assert len(os.listdir(path / "blobs" / "sha256")) == 40 * 3


def test_those_who_give_up_at_once_leave_nothing(tmp_path):
    run_at_once(add_and_give_up, [(str(tmp_path / "x.oci"),) for _ in range(3)])
    # Whoever left while another was still there had to leave its blobs.
    if (tmp_path / "x.oci").exists():
        layout = Layout.create(str(tmp_path / "x.oci"))
        assert layout.index() == Index()


def test_discard_removes_what_was_new(tmp_path):
    layout = Layout.create(str(tmp_path / "x.oci"))
    layout.put_blob(BLOB, "x")
    layout.discard()
    assert tree(tmp_path) == []
    layout.discard()


def test_discard_keeps_what_stood_before(tmp_path, image):
    path = tmp_path / "x.oci"
    image.put(Layout.create(str(path)), ["1"])
    before = tree(path)
    layout = Layout.create(str(path))
    layout.put_blob(BLOB, "x")
    layout.put_blob(image.config, "x")
    layout.discard()
    assert tree(path) == before


def test_discard_keeps_everything_once_it_is_named(tmp_path, image):
    layout = Layout.create(str(tmp_path))
    image.put(layout, ["1"])
    before = tree(tmp_path)
    layout.discard()
    assert tree(tmp_path) == before


def test_discard_leaves_others_alone(tmp_path, image):
    path = str(tmp_path / "x.oci")
    mine, other = Layout.create(path), Layout.create(path)
    mine.put_blob(image.config, "x")
    mine.discard()
    image.put(other, ["1"])
    assert other.read_blob(Descriptor.of("x", image.config)) == image.config

    third = Layout.create(path)
    third.put_blob(BLOB, "x")
    image.put(other, ["2"])
    del other, mine
    third.discard()
    assert third.has_blob(DIGEST), "the index has changed meanwhile: somebody may have found the blob standing"
    Layout.open(path).discard()


def test_a_file_system_without_locks(tmp_path, monkeypatch, image):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    layout = Layout.create(str(tmp_path))
    image.put(layout, ["1"])
    assert layout.resolve("1")
    layout.discard()
