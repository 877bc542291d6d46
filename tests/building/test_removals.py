"""`build --delete` and `--opaque`: what is left of the layers below, as umoci unpacks it and as podman's rules say."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile

import pytest

from fastoci.build import build
from fastoci.building.removals import Removals
from fastoci.errors import UsageError
from fastoci.images.documents import read_document
from fastoci.images.files import FileTree, read_layer
from fastoci.images.source import open_image
from fastoci.validate import validate

MTIME = 1_600_000_000


@pytest.fixture
def base(kit):
    """An image of a small system, `lib` a link in it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in [
            ("etc/", "d"), ("etc/motd", "f"), ("etc/passwd", "f"), ("lib", "l"), ("usr/", "d"), ("usr/lib/", "d"),
            ("usr/lib/a", "f"), ("usr/lib/b/", "d"), ("usr/lib/b/c", "f"),
        ]:  # fmt: skip
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = {"d": tarfile.DIRTYPE, "f": tarfile.REGTYPE, "l": tarfile.SYMTYPE}[kind]
            info.mode, info.uid, info.gid, info.mtime = 0o750 if kind == "d" else 0o644, 3, 4, MTIME
            info.linkname = "usr/lib" if kind == "l" else ""
            archive.addfile(info, io.BytesIO())
    kit.add(kit.image(out.getvalue()), "base")
    return f"oci:{kit}:base"


def files(name):
    with open_image(name) as source:
        tree = FileTree()
        for layer in read_document(source, source.resolve()).layers:
            tree.apply(read_layer(source, layer, lambda _: None))
    return {path.decode(): facts for path, facts in tree.walk()}


def removed(name, base):
    return {path for path in files(base) if path not in files(name)}


@pytest.mark.parametrize(
    ("delete", "opaque", "gone"),
    [
        (["/etc/motd"], [], {"etc/motd"}),
        (["etc"], [], {"etc", "etc/motd", "etc/passwd"}),
        (["/lib/b/"], [], {"usr/lib/b", "usr/lib/b/c"}),
        ([], ["/usr/lib"], {"usr/lib/a", "usr/lib/b", "usr/lib/b/c"}),
        ([], ["lib/b"], {"usr/lib/b/c"}),
        (["/etc/motd", "/etc/motd"], ["/usr/lib/b"], {"etc/motd", "usr/lib/b/c"}),
        (["/none", "/etc/none"], [], set()),
    ],
)
def test_what_goes(kit, base, delete, opaque, gone):
    build([], base=base, removals=Removals.parse(delete, opaque), outputs=[f"oci:{kit}:new"])
    assert removed(f"oci:{kit}:new", base) == gone
    assert validate(f"oci:{kit}:new").is_valid
    # The directories on the way are as they were.
    kept = files(f"oci:{kit}:new")
    assert all(kept[path] == facts for path, facts in files(base).items() if path not in gone)


def test_all_that_is_below(kit, base, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/only").touch()
    build([str(tmp_path / "tree")], base=base, removals=Removals.parse([], ["/"]), outputs=[f"oci:{kit}:new"])
    assert files(f"oci:{kit}:new").keys() == {"only"}


def test_sources_stand_above_it(kit, base, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/motd").write_text("new")
    removals = Removals.parse(["/etc/motd"], ["/usr/lib"])
    outputs = [f"oci:{kit}:new"]
    result = build([f"{tmp_path}/tree:/etc", f"{tmp_path}/tree:/lib"], base=base, removals=removals, outputs=outputs)
    found = files(f"oci:{kit}:new")
    assert found["etc/motd"].size == found["usr/lib/motd"].size == 3
    assert "usr/lib/a" not in found
    assert (found["usr/lib"].mode, found["usr/lib"].owner) == (0o750, (3, 4))
    with open_image(f"oci:{kit}:new") as source:
        manifest = read_document(source, source.resolve())
        config = source.read_blob(manifest.config)
    assert b'"RM /etc/motd /usr/lib/* # fastoci"' in config
    assert len(result.layers) == 3


def test_the_same_every_time_and_as_the_epoch_says(kit, base):
    removals = Removals.parse(["/etc/motd"], [])
    results = [
        build([], base=base, removals=removals, source_date_epoch=epoch, outputs=[f"oci:{kit}:{number}"])
        for number, epoch in enumerate([5, 5, None])
    ]
    assert results[0].digest == results[1].digest != results[2].digest


def test_pushed_while_it_is_packed(kit, base, hub):
    removals = Removals.parse(["/etc/motd"], [])
    local = build([], base=base, removals=removals, outputs=[f"oci:{kit}:new"])
    pushed = build([], base=base, removals=removals, tags=[f"{hub.host}/me/app:1"], push=True)
    assert pushed.digest == local.digest
    assert validate(f"docker://{hub.host}/me/app:1").is_valid


@pytest.mark.parametrize(
    ("delete", "opaque", "message"),
    [
        (["/"], [], "no path that can be taken away"),
        ([""], [], "no path that can be taken away"),
        ([], [""], "no path that can be taken away"),
        (["/a/../b"], [], "no path that can be taken away"),
        (["/a/.wh.b"], [], "named like a whiteout"),
    ],
)
def test_what_cannot_go(delete, opaque, message):
    with pytest.raises(UsageError, match=message):
        Removals.parse(delete, opaque)


def test_through_a_file(kit, base):
    with pytest.raises(UsageError, match="leads through a file"):
        build([], base=base, removals=Removals.parse(["/etc/motd/x"], []), outputs=[f"oci:{kit}:new"])


def test_the_command_line(kit, base, fastoci, tmp_path):
    code, out, _ = fastoci("build", "--from", base, "--delete", "/etc/motd", "-o", f"oci:{kit}:new", "-q")
    assert code == 0
    assert removed(out.strip(), base) == {"etc/motd"}
    code, _, err = fastoci("build", "--delete", "/etc/motd", "-o", f"oci:{tmp_path}/x", "-q")
    assert (code, err) == (
        2,
        "error: nothing to take away from\ncause: there is no layer below\nhint:  --from IMAGE\n",
    )


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not on PATH: apt-get install umoci")
def test_as_umoci_unpacks_it(kit, base, tmp_path):
    removals = Removals.parse(["/etc/motd", "/lib/b"], [])
    build([], base=base, removals=removals, outputs=[f"oci:{kit}:new"])
    bundle = tmp_path / "bundle"
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    subprocess.run(
        ["umoci", "unpack", *rootless, "--image", f"{kit}:new", str(bundle)], check=True, capture_output=True
    )
    found = {str(path.relative_to(bundle / "rootfs")) for path in (bundle / "rootfs").rglob("*")}
    assert found == {"etc", "etc/passwd", "lib", "usr", "usr/lib", "usr/lib/a"}
