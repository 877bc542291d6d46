"""What a build refuses, and what is left of one that failed: nothing."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
from builtimages import image_of, images, run

from fastoci import build as build_module
from fastoci.build import build
from fastoci.building import packing
from fastoci.errors import FastociError, StoreError, TreeError, UsageError
from fastoci.tree.policy import TreePolicy

pytestmark = pytest.mark.usefixtures("here")


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["rootfs", "-v", "/data"], "build has no -v", "--volume"),
        (["rootfs", "-p", "80:80"], "build has no -p", "--expose"),
        (["-v", "/data", "rootfs"], "build has no -v", "--volume"),
        (["rootfs", "-o", "rootfs/out"], "lies inside the source", "-o oci:"),
        (["rootfs", "-o", "oci-archive:rootfs/bin/x.tar"], "lies inside the source", "-o oci:"),
        (["rootfs", "--push"], "nowhere to push to", "-t "),
        (["rootfs", "--push", "-t", "me/base"], "wants the registry spelled out", "docker.io/me/base"),
        (["rootfs", "-t", "me/Base"], "not a reference", "me/base"),
        (["rootfs", "-t", f"a@sha256:{'0' * 64}"], "is not known before", "leave it out"),
        (["-", "-", "-o", "out"], "stdin can be read only once", None),
        (["-"], "no name for the output", "-o oci:"),
        (["rootfs", "-o", "-", "-o", "type=oci"], "two outputs on stdout", None),
        (["rootfs", "-o", "-", "--json"], "stdout is for one", "--metadata-file"),
        (["in.tar:/opt"], "is a tar archive", "unpack it"),
        (["in.tar", "-o", "oci-archive:in.tar"], "is the source in.tar itself", "another output"),
        (["rootfs/etc/motd:/x", "-o", "oci-archive:./rootfs/../rootfs/etc/motd"], "is the source", "another output"),
        (["rootfs/etc/motd:/.wh.x", "-o", "out"], "whiteout", "another destination"),
        (["in.tar", "--chown", "0"], "is a tar archive", None),
        (["in.tar", "rootfs", "--exclude", "x"], "is a tar archive", None),
        (["rootfs", "--chown", "root"], "--chown 'root'", "--chown 0:0"),
        (["rootfs", "--chmod", "rwx"], "--chmod 'rwx' is no mode", "u=rwX,go=rX"),
        (["rootfs", "--mtime", "now"], "--mtime 'now' is no date", "keep"),
        (["in.tar", "--mtime", "0"], "is a tar archive", None),
        (["rootfs", "--platform", "amd64"], "not a platform", "linux/amd64"),
        (["rootfs", "--stop-signal", "NOW"], "no such signal", "SIGTERM"),
        (["rootfs", "--compression-level", "0"], "invalid value for '--compression-level'", "--help"),
        (["rootfs", "--compression", "lzma"], "invalid value for '--compression'", "--help"),
        (["rootfs", "--threads", "0"], "invalid value for '-T'", "--help"),
        (["rootfs", "--load=rkt"], "no such engine: 'rkt'", "docker, podman, containerd"),
        ([], "nothing to build from", "name a directory or a tar archive"),
    ],
)
def test_wrong_usage(tree, capfd, arguments, error, hint):
    Path("in.tar").touch()
    before = sorted(os.listdir())
    _, err = run(capfd, *arguments, code=2)
    lines = dict(line.split(":", 1) for line in err.splitlines() if re.match("(error|cause|hint):", line))
    assert error in lines["error"]
    if hint is not None:
        assert hint in lines["hint"]
    assert sorted(os.listdir()) == before


def test_a_directory_is_not_built_into_itself(tree, capfd, monkeypatch):
    monkeypatch.chdir(tree)
    _, err = run(capfd, ".", code=2)
    assert "error: the output ./rootfs.oci lies inside the source ." in err
    assert f"hint:  -o oci:{tree.parent}/rootfs.oci" in err
    run(capfd, ".", "-o", "../out")
    assert image_of("../out").names() == [["bin", "bin/hello", "etc", "etc/motd"]]


def test_temporary_files_are_kept_out_of_the_tree(tree, capfd, monkeypatch):
    (tree / "var").mkdir()
    monkeypatch.setenv("TMPDIR", str(tree / "var"))
    _, err = run(capfd, tree, "-o", "oci-archive:a.tar", "-o", "oci-archive:b.tar", code=2)
    assert "lies inside the source" in err
    assert "TMPDIR" in err


def test_errors_in_temporary_files_say_how_to_have_them_elsewhere(tree, monkeypatch):
    def full(*arguments):
        path = str(next(Path("tmp").absolute().glob("fastoci-*/image")))
        raise StoreError(f"cannot write to {path}", path=path, cause="No space left on device", hint="make room")

    monkeypatch.setattr(packing, "pack_tree", full)
    with pytest.raises(StoreError) as caught:
        build([str(tree)], outputs=["-", "oci-archive:a.tar"], stdout=io.BytesIO())
    assert "set TMPDIR" in caught.value.hint
    monkeypatch.setenv("TMPDIR", "missing")
    with pytest.raises(StoreError) as caught:
        build([str(tree)], outputs=["-", "oci-archive:a.tar"], stdout=io.BytesIO())
    assert caught.value.what == "cannot write temporary files to missing"


def test_a_failing_copy_leaves_the_image_nowhere(tree, monkeypatch):
    def fails(*arguments):
        raise StoreError("disk full", path="x")

    monkeypatch.setattr(build_module, "copy_layers", fails)
    with pytest.raises(StoreError):
        build([str(tree)], outputs=["oci:out", "oci-archive:out.tar"])
    assert not Path("out").exists()
    assert not Path("out.tar").exists()


@pytest.mark.parametrize("output", ["out", "oci-archive:out.tar"])
def test_a_missing_source_leaves_nothing(capfd, output):
    _, err = run(capfd, "nowhere", "-o", output, code=1)
    assert "error: cannot read nowhere\ncause: no such file or directory\nhint:  check the path\n" in err
    assert not Path("out").exists()
    assert not Path("out.tar").exists()


def test_what_is_no_layout_is_not_written_to(tree, capfd):
    Path("out").mkdir()
    Path("out/precious").touch()
    _, err = run(capfd, tree, "-o", "out", code=1)
    assert "error: " in err
    assert os.listdir("out") == ["precious"]
    Path("file").touch()
    run(capfd, tree, "-o", "oci:file", code=1)


FAILURES = [FastociError("it failed"), KeyboardInterrupt(), SystemExit(143), MemoryError()]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("outputs", [["out"], ["oci-archive:out.tar"], ["out", "oci-archive:out.tar"]], ids=str)
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_in_the_second_layer_leaves_nothing(tree, monkeypatch, error, outputs, existing):
    if existing:
        build([str(tree)], outputs=outputs, tags=["old:1"])
    before = {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}
    (tree / "etc/new").write_bytes(b"new")
    before["rootfs/etc/new"] = b"new"
    original = packing.pack_tree
    calls = []

    def second_fails(*arguments):
        calls.append(1)
        if len(calls) == 2:
            arguments[3].write(b"half a blob")
            raise error
        return original(*arguments)

    monkeypatch.setattr(packing, "pack_tree", second_fails)
    with pytest.raises(type(error)):
        build([str(tree), str(tree)], outputs=outputs, tags=["new:2"])
    after = {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}
    assert {path: data for path, data in after.items() if "lock" not in path} == before


@pytest.mark.timeout(60)
def test_a_failed_build_does_not_keep_out_the_next(tree, monkeypatch):
    build([str(tree)], outputs=["out"])

    def fails(*arguments):
        raise FastociError("it failed")

    with monkeypatch.context() as patch:
        patch.setattr(packing, "pack_tree", fails)
        with pytest.raises(FastociError) as caught:
            build([str(tree)], outputs=["out"])
    build([str(tree)], outputs=["out"], tags=["next:1"])
    # All that the failed build had open is still reachable from its error.
    assert caught.value.__traceback__ is not None
    assert "1" in images("out")


def test_nothing_to_build_from():
    with pytest.raises(UsageError, match="nothing to build from"):
        build([])


def test_a_tree_that_cannot_be_read(tree):
    (tree / "etc/.wh.motd").touch()
    with pytest.raises(TreeError):
        build([str(tree)], outputs=["out"])
    assert not Path("out").exists()
    build([str(tree)], outputs=["out"], policy=TreePolicy(whiteouts="keep"))
    assert "etc/.wh.motd" in image_of("out").names()[0]
